"""Runs one workload in this process."""

from __future__ import annotations

from benchmarks import measure
from benchmarks.workloads import fold, parallel, runs, sequence, turns, validate

WORKLOADS = {
    "w1": sequence.run,
    "w2": turns.run,
    "w3": parallel.run,
    "written": parallel.written,
    "agents": parallel.agents,
    "w4": runs.run,
    "validate": validate.run,
    "fold": fold.run,
}

if __name__ == "__main__":
    measure.main(WORKLOADS)
