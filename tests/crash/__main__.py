"""Kill the reference pipeline everywhere, resume it, and check what is promised.

``python -m tests.crash --random 300 --jobs 2 --seed 1 [--fault NAME] [--store URL]`` prints the crashes per boundary,
where the random kills fell, and every broken invariant; exit 1 where there is one. With ``--points 1000`` random kills
follow until there have been a thousand crashes of all kinds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests.crash.checks import broken
from tests.crash.lab import Case, Lab, records_of, rows_of
from tests.databases import made

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = (
    "before_begin", "after_begin", "before_commit", "after_commit", "before_effect", "after_effect", "before_apply",
    "after_apply",
)  # fmt: skip


@dataclass
class Report:
    """What a job saw. ``inside``: random kills between ``run_started`` and ``run_finished``."""

    crashes: Counter[str] = field(default_factory=Counter)
    random: int = 0
    inside: int = 0
    runs: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: dict[str, Any]) -> None:
        self.crashes.update(other["crashes"])
        self.random += other["random"]
        self.inside += other["inside"]
        self.runs += other["runs"]
        self.broken += other["broken"]


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: its outputs, how often it passed each point, how long it took (seconds)."""

    outputs: dict[str, Any]
    passed: Counter[str]
    seconds: float


def uninterrupted(lab: Lab) -> Whole:
    lab.run(lab.case())
    case = lab.case()
    start = time.perf_counter()
    code = lab.run(case)
    seconds = time.perf_counter() - start
    if code:
        errors = "\n".join(path.read_text() for path in case.folder.glob("error-*"))
        raise SystemExit(f"the reference pipeline does not run: exit {code}\n{errors}")
    return Whole(records_of(case)[-1].body["outputs"], case.passed, seconds)


def scenarios(whole: Whole, args: argparse.Namespace) -> list[tuple[Any, ...]]:
    """Every passing of every point; random instants of the recovery after a boundary; random instants."""
    boundaries = [("at", name, n) for name in POINTS for n in range(1, whole.passed[name] + 1)]
    if args.boundaries:
        boundaries = random.Random(args.seed).sample(boundaries, min(args.boundaries, len(boundaries)))
    again = [("again", name, n, index) for index, (_, name, n) in enumerate(boundaries[:: max(1, args.again)])]
    at_random = [("random", index) for index in range(args.random)]
    return boundaries + (again if args.again else []) + at_random


def share(whole: Whole, index: int, args: argparse.Namespace, report: Report) -> Iterator[tuple[Any, ...]]:
    """One job's part of the scenarios, and then random instants until its part of ``--points`` is reached."""
    yield from scenarios(whole, args)[index :: args.jobs]
    more = itertools.count(args.random + index, args.jobs)
    while sum(report.crashes.values()) * args.jobs < args.points:
        yield ("random", next(more))


def play(lab: Lab, whole: Whole, scenario: tuple[Any, ...], report: Report, args: argparse.Namespace) -> Case:
    """One run: killed, resumed to its end, checked."""
    case = lab.case()
    rng = random.Random(f"{args.seed}:{scenario}")
    fault = args.fault
    report.runs += 1
    match scenario:
        case ("at", name, n):
            report.crashes[name] += lab.run(case, at=(name, n), fault=fault) < 0
        case ("random", _):
            case = killed_at_random(lab, whole, rng, case, fault)
            report.random += 1
            report.crashes["random"] += 1
            kinds = {row.kind for row in rows_of(case)}
            report.inside += "run_started" in kinds and "run_finished" not in kinds
        case ("again", name, n, _):
            report.crashes[name] += lab.run(case, at=(name, n), fault=fault) < 0
            point = rng.choice(POINTS), rng.randint(1, 12)
            report.crashes["recovery"] += lab.run(case, resume=bool(rows_of(case)), at=point, fault=fault) < 0
        case _:
            raise ValueError(scenario)
    lab.finish(case, fault=fault)
    found = broken(lab, case, outputs=whole.outputs)
    report.broken += [f"{scenario} {case.run_id}: {problem}" for problem in found]
    errors = sorted(case.folder.glob("error-*"))
    if errors and not fault:
        report.broken.append(f"{scenario} {case.run_id}: {errors[0].read_text()}")
    if not found:
        shutil.rmtree(case.folder)
    return case


def killed_at_random(lab: Lab, whole: Whole, rng: random.Random, case: Case, fault: str | None) -> Case:
    """A run that was killed at an instant; one that was faster than the instant is thrown away, and the next one tried.

    Most instants are counted from the first commit: on a busy machine a process takes long to get there.
    """
    longest, once_begun = whole.seconds, rng.random() < 0.8
    while True:
        after = rng.uniform(0 if once_begun else 0.02, longest)
        if lab.run(case, kill_after=after, once_begun=once_begun, fault=fault) < 0:
            return case
        longest = max(0.04, longest * 0.9)
        shutil.rmtree(case.folder)
        case = lab.case()


def job(index: int, args: argparse.Namespace, folder: Path) -> Report:
    home = folder / f"job{index}"
    home.mkdir()
    lab = Lab(home, url=args.store)
    try:
        whole = uninterrupted(lab)
        report = Report()
        for scenario in share(whole, index, args, report):
            play(lab, whole, scenario, report, args)
            if args.fault and report.broken:
                break
        return report
    finally:
        lab.close()


def _child(index: int, args: argparse.Namespace, folder: Path) -> NoReturn:
    """A job in a process of its own, which leaves the database and the folder to its parent, however it ends."""
    code = 70
    try:
        found = job(index, args, folder)
        (folder / f"report{index}").write_text(json.dumps(found.__dict__))
        code = 0
    except BaseException:  # noqa: BLE001  whatever ended the job is printed
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=300)
    parser.add_argument("--points", type=int, default=0, help="go on with random kills until so many crashes")
    parser.add_argument("--boundaries", type=int, default=0, help="a sample of so many; 0: all")
    parser.add_argument("--again", type=int, default=4, help="of every so many boundaries, die again in the recovery")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fault", default=None)
    parser.add_argument(
        "--store", default=None, metavar="URL", help="a database server; the runs get one database in it"
    )
    args = parser.parse_args()
    report = Report()
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crash-")))
        if args.store is not None:
            args.store = stack.enter_context(made(args.store))
        pids: list[int] = []
        for index in range(args.jobs):
            pid = os.fork()
            if pid == 0:
                _child(index, args, folder)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        if any(codes):
            return 2
        for index in range(args.jobs):
            report.add(json.loads((folder / f"report{index}").read_text()))
    total, name = sum(report.crashes.values()), "sqlite" if args.store is None else args.store.partition(":")[0]
    print(f"{name}, seed {args.seed}: {report.runs} runs, {total} crashes, {time.perf_counter() - start:.0f} s")
    for point in (*POINTS, "random", "recovery"):
        print(f"  {point:14} {report.crashes[point]:5}")
    if report.random:
        print(f"  random kills between run_started and run_finished: {report.inside / report.random:.0%}")
    print(f"broken invariants: {len(report.broken)}")
    for line in report.broken[:20]:
        print("  " + line)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
