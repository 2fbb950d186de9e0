"""Every interleaving of the commit protocol within stated bounds; and that each wrong rule is caught."""

from __future__ import annotations

import pytest

from tests.model.explore import exhaust
from tests.model.protocol import Rules

TWO_RUNS = (("p",), ("q",))
ONE_STEP = (("p",),)

LOST = "an acknowledged record is not there"
FALSE_FENCE = "fenced by nobody"
STALE = "a commit under an old epoch"
ASLEEP = "asleep with a message waiting"

QUICK = {
    "one run of two parallel steps; 2 claims, 1 crash, 1 loss": Rules(claims=2),
    "the same, sent at any later time; 1 claim": Rules(eager=False),
    "a batch of two runs; 1 claim, 1 crash, 1 loss": Rules(steps=TWO_RUNS),
    "a batch of two runs; 2 claims, no crash, 1 loss": Rules(steps=TWO_RUNS, claims=2, crashes=0),
    "a question, an answer and sleep; 1 claim, 1 crash, 1 loss": Rules(steps=ONE_STEP, asks=True, messages=1),
    "nobody holds the run to begin with; 2 claims, 1 crash, 1 loss": Rules(steps=ONE_STEP, held=False, claims=2),
}
FULL = {
    "one run; 2 claims, 1 crash, 2 losses": Rules(claims=2, losses=2),
    "one run; 2 claims, 2 crashes, 1 loss": Rules(claims=2, crashes=2),
    "one run, sent at any later time; 2 claims, 1 crash, 1 loss": Rules(eager=False, claims=2),
    "a batch of two runs; 2 claims, 1 crash, 1 loss": Rules(steps=TWO_RUNS, claims=2),
    "a batch of two runs; 1 claim, 1 crash, 2 losses": Rules(steps=TWO_RUNS, losses=2),
    "a batch of two runs, sent at any later time; 1 claim, 1 crash, 1 loss": Rules(steps=TWO_RUNS, eager=False),
    "a question; 2 claims, 1 crash, 1 loss": Rules(steps=ONE_STEP, asks=True, messages=1, claims=2),
    "a question; 1 claim, 1 crash, 2 losses": Rules(steps=ONE_STEP, asks=True, messages=1, losses=2),
}
WRONG = {
    "a resend that grows": (Rules(resend="grows"), LOST),
    "a conflict stops every run of its batch": (Rules(steps=TWO_RUNS, conflict="all stop"), FALSE_FENCE),
    "one run's verdict stands for its batch": (Rules(steps=TWO_RUNS, verdict="first"), FALSE_FENCE),
    "a fresh nonce in each send": (Rules(nonce="send"), FALSE_FENCE),
    "a taken key is ignored": (Rules(taken="ignore", fence="key"), LOST),
    "the next slice goes out while the last is unknown": (Rules(flight="pipelined", fence="key"), "a gap"),
    "read the head again and append there": (Rules(conflict="rebase", fence="key"), STALE),
    "read the inbox, then lock and park": (
        Rules(steps=ONE_STEP, asks=True, messages=1, parking="reads first"),
        ASLEEP,
    ),
}


def holds(rules: Rules) -> None:
    found = exhaust(rules)
    assert not found.broken
    assert found.ends > 0
    assert found.all_finished > 0, "no schedule reaches the end: the model explores nothing"


@pytest.mark.parametrize("bounds", QUICK)
def test_the_protocol_holds(bounds: str) -> None:
    holds(QUICK[bounds])


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bounds", FULL)
def test_the_protocol_holds_in_full(bounds: str) -> None:
    holds(FULL[bounds])


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_gives_a_counterexample(wrong: str) -> None:
    rules, expected = WRONG[wrong]
    found = exhaust(rules, to=expected)
    assert len(found.broken[expected]) >= 2, "a way there has steps"
