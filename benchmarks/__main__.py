"""`make bench`: every workload in fresh processes, interleaved, as ratios in the same run.

    python -m benchmarks [--full] [--peers] [--reps N] [--only REGEX] [--out FILE]

Times drift from machine to machine, and on one: compare the ratios. All that was measured goes to a file of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.jobs import Bench, Job, own_jobs, peer_jobs
from benchmarks.peers import BENCH, PEERS, install, versions
from benchmarks.processes import ROOT, Broken
from benchmarks.report import goals_table, times_table

if TYPE_CHECKING:
    from benchmarks.report import Measured

QUICK, FULL = 3, 5
SOON = 165.0
"""Seconds within which a quick report begins no repetition that would not end in them."""


def main() -> int:
    options = _options()
    peers, notes = _installed() if options.peers else ([], [])
    reps = options.reps or (FULL if options.full or options.peers else QUICK)
    with Bench() as bench:
        jobs = [*own_jobs(long=options.full or options.peers), *peer_jobs(peers)]
        jobs = [job for job in jobs if bench.has(job.store) and re.search(options.only, job.key)]
        quick = not (options.full or options.peers or options.reps)
        measured, broken = measure(bench, jobs, reps, quick=quick)
        notes += [*bench.absent, *broken]
    print("\n".join([*times_table(measured), "", *goals_table(measured), *notes]))
    file = options.out or BENCH / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    found = {
        **about(),
        "repetitions": max(map(len, measured.values()), default=0),
        "peers": {name: versions(name) for name in peers},
    }
    file.write_text(json.dumps({**found, "notes": notes, "measured": measured}, indent=1) + "\n")
    print(f"all of it: {file}", file=sys.stderr)
    return 1 if broken else 0


def measure(bench: Bench, jobs: list[Job], reps: int, *, quick: bool) -> tuple[Measured, list[str]]:
    """Every job so many times, in another order each time; and a line for each job that could not be measured.

    ``quick``: what is heavy once, and no repetition for which there is no time left.
    """
    measured: Measured = {job.key: [] for job in jobs}
    broken: dict[str, str] = {}
    start, light = time.monotonic(), 0.0
    for repetition in range(reps):
        if quick and time.monotonic() - start + light > SOON:
            break
        light = 0.0
        now = [job for job in jobs if not (quick and job.heavy and repetition) and job.key not in broken]
        order = shuffled(now, random.Random(repetition))
        for number, job in enumerate(order, 1):
            print(f"\r{repetition + 1}/{reps} {number}/{len(order)} {job.key:40}", end="", file=sys.stderr)
            began = time.monotonic()
            try:
                measured[job.key].append(bench.run(job))
            except (Broken, subprocess.TimeoutExpired) as error:
                broken[job.key] = f"{job.key}: not measured: {error}"
            light += 0.0 if job.heavy else time.monotonic() - began
    print(file=sys.stderr)
    return {key: found for key, found in measured.items() if found}, list(broken.values())


def shuffled(jobs: list[Job], chance: random.Random) -> list[Job]:
    """The jobs in another order, those that are compared with each other one right after the other: on a machine that
    others use, a minute changes more than what is measured."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.group, []).append(job)
    chosen = list(groups.values())
    chance.shuffle(chosen)
    for group in chosen:
        chance.shuffle(group)
    return [job for group in chosen for job in group]


def about() -> dict[str, Any]:
    """The machine, and the versions of what was measured."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": model, "cpus": os.cpu_count(), "mb": memory, "system": platform.platform()},
        "load": os.getloadavg(),
        "versions": {
            "commit": head.stdout.strip(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in ("orchestrator", "anyio", "asyncpg", "aiomysql", "ruamel.yaml")},
        },
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _installed() -> tuple[list[str], list[str]]:
    """The peers that can be measured here, and a line for each that cannot."""
    problems = {name: install(name) for name in PEERS}
    return [name for name, problem in problems.items() if not problem], list(filter(None, problems.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=f"all sizes, {FULL} repetitions")
    parser.add_argument("--peers", action="store_true", help="other engines, too; implies --full")
    parser.add_argument("--reps", type=int, default=0, help="repetitions of each")
    parser.add_argument("--only", default="", help="a regex of `WORKLOAD SYSTEM STORE SIZE`, such as `^w1 .*sqlite`")
    parser.add_argument("--out", type=Path, help="the file of JSON; by default one under .bench/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
