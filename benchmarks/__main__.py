"""`make bench`: every workload in fresh processes, interleaved, and a table of ratios against the same run's floor.

    python -m benchmarks [--reps 3] [--only REGEX]

The medians are printed; all that was measured goes to ``benchmarks/results/`` as JSON. Times drift from machine to
machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engine import EMPTY, write_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Measured = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: what is measured, in which unit, and its goal (at most)."""

    what: str
    value: Callable[[Measured], float]
    goal: float
    unit: str
    needs: tuple[str, ...]


def median(measured: Measured, job: str, key: str) -> float:
    return statistics.median(one[key] for one in measured[job])


def over(job: str, floor: str) -> Callable[[Measured], float]:
    """The ratio of two walls."""
    return lambda measured: median(measured, job, "wall") / median(measured, floor, "wall")


def plain(job: str, key: str) -> Callable[[Measured], float]:
    return lambda measured: median(measured, job, key)


def worker(module: str, workload: str, n: int, **variables: str) -> dict[str, Any]:
    """One workload in a process of its own."""
    argv = [sys.executable, "-m", f"benchmarks.{module}", workload, "-n", str(n)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=os.environ | variables, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {workload} ended with {done.returncode}: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def resumed(n: int) -> dict[str, Any]:
    """A run that is cut short at its last item, and resumed."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        argv = [sys.executable, "-m", "benchmarks.engine", "crash", "-n", str(n)]
        cut = subprocess.run(
            argv, capture_output=True, text=True, env=os.environ | {"BENCH_FOLDER": folder}, check=False
        )
        if cut.returncode != 9:
            raise SystemExit(f"the run to resume ended with {cut.returncode}: {cut.stderr[-800:]}")
        return worker("engine", "resume", n, BENCH_FOLDER=folder, BENCH_START=repr(time.monotonic()))


def process(*args: str) -> dict[str, Any]:
    """The wall time of a whole command."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        write_pipeline(Path(folder), EMPTY)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(args)} ended with {done.returncode}: {done.stderr[-800:]}")
    return {"wall": wall}


JOBS: dict[str, Callable[[], dict[str, Any]]] = {
    "floor.sequence": lambda: worker("floor", "sequence", 1000),
    "sequence": lambda: worker("engine", "sequence", 1000),
    "count": lambda: worker("engine", "count", 1000),
    "floor.parallel": lambda: worker("floor", "parallel", 1000),
    "parallel": lambda: worker("engine", "parallel", 1000),
    "resume": lambda: resumed(50_200),
    "python": lambda: process("-c", "pass"),
    "help": lambda: process("-m", "orchestrator", "--help"),
    "hello": lambda: process("-m", "orchestrator", "run", "pipeline.yaml"),
}
# Counts do not vary, and a long journal takes its time to write.
ONCE = ("count", "resume")

TABLE = (
    Line("1,000 steps in sequence", over("sequence", "floor.sequence"), 3, "x floor", ("sequence", "floor.sequence")),
    Line("  time", plain("sequence", "wall"), 0, "s", ("sequence",)),
    Line("  floor", plain("floor.sequence", "wall"), 0, "s", ("floor.sequence",)),
    Line("  commits", plain("count", "commits"), 1005, "", ("count",)),
    Line("  statements besides BEGIN and COMMIT", plain("count", "statements"), 2020, "", ("count",)),
    Line("1,000 parallel steps in one run, peak", plain("parallel", "peak_mb"), 150, "MB", ("parallel",)),
    Line("  time", plain("parallel", "wall"), 0, "s", ("parallel",)),
    Line("  floor", plain("floor.parallel", "wall"), 0, "s", ("floor.parallel",)),
    Line("resume of a journal, to the first new step", plain("resume", "first_step"), 2, "s", ("resume",)),
    Line("  records", plain("resume", "records"), 0, "", ("resume",)),
    Line("  peak", plain("resume", "peak_mb"), 0, "MB", ("resume",)),
    Line("orch --help, whole process", plain("help", "wall"), 0.15, "s", ("help",)),
    Line("orch run of one step, whole process", plain("hello", "wall"), 0.3, "s", ("hello",)),
    Line("  python -c pass", plain("python", "wall"), 0, "s", ("python",)),
)


def table(measured: Measured) -> list[str]:
    """The lines of the table, as far as they were measured."""
    out = [f"{'':44} {'median':>10} {'goal':>12}"]
    for line in TABLE:
        if any(need not in measured for need in line.needs):
            continue
        value = line.value(measured)
        goal = f"<= {line.goal:g}" if line.goal else ""
        missed = "  missed" if line.goal and value > line.goal else ""
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        out.append(f"{line.what:44} {shown:>10} {goal:>12} {line.unit}{missed}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--only", default="", help="jobs whose name matches: " + ", ".join(JOBS))
    options = parser.parse_args()
    measured: Measured = {}
    for repetition in range(options.reps):
        for name, job in JOBS.items():
            if re.search(options.only, name) and not (repetition and name in ONCE):
                print(f"{repetition + 1}/{options.reps} {name}", file=sys.stderr)
                measured.setdefault(name, []).append(job())
    print("\n".join(table(measured)))
    now = datetime.now(UTC)
    about = {
        "at": now.isoformat(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps({**about, "measured": measured}, indent=1))
    print(f"all of it: {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}", file=sys.stderr)


if __name__ == "__main__":
    main()
