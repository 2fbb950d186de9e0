"""The engine under the same workloads as the floor: whole runs through `orch`, on a new SQLite file.

The steps are trivial async functions, each with its intent and its end in the journal. ``wall`` is the run's own time,
from its first record to its last; imports, YAML and the schema are left out, as they are of the floor. ``peak_mb`` is
that of the whole process.
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import main, peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = """\
import os
import time


async def one(i):
    return {"i": i}


async def last(i, n):
    if i == n - 1:
        if "BENCH_RESUMED" not in os.environ:
            os._exit(9)
        with open("first-new-step", "w") as out:
            out.write(repr(time.monotonic()))
    return {"i": i}
"""
CHAIN = "version: 1\nname: chain\norder: sequence\nsteps:\n"
FAN = "version: 1\nname: fan\nsteps:\n"
STEP = '  s{i}: {{python: "bench_steps:one", with: {{i: {i}}}, effect: read}}\n'
LONG = """\
version: 1
name: long
steps:
  each:
    map: range({n})
    as: i
    max_items: {n}
    concurrency: 500
    do:
      python: "bench_steps:last"
      with:
        i: ${{{{ i }}}}
        n: {n}
      effect: read
"""
EMPTY = 'version: 1\nname: hello\nsteps:\n  hello: {python: "bench_steps:one", with: {i: 0}, effect: read}\n'


def write_pipeline(folder: Path, text: str) -> Path:
    """A pipeline file with its steps in Python beside it."""
    (folder / "bench_steps.py").write_text(STEPS)
    file = folder / "pipeline.yaml"
    file.write_text(text)
    return file


def chain_of(n: int) -> str:
    """``n`` steps, each of which needs the one before it."""
    return CHAIN + "".join(STEP.format(i=i) for i in range(n))


def fan_of(n: int) -> str:
    """``n`` steps with no order between them."""
    return FAN + "".join(STEP.format(i=i) for i in range(n))


def orch(folder: Path, *args: str) -> int:
    """Run `orch` in this process; its exit code. stdout is swallowed."""
    from orchestrator.cli.main import main as command

    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        return command(["-q", "--store", "sqlite:///runs.db", *args])


def measured(folder: Path, n: int) -> dict[str, Any]:
    """What the journal says of its only run."""
    with closing(sqlite3.connect(folder / "runs.db")) as db:
        first, last, records = db.execute("SELECT min(at), max(at), count(*) FROM journal").fetchone()
        (done,) = db.execute("SELECT count(*) FROM journal WHERE kind = 'done'").fetchone()
        (status,) = db.execute("SELECT status FROM runs").fetchone()
    if status != "done" or done < n:
        raise SystemExit(f"the run is {status}, with {done} of {n} steps")
    return {"wall": (last - first) / 1e6, "records": records, "peak_mb": peak_mb()}


def run(folder: Path, text: str, n: int) -> dict[str, Any]:
    """Run a pipeline to its end and measure it."""
    if code := orch(folder, "run", str(write_pipeline(folder, text))):
        raise SystemExit(f"orch run ended with {code}")
    return measured(folder, n)


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts every statement of every SQLite connection opened inside, by its first word."""
    seen: Counter[str] = Counter()
    real = sqlite3.connect

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = real(*args, **kwargs)
        connection.set_trace_callback(lambda sql: seen.update([sql.split(None, 1)[0].upper()]))
        return connection

    sqlite3.connect = connect
    try:
        yield seen
    finally:
        sqlite3.connect = real


def sequence(folder: Path, n: int) -> dict[str, Any]:
    """A chain of ``n`` steps."""
    return run(folder, chain_of(n), n)


def parallel(folder: Path, n: int) -> dict[str, Any]:
    """``n`` steps at once in one run."""
    return run(folder, fan_of(n), n)


def count(folder: Path, n: int) -> dict[str, Any]:
    """Commits, and statements besides BEGIN and COMMIT, of a whole command on a store that has its tables."""
    if code := orch(folder, "db", "init"):
        raise SystemExit(f"orch db init ended with {code}")
    os.environ["ORCH_LEASE"] = "10m"  # how often a lease is renewed is a matter of time
    with counted() as seen:
        code = orch(folder, "run", str(write_pipeline(folder, chain_of(n))))
    if code:
        raise SystemExit(f"orch run ended with {code}")
    statements = sum(seen.values()) - seen["BEGIN"] - seen["COMMIT"]
    records = measured(folder, n)["records"]
    return {"commits": seen["COMMIT"], "statements": statements, "by_word": dict(seen), "records": records}


def crash(folder: Path, n: int) -> dict[str, Any]:
    """A map whose last item ends the process; ``folder`` is that of the environment, and stays."""
    kept = Path(os.environ["BENCH_FOLDER"])
    orch(kept, "run", str(write_pipeline(kept, LONG.format(n=n))))
    raise SystemExit("the run was to be cut short")


def resume(folder: Path, n: int) -> dict[str, Any]:
    """Resume what ``crash`` left: seconds from the start of the process to the first new step, and to the end."""
    kept, start = Path(os.environ["BENCH_FOLDER"]), float(os.environ["BENCH_START"])
    os.environ["BENCH_RESUMED"] = "1"
    with closing(sqlite3.connect(kept / "runs.db")) as db:
        (records,) = db.execute("SELECT count(*) FROM journal").fetchone()
        (run_id,) = db.execute("SELECT run_id FROM runs").fetchone()
    if code := orch(kept, "resume", run_id):
        raise SystemExit(f"orch resume ended with {code}")
    end = time.monotonic()
    first = float((kept / "first-new-step").read_text())
    measured(kept, n)
    return {"first_step": first - start, "end": end - start, "records": records, "peak_mb": peak_mb()}


if __name__ == "__main__":
    main({"sequence": sequence, "parallel": parallel, "count": count, "crash": crash, "resume": resume})
