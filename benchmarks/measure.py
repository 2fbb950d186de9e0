"""What every measured process shares: its clock, the peak of its memory, its steps, and the JSON line that it prints.

The standard library alone: other engines run it in environments of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

BORN = float(os.environ.get("BENCH_BORN") or time.monotonic())
"""When this process was asked for, by the clock that all processes of a machine share."""

TOOL_RESULT = "x" * 200
NAP = 0.01
CRASHED = 42
SHARE_BEFORE_CRASH = 0.9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload runs: an empty store, by its URL, and an empty folder; ``n`` is its size."""

    store: str
    folder: Path
    n: int

    @property
    def sqlite_path(self) -> str | None:
        """The file of an SQLite store."""
        return self.store.removeprefix("sqlite:") if self.store.startswith("sqlite:") else None


Work = "Callable[[Place], dict[str, Any]]"


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes). Unlike ru_maxrss it starts anew at exec."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6


@contextlib.contextmanager
def timed(out: dict[str, Any]) -> Generator[None]:
    """Times its block alone, without imports and schema: ``wall`` and ``cpu`` in seconds, ``peak_mb``."""
    out["mb_before"] = peak_mb()
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    out["wall"] = time.perf_counter() - wall
    out["cpu"] = time.process_time() - cpu
    out["peak_mb"] = peak_mb()


class Steps:
    """Counts the steps that really begin; ends the process at the first one after ``crash_after``."""

    def __init__(self, crash_after: int | None = None) -> None:
        self.begun = 0
        self.first: float | None = None
        self.crash_after = crash_after

    def tick(self) -> None:
        """A step begins."""
        if self.first is None:
            self.first = time.monotonic() - BORN
        self.begun += 1
        if self.crash_after is not None and self.begun > self.crash_after:
            os._exit(CRASHED)


def crash_point(n: int) -> int:
    """How many steps of ``n`` have ended when the process does."""
    return int(n * SHARE_BEFORE_CRASH)


def resumed(steps: Steps, n: int) -> dict[str, Any]:
    """What a resume is judged by: seconds from the start of the process to its first step, and steps done again."""
    return {"wall": steps.first, "again": steps.begun - (n - crash_point(n))}


def main(workloads: Mapping[str, Work]) -> None:
    """Run one workload and print what it measured as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(workloads))
    parser.add_argument("--store", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("-n", type=int, required=True)
    options = parser.parse_args()
    out = workloads[options.workload](Place(options.store, options.folder, options.n))
    out.setdefault("peak_mb", peak_mb())
    print(json.dumps(out), flush=True)
    sys.stdout.flush()
    # Some engines leave threads behind; the result is out.
    os._exit(0)
