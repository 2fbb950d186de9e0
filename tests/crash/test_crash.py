"""The crash suite. ``POINTS`` is how many crashes each database sees; unset, a seeded sample."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.checks import broken
from tests.crash.faults import FAULTS
from tests.crash.lab import ENDS, Case, Lab, compiled, records_of, rows_of

ROOT = Path(__file__).parent.parent.parent
FULL = os.environ.get("ORCH_PROVE") == "1"


@pytest.fixture
def lab(tmp_path):
    found = Lab(tmp_path, lease=1.0)
    yield found
    found.close()


def suite(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.crash", "--jobs", "2", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def killed_everywhere(capsys, points: int, *args: str) -> None:
    """Crashes at every boundary, in recoveries, and at random until there have been ``points``, or ``POINTS``: none
    breaks an invariant. The counts are printed.
    """
    points = int(os.environ.get("POINTS") or points)
    found = suite("--random", "40", "--points", str(points), "--seed", os.environ.get("SEED") or "1", *args)
    with capsys.disabled():
        print("\n" + found.stdout + found.stderr)
    assert found.returncode == 0, found.stdout
    lines = dict(line.rsplit(None, 1) for line in found.stdout.splitlines()[1:11])
    counts = {name.strip(): int(count) for name, count in lines.items()}
    assert len(counts) == 10
    assert all(counts.values()), counts
    assert sum(counts.values()) >= points
    inside = next(line for line in found.stdout.splitlines() if "between" in line)
    assert int(inside.rsplit(None, 1)[1].rstrip("%")) >= 60


@pytest.mark.timeout(7200)
def test_no_invariant_breaks_wherever_a_run_is_killed(capsys):
    killed_everywhere(capsys, 500)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"ignore_the_fence"}))
def test_the_suite_goes_red_for_a_planted_fault(fault):
    found = suite("--random", "20", "--boundaries", "40", "--seed", "3", "--fault", fault)
    assert found.returncode == 1, found.stdout
    assert "broken invariants: 0" not in found.stdout


def stop_outside_a_transaction(case: Case, pid: int) -> None:
    """A process that is stopped while it holds the file's lock keeps everybody out: no fence helps against that.
    A server ends the transaction of a client that has gone quiet.
    """
    if not case.url.startswith("sqlite:"):
        os.kill(pid, signal.SIGSTOP)
        return
    while True:
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(case.folder / "runs.db", timeout=0, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)


def stopped_and_taken_over(lab: Lab, count: int, *, fault: str | None = None) -> list[str]:
    """Drivers are stopped in mid-run past their lease, their runs taken over, and then they go on. What went wrong."""
    whole = lab.case()
    assert lab.run(whole) == 0
    outputs = records_of(whole)[-1].body["outputs"]
    cases = [lab.case() for _ in range(count)]
    pids = [lab.fork(case, fault=fault) for case in cases]
    wrong: list[str] = []
    for case, pid in zip(cases, pids, strict=True):
        while len(rows_of(case) if lab.url or (case.folder / "runs.db").exists() else ()) < 8:
            time.sleep(0.002)
        stop_outside_a_transaction(case, pid)
    time.sleep(lab.lease * 1.1)
    before: dict[str, int] = {}
    for case in cases:
        code = lab.finish(case, old_driver_lives=True)
        before[case.run_id] = len(rows_of(case))
        wrong += [f"{case.run_id}: the one that took over ended with {code}"] if code else []
    for case, pid in zip(cases, pids, strict=True):
        finished = records_of(case)[-1].kind == "run_finished"
        os.kill(pid, signal.SIGCONT)
        code = lab.wait(pid, seconds=10)
        rows = rows_of(case)
        if not finished or len(rows) != before[case.run_id]:
            wrong.append(f"{case.run_id}: {len(rows) - before[case.run_id]} records came from the old driver")
        if code not in (0, ENDS["held"]):
            wrong.append(f"{case.run_id}: the old driver ended with {code}")
        epochs = [row.epoch for row in rows]
        if epochs != sorted(epochs):
            wrong.append(f"{case.run_id}: (e) a record of an old epoch after one of a newer")
        wrong += [f"{case.run_id}: {problem}" for problem in broken(lab, case, outputs=outputs)]
    return wrong


@pytest.mark.timeout(900)
def test_a_driver_that_was_stopped_past_its_lease_commits_nothing(lab):
    count = 100 if FULL else 12
    wrong = [line for _ in range(count // 4) for line in stopped_and_taken_over(lab, 4)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(120)
def test_the_suite_goes_red_where_the_fence_is_ignored(lab):
    found = (line for _ in range(5) for line in stopped_and_taken_over(lab, 4, fault="ignore_the_fence"))
    assert any("old driver" in line or "(" in line for line in found)


@pytest.mark.timeout(900)
def test_of_two_that_resume_one_run_one_drives_and_one_is_refused(lab):
    graph = compiled(ROOT / "tests" / "crash" / "gate.yaml")
    for index in range(200 if FULL else 25):
        case = lab.case(graph=graph)
        assert lab.run(case, at=("after_commit", 1 + index % 3)) == -signal.SIGKILL
        read, write = os.pipe()
        pids = [lab.fork(case, resume=True, wait_for=read) for _ in range(2)]
        os.write(write, b"go")
        os.close(read)
        os.close(write)
        refused, code = os.waitpid(-1, 0)
        assert refused in pids
        assert os.waitstatus_to_exitcode(code) == ENDS["held"]
        lab.children.remove(refused)
        (case.folder / "open").touch()
        assert lab.wait(sum(pids) - refused) == 0
        assert records_of(case)[-1].body["outputs"] == {"last": 4}
        assert broken(lab, case, outputs={"last": 4}) == []
