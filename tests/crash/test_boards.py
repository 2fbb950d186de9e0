"""Two agents that write one board, killed at every commit: what was written counts, once, and in one order."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.journal.state import fold
from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, records_of

if TYPE_CHECKING:
    from tests.crash.lab import Case

HERE = Path(__file__).parent
OUTPUTS = {"said": ["three", "three"], "read": {"n": 6, "names": ["ann", "bob"], "facts": 2}}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("boards"), spec=HERE / "boards.yaml", lease=15.0, shared=64)
    yield found
    found.close()


def check(lab: Lab, case: Case) -> None:
    assert broken(lab, case, outputs=OUTPUTS) == []
    records = records_of(case)
    state = fold(records)
    counted = [
        record.body["output"]["value"]
        for record in records
        if record.kind == "done" and record.body.get("kept", {}).get("set")
    ]
    assert counted == [1, 2, 3, 4, 5, 6]
    assert state.kept.boards["counts"].values == {"n": 6}
    noted = [int(text) for path in ("one", "two") for text in state.kept.notes[path]]
    assert sorted(noted) == counted
    ends = [record.path for record in records if record.kind == "done" and "/tool" in record.path]
    assert len(ends) == len(set(ends))


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_board_is_the_same_wherever_the_run_is_killed(lab, point):
    whole = lab.case()
    assert lab.run(whole) == ENDS["done"]
    check(lab, whole)
    killed = 0
    for number in range(1, whole.passed[point] + 1):
        case = lab.case()
        # Who is faster may differ from run to run, and with it how many commits there are.
        killed += lab.run(case, at=(point, number)) == -signal.SIGKILL
        lab.finish(case)
        check(lab, case)
    assert killed >= 20


def test_a_board_is_the_same_after_many_crashes_of_one_run(lab):
    case = lab.case()
    crashes = 0
    while lab.run(case, resume=bool(crashes), at=("after_commit", 4)) == -signal.SIGKILL:
        crashes += 1
    assert crashes >= 3
    check(lab, case)
