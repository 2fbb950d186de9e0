"""What every workload shares: a clock, the peak of its memory, and the one JSON line that it prints."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes). Unlike ru_maxrss it starts anew at exec."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6


@contextlib.contextmanager
def timed() -> Iterator[dict[str, Any]]:
    """Times its block alone, without imports and schema: ``wall`` and ``cpu`` in seconds, ``peak_mb``."""
    out: dict[str, Any] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    yield out
    out["wall"] = time.perf_counter() - wall
    out["cpu"] = time.process_time() - cpu
    out["peak_mb"] = peak_mb()


def main(workloads: Mapping[str, Callable[[Path, int], dict[str, Any]]]) -> None:
    """Run one workload, in a new folder, and print what it measured as one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(workloads))
    parser.add_argument("-n", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        print(json.dumps(workloads[options.workload](Path(folder), options.n)), flush=True)
