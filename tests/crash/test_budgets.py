"""A thousand calls at once under nested budgets, killed and taken up again at random: what the calls really cost, as
another process keeps count of it, is never over what was allowed at that moment."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.clock import SystemClock
from orchestrator.engine.decide import Decider, RunInfo
from orchestrator.engine.verify import verify
from orchestrator.journal.state import RunState, fold
from orchestrator.journal.store import InboxRow
from orchestrator.stores import open_store
from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, records_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.lab import Case

HERE = Path(__file__).parent
AGENTS = 1_000
CALL = 5_500
"""Micro-dollars of one call."""

CAP = 100 * CALL
KILLS = 50 if os.environ.get("ORCH_PROVE") else 6

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("budgets"), spec=HERE / "budgets.yaml", lease=15.0, shared=64)
    yield found
    found.close()


def billed(lab: Lab, case: Case) -> int:
    """What the calls cost, by the ledger: one that began was billed, whatever became of its reply."""
    return CALL * sum(line["phase"] == "begin" for line in lab.ledger.lines(case.run_id))


def state_of(case: Case) -> RunState:
    return fold(records_of(case))


def add(case: Case, number: int, micros: int) -> None:
    """``orch budget --add``."""

    async def send() -> None:
        store = open_store(case.url)
        await store.open()
        try:
            row = InboxRow(
                run_id=case.run_id, request_id=f"budget:{number}", kind="budget", path="",
                body={"add": {"usd": micros}}, by="lab", at=SystemClock().now(),
            )  # fmt: skip
            await store.send(row)
        finally:
            await store.aclose()

    anyio.run(send)


def check(lab: Lab, case: Case, cap: int) -> RunState:
    """Never over: not the run, and none of the accounts inside it. The state that was found."""
    state = state_of(case)
    assert billed(lab, case) <= state.spend <= cap
    decider = Decider(case.graph, state, RunInfo(case.run_id))
    accounts = decider.budgets.accounts.values()
    assert all((account.left(name) or 0) >= 0 for account in accounts for name in account.bounded)
    inside: dict[str, int] = {}
    for path, totals in state.accounts.items():
        level = path.count("[")
        inside[str(level)] = inside.get(str(level), 0) + totals.spent("usd")
    # Each level of accounts has all that was spent, once.
    assert set(inside.values()) == {state.spend}
    return state


def smallest(records: list[Any]) -> int:
    """The least that a call may take, of those that were recorded or refused, in micro-dollars."""
    found = [record.body["reserve"]["usd"] for record in records if record.kind == "started"]
    limits = [record.body for record in records if record.kind == "limit_reached"]
    return min(found + [body["needed"] for body in limits if body["dimension"] == "usd"])


def test_a_run_that_nobody_kills_stops_where_no_call_fits_and_has_spent_what_the_ledger_says(lab: Lab) -> None:
    case = lab.case()
    assert lab.run(case) == ENDS["paused"]
    records = records_of(case)
    state = fold(records)
    assert state.paused is not None
    assert state.paused["reason"] == "limit"
    check(lab, case, CAP)
    assert state.spend == state.settled == billed(lab, case)
    assert state.spend + smallest(records) > CAP
    add(case, 1, AGENTS * 20_000)
    assert lab.run(case, resume=True) == ENDS["done"]
    assert billed(lab, case) == AGENTS * CALL
    assert broken(lab, case, outputs={"said": [{"agents": ["hello"] * 100}] * 10}) == []


class Storm:
    """Runs that die, one after the other, until there were kills enough."""

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        self.lab = lab
        self.rng = rng
        self.kills = 0
        self.added = 0
        self.begin()

    def begin(self) -> None:
        self.case, self.cap, self.begun = self.lab.case(), CAP, False

    def live(self) -> None:
        """One life, and what a person may add after it."""
        case = self.case
        code = self.lab.run(case, resume=self.begun, kill_after=self.rng.uniform(0.1, 0.6))
        self.begun = self.begun or bool(rows_of(case))
        if not self.begun:
            return
        state = check(self.lab, case, self.cap)
        self.kills += code < 0
        if code == ENDS["done"]:
            proved(case)
            self.begin()
            return
        assert code in (-9, ENDS["paused"]), code
        if state.paused is not None or self.rng.randrange(4) == 0:
            self.added += 1
            more = self.rng.randrange(14_000, 150_000)
            self.cap += more
            add(case, self.added, more)

    def stop(self) -> None:
        """Let it go on, with more, until it has stopped for want of money, or is done; nothing else would fit then."""
        code = self.lab.run(self.case, resume=self.begun)
        errors = [path.read_text() for path in self.case.folder.glob("error-*")]
        assert code in (ENDS["paused"], ENDS["done"]), (code, errors)
        check(self.lab, self.case, self.cap)
        records = records_of(self.case)
        if code == ENDS["paused"]:
            assert fold(records).spend + smallest(records) > self.cap
        proved(self.case)


def proved(case: Case) -> None:
    """The decider could have written the journal, and no call that was done was made again."""
    records = records_of(case)
    assert verify(case.graph, records, run_id=case.run_id) is None
    ended = [record.path for record in records if record.kind == "done" and "/turn" in record.path]
    assert len(ended) == len(set(ended))


def test_killed_at_random_it_is_never_over_what_it_may_spend(lab: Lab) -> None:
    storm = Storm(lab, random.Random(os.environ.get("ORCH_SEED", "budgets")))
    while storm.kills < KILLS:
        storm.live()
    storm.stop()
