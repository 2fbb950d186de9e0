"""A long conversation, summed up and meddled with, killed at every boundary: it says the same, and pays nothing twice."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, records_of

HERE = Path(__file__).parent
POINTS = ("after_begin", "before_commit", "after_commit", "before_effect", "after_effect", "after_apply")
SAMPLE = None if os.environ.get("ORCH_PROVE") else 30

pytestmark = pytest.mark.timeout(120 if SAMPLE else 1_800)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("long"), spec=HERE / "agents_long.yaml", lease=15.0, shared=64)
    try:
        yield lab
    finally:
        lab.close()


def test_a_conversation_goes_on_as_it_would_have(lab: Lab) -> None:
    whole = lab.case()
    assert lab.run(whole) == ENDS["done"], [path.read_text() for path in whole.folder.glob("error-*")]
    records = records_of(whole)
    outputs = records[-1].body["outputs"]
    kinds = Counter(record.kind for record in records)
    assert kinds["compacted"] >= 2
    assert "no page" not in str(outputs)
    models = sum(line["effect"] == "model" and line["phase"] == "begin" for line in lab.ledger.lines(whole.run_id))

    places = [(point, number) for point in POINTS for number in range(1, whole.passed[point] + 1)]
    if SAMPLE is not None:
        places = random.Random(5).sample(places, SAMPLE)
    passed = 0
    for place in places:
        case = lab.case()
        # What goes on side by side shares commits, more of them in one life than in another: the last point of a run
        # may be one that this one has not.
        end = lab.run(case, at=place)
        passed += end == ENDS["done"]
        assert end in (-signal.SIGKILL, ENDS["done"]), place
        assert lab.finish(case) == ENDS["done"], place
        assert broken(lab, case, outputs=outputs) == [], place
        lines = lab.ledger.lines(case.run_id)
        assert sum(line["effect"] == "model" and line["phase"] == "begin" for line in lines) <= models + 1, place
        again = [record.body for record in records_of(case) if record.kind == "compacted"]
        assert again == [record.body for record in records if record.kind == "compacted"], place
    assert passed <= len(places) // 10
