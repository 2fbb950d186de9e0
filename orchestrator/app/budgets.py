"""The budgets of a run as people see them: each account with its bounds, and what is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.state import RunState
    from orchestrator.journal.store import RunRow, Store


@frozen
class Bound:
    """One dimension of an account: micro-dollars, microseconds, or a count. ``spent`` has what is open in it."""

    limit: int
    spent: int
    open: int

    @property
    def left(self) -> int:
        """What may still be reserved; less than nothing after what could not be foreseen."""
        return self.limit - self.spent

    def row(self) -> tuple[int, int, int, int]:
        return self.limit, self.spent, self.open, self.left


@frozen
class Line:
    """An account. ``then`` is what a limit that is reached leads to."""

    path: str
    then: str
    bounds: dict[str, Bound]

    def document(self) -> dict[str, Any]:
        """For programs: dollars and seconds."""
        found: dict[str, Any] = {"account": self.path, "on_exceed": self.then}
        for name, bound in self.bounds.items():
            scale = 1_000_000 if name in ("usd", "time", "deadline") else 1
            amounts = zip(("limit", "spent", "open", "left"), bound.row(), strict=True)
            found[name] = {key: value if scale == 1 else value / scale for key, value in amounts}
        return found


@frozen
class Loaded:
    """A run as its journal and its inbox have it. ``state`` is decided on: no longer that of the journal alone."""

    graph: Graph
    state: RunState
    run_id: str


async def load(store: Store, row: RunRow) -> Loaded:
    """The run, with what was added and is not taken up yet."""
    from orchestrator.app.history import load_graph
    from orchestrator.journal.records import Draft
    from orchestrator.journal.state import fold

    graph = await load_graph(store, row)
    state = fold(await store.load(row.run_id))
    for sent in await store.pending(row.run_id):
        if sent.kind == "budget":
            paused = state.paused
            state.apply(Draft("budget_added", sent.path, sent.body), seq=state.head + 1, at=state.at)
            state.paused = paused
    return Loaded(graph, state, row.run_id)


def short_of(state: RunState) -> str:
    """The account that stopped the run, or has it wait; else that of the run."""
    said = (state.paused or {}).get("limit") or ((state.finished or {}).get("error") or {}).get("detail") or {}
    return str(said.get("account", "")) if isinstance(said, dict) else ""


def lines_of(loaded: Loaded) -> list[Line]:
    """Every account that has a bound and was reached, the run's first."""
    from orchestrator.engine.budgets import AMOUNTS
    from orchestrator.engine.decide import Decider, RunInfo

    state = loaded.state
    now = state.finished_at or state.at
    # Only the decider knows which activations there are; it decides on a copy of the journal's state.
    decider = Decider(loaded.graph, state, RunInfo(loaded.run_id))
    decider.decide()
    lines: list[Line] = []
    for account in decider.budgets.accounts.values():
        bounds: dict[str, Bound] = {}
        for name in AMOUNTS:
            limit = account.limit(name)
            if limit is not None:
                bounds[name] = Bound(limit, account.totals.spent(name), account.totals.open.get(name, 0))
        if (limit := account.limit("time")) is not None:
            bounds["time"] = Bound(limit, account.totals.spent_time(now), 0)
        if (limit := account.limit("deadline")) is not None:
            bounds["deadline"] = Bound(limit, max(now - account.begun_at, 0), 0)
        if (limit := account.limit("depth")) is not None:
            bounds["depth"] = Bound(limit, 0, 0)
        if bounds:
            lines.append(Line(account.path, account.then, bounds))
    return sorted(lines, key=lambda line: line.path)
