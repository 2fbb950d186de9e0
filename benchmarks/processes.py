"""Fresh processes for workloads, and those workloads that are whole commands."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import pipelines
from benchmarks.measure import CRASHED, crash_point
from benchmarks.peers import PEERS, python_of

if TYPE_CHECKING:
    from benchmarks.measure import Place

ROOT = Path(__file__).parents[1]
SECONDS = 600
OWN = ("floor", "orch")


class Broken(Exception):
    """A process did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended: its exit code, what it printed, and its wall time in seconds."""

    code: int
    out: str
    err: str
    wall: float


def spawn(argv: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> Ended:
    """Run a process to its end."""
    start = time.monotonic()
    done = subprocess.run(
        argv, cwd=cwd, env=os.environ | (env or {}) | {"BENCH_BORN": repr(start)}, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def worker(system: str, workload: str, place: Place, *, expect: int = 0) -> dict[str, Any]:
    """One workload of one system in a process of its own. Raises Broken."""
    if system == "orch":
        program = [sys.executable, "-m", "benchmarks.workloads"]
    elif system in ("floor", "writer"):
        program = [sys.executable, "-m", f"benchmarks.{system}"]
    else:
        program = [str(python_of(system)), "-m", f"benchmarks.peers.{PEERS[system].module}"]
    argv = [*program, workload, "--store", place.store, "--folder", str(place.folder), "-n", str(place.n)]
    ended = spawn(argv, env={"BENCH_SYSTEM": system, "POWER_LOOP_LOG_LEVEL": "WARNING"})
    _check(ended, f"{system} {workload}", expect)
    found: dict[str, Any] = json.loads(ended.out.splitlines()[-1]) if expect == 0 else {}
    return found | {"process": ended.wall}


def resume(system: str, place: Place) -> dict[str, Any]:
    """W5: a run that is killed as step ``crash_point + 1`` begins; then, in a new process, the time to its first step,
    and how many ended steps are done again."""
    if system != "orch":
        worker(system, "crash", place, expect=CRASHED)
        return worker(system, "resume", place)
    pipelines.write(place.folder, pipelines.sequence(place.n))
    crash = {"BENCH_CRASH_AFTER": str(crash_point(place.n))}
    _check(orch(place, "run", "pipeline.yaml", "--id", "run0", env=crash), "orch run", CRASHED)
    return _resumed(place, place.n - crash_point(place.n))


def _resumed(place: Place, left: int) -> dict[str, Any]:
    log = place.folder / "steps.log"
    ended = orch(place, "resume", "run0", "--force", env={"BENCH_STEPS": str(log)})
    _check(ended, "orch resume", 0)
    times = [float(line) for line in log.read_text().splitlines()]
    return {"wall": times[0] - ended.began, "again": len(times) - left, "process": ended.wall}


def hello(system: str, place: Place) -> dict[str, Any]:
    """A run of one step, the whole process: the first one, which makes the tables and compiles the file, and for `orch`
    a second one."""
    if system != "orch":
        found = worker(system, "hello", place)
        return found | {"wall": found["process"]}
    pipelines.write(place.folder, pipelines.sequence(1))
    first = orch(place, "run", "pipeline.yaml")
    _check(first, "orch run", 0)
    again = orch(place, "run", "pipeline.yaml")
    _check(again, "orch run", 0)
    return {"wall": first.wall, "again": again.wall}


VERBS = {
    "help": ["--help"],
    "list": ["list"],
    "show": ["show", "@last"],
    "validate": ["validate", "pipeline.yaml"],
}


def verbs(place: Place) -> dict[str, Any]:
    """Whole processes of verbs that do little, in turns with a bare interpreter; medians of five, in seconds."""
    pipelines.write(place.folder, pipelines.sequence(1))
    _check(orch(place, "run", "pipeline.yaml"), "orch run", 0)
    times: dict[str, list[float]] = {}
    for _ in range(5):
        times.setdefault("bare", []).append(spawn([sys.executable, "-c", "pass"]).wall)
        for name, args in VERBS.items():
            ended = orch(place, *args)
            _check(ended, name, 0)
            times.setdefault(name, []).append(ended.wall)
    return {name: statistics.median(walls) for name, walls in times.items()}


def fold(place: Place, cut: Path) -> dict[str, Any]:
    """A journal that ends before its last step: folded, and resumed up to that step. ``cut`` is a folder with one."""
    shutil.copytree(cut, place.folder, dirs_exist_ok=True)
    found = worker("orch", "fold", place)
    once_more = _resumed(place, 1)
    return found | {"resume": once_more["wall"], "again": once_more["again"]}


def cut_journal(place: Place) -> None:
    """A map that is killed as its last step begins, in the folder of ``place``: about ``2 * n`` records."""
    pipelines.write(place.folder, pipelines.parallel(place.n, concurrency=500))
    env = {"BENCH_CRASH_AFTER": str(place.n - 1)}
    _check(orch(place, "run", "pipeline.yaml", "--id", "run0", env=env), "orch run", CRASHED)


@dataclass(frozen=True, slots=True)
class Command(Ended):
    """A command, with the time at which it was started, by the clock of all processes."""

    began: float = 0.0


def orch(place: Place, *args: str, env: dict[str, str] | None = None) -> Command:
    """A whole `orch` command in the folder of ``place``, with nothing of this user's."""
    script = Path(sys.executable).with_name("orch")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "orchestrator"]
    homes = {name: str(place.folder / "home") for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    began = time.monotonic()
    store = [] if args[0] == "--help" else ["--store", place.store]
    ended = spawn([*program, *store, *args], cwd=place.folder, env=homes | (env or {}))
    return Command(ended.code, ended.out, ended.err, ended.wall, began)


def _check(ended: Ended, what: str, code: int) -> None:
    if ended.code != code:
        raise Broken(f"{what} ended with {ended.code}, not {code}: {ended.err.strip()[-600:]}")
