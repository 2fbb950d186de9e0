"""``verify``: is a journal one that this decider could have written?

The decider runs ahead of the journal: what it decides at each prefix is expected next. A ``started`` must be
permitted at its prefix, with the same hash; a control record must be the one decided; an attempt's end must close
what is open. Ends of effects, signals and time are the world's, and taken as they are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator.engine.decide import Decider, RunInfo
from orchestrator.frozen import frozen
from orchestrator.journal.accounts import needed
from orchestrator.journal.records import Draft
from orchestrator.journal.state import RunState, around, fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engine.budgets import Account
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.records import Record


@frozen
class Divergence:
    """Where a journal and the decider part. ``seq`` is the record's."""

    seq: int
    path: str
    problem: str

    def __str__(self) -> str:
        return f"record {self.seq} ({self.path or 'the run'}): {self.problem}"


_WORLD = frozenset({"received", "cancel_requested", "paused", "fired", "answered", "resolved", "budget_added"})


def verify(graph: Graph, records: Sequence[Record], *, run_id: str) -> Divergence | None:
    """The first divergence, or None. ``records`` are all of the run's, from the first."""
    if not records or records[0].kind != "run_started":
        return Divergence(1, "", "a journal begins with run_started")
    return _Replay(graph, RunInfo(run_id)).run(records)


class _Replay:
    def __init__(self, graph: Graph, run: RunInfo) -> None:
        self.graph = graph
        self.run_info = run
        self.state = RunState()
        self.decider: Decider
        self.expected: dict[tuple[str, str], deque[dict[str, Any]]] = {}

    def run(self, records: Sequence[Record]) -> Divergence | None:
        first = records[0]
        self.state.apply(first, seq=1, at=first.at, epoch=first.epoch)
        self._rebuild()
        for seq, record in enumerate(records[1:], 2):
            problem = "the sequence has a gap" if record.seq != seq else self._step(record, records)
            if problem is not None:
                return Divergence(record.seq, record.path, problem)
        return None

    def _rebuild(self) -> None:
        self.decider = Decider(self.graph, self.state, self.run_info)
        self._decide()

    def _decide(self) -> None:
        for draft in self.decider.decide():
            # A path may fail, and fail again by its fallback, before anything else is written.
            self.expected.setdefault((draft.kind, draft.path), deque()).append(draft.body)

    def _step(self, record: Record, records: Sequence[Record]) -> str | None:
        bodies = self.expected.get((record.kind, record.path))
        if bodies:
            body = bodies.popleft()
            return None if body == record.body else f"`{record.kind}` holds something else than was decided"
        # Whether people are asked changes when a run is taken up, and only then.
        if record.kind in ("claimed", "resumed") or (record.kind == "received" and "mode" in record.body):
            self._taken_over(records[: record.seq])
            return None
        problem = self._check(record)
        if problem is None:
            self.decider.apply(Draft(record.kind, record.path, record.body), at=record.at)
            self._decide()
        return problem

    def _charged(self, account: Account, body: dict[str, Any]) -> str | None:
        """Whether an attempt is charged to the accounts around it, and fits them."""
        if around(body) != [each.path for each in account.chain()]:
            return "an effect was charged to another account than its own"
        for each in account.chain():
            for dimension, amount in needed(body).items():
                left = each.left(dimension)
                if left is not None and amount > left:
                    return f"an effect was started that the budget of {each.path or 'the run'} has no room for"
        return None

    def _taken_over(self, records: Sequence[Record]) -> None:
        """A claim, or a reopened run: what was decided and never written is decided anew, from what was written."""
        self.state = fold(records)
        self.expected.clear()
        self._rebuild()

    def _check(self, record: Record) -> str | None:
        kind, path = record.kind, record.path
        if kind in _WORLD:
            return None
        if kind == "started":
            intent = self.decider.permitted.get(path)
            if intent is None:
                return "an effect was started that was not permitted here"
            if (intent.attempt, intent.hash, intent.key) != (
                record.body["attempt"],
                record.body["hash"],
                record.body.get("key", ""),
            ):
                return "an effect was started with another attempt, input or key than was permitted"
            return self._charged(intent.act.account, record.body)
        if kind == "limit_reached":
            bounded = (
                ("", *self.decider.budgets.accounts) if record.body["then"] != "fail" else ("", *self.decider.acts)
            )
            known = record.body["account"] in self.decider.budgets.accounts and path in bounded
            return None if known else "a limit was reached that no budget here has"
        step = self.state.steps.get(path)
        if kind in ("done", "failed", "cancelled", "waiting", "expanded") and step is not None and step.open:
            if record.body.get("attempt") != step.attempt:
                return f"`{kind}` closes attempt {record.body.get('attempt')}, and attempt {step.attempt} is open"
            return None
        return f"`{kind}` is not what was decided here, and closes nothing that is open"
