"""A supervisor, its delegates, agents that are made and a plan, killed at every boundary: nothing that has ended is done
again, and the run ends as it would have."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, records_of

SPEC = Path(__file__).parent / "team.yaml"
FULL = os.environ.get("ORCH_PROVE") == "1"
SAMPLE = 30

pytestmark = pytest.mark.timeout(1800 if FULL else 300)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("team"), spec=SPEC, lease=15.0, shared=64)
    yield found
    found.close()


def errors_of(case):
    return "\n".join(path.read_text() for path in case.folder.glob("error-*"))


def test_a_team_that_is_killed_at_any_boundary_goes_on_where_it_was(lab):
    whole = lab.case()
    assert lab.run(whole) == ENDS["done"], errors_of(whole)
    records = records_of(whole)
    outputs = records[-1].body["outputs"]
    assert sum(r.kind == "expanded" for r in records) == 6
    assert {"work/turn1/tool0/turn1/tool1/turn2", "work/turn1/tool1/turn2", "work/turn2/tool1/sum/turn1"} <= {
        r.path for r in records if r.kind == "started"
    }
    points = [(name, nth) for name, count in sorted(whole.passed.items()) for nth in range(1, count + 1)]
    chosen = points if FULL else random.Random(7).sample(points, SAMPLE)
    killed = 0
    for point in chosen:
        case = lab.case()
        killed += lab.run(case, at=point) == -signal.SIGKILL
        done = {r.path for r in records_of(case) if r.kind == "done"} if case.snapshots and case.snapshots[0] else set()
        before = len(case.snapshots[0]) if case.snapshots else 0
        assert lab.finish(case) == ENDS["done"], (point, errors_of(case))
        after = records_of(case)[before:]
        assert not done & {r.path for r in after if r.kind == "started"}, point
        assert broken(lab, case, outputs=outputs) == [], point
    # Parallel calls may make a point come later than in the run that counted them.
    assert killed >= len(chosen) * 3 // 4
