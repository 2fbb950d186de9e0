from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.journal.errors import Held
from orchestrator.journal.store import Driver, Owner, RunRow
from orchestrator.stores.claims import plan_claim

RUN = RunRow(
    run_id="r1",
    name="demo",
    graph_hash="g",
    status="running",
    reason=None,
    epoch=3,
    owner="old",
    head=9,
    head_sum="s" * 64,
    wake_at=None,
    parent_id=None,
    root_id="r1",
    spend=0,
    tokens=0,
    labels={},
    error=None,
    claims=1,
    created_at=1,
    updated_at=1,
    finished_at=None,
)
HERE = Driver(owner="old", host="h", boot_id="b", pid_ns="n", pid=7, started=70)
ME = replace(HERE, owner="me", pid=8, started=80)


def claim(old: Driver, *, me: Driver = ME, dead: bool = True, lease_until: int = 100, now: int = 50) -> Any:
    return plan_claim(
        RUN,
        me,
        Owner(driver=old, lease_until=lease_until, renewed_at=1),
        now,
        "nonce",
        force=False,
        explicit=False,
        gone=lambda pid, started: dead,
    )


@pytest.mark.parametrize(
    "old",
    [
        replace(HERE, host="other"),
        replace(HERE, boot_id="other"),
        replace(HERE, pid_ns="other"),
        replace(HERE, started=0),
        replace(HERE, owner="me"),
    ],
)
def test_only_what_can_be_seen_is_provably_gone(old: Driver) -> None:
    with pytest.raises(Held):
        claim(old)


@pytest.mark.parametrize("blank", ["host", "boot_id", "pid_ns"])
def test_machines_without_names_are_not_the_same_machine(blank: str) -> None:
    with pytest.raises(Held):
        claim(replace(HERE, **{blank: ""}), me=replace(ME, **{blank: ""}))


def test_a_process_that_is_gone_holds_nothing() -> None:
    plan = claim(HERE)
    assert (plan.row.seq, plan.row.epoch, plan.row.kind, plan.row.nonce) == (10, 4, "claimed", "nonce")
    assert (plan.changes["epoch"], plan.changes["head"], plan.changes["owner"]) == (4, 10, "me")
    with pytest.raises(Held):
        claim(HERE, dead=False)


@pytest.mark.parametrize(("lease_until", "held"), [(51, True), (50, False), (49, False)])
def test_a_lease_ends_at_its_end(lease_until: int, held: bool) -> None:
    if held:
        with pytest.raises(Held):
            claim(HERE, dead=False, lease_until=lease_until)
    else:
        assert claim(HERE, dead=False, lease_until=lease_until).refused is None
