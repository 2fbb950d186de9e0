"""``orch show``: a run's steps, outputs, time and cost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.list_ import run_object, shown_status
from orchestrator.cli.render.steps import grow, outline, step_object, within
from orchestrator.cli.render.text import json_text, one_line, plain
from orchestrator.cli.render.values import MARKS, count, elapsed, local_time, money, table, usd
from orchestrator.cli.session import RunReference, Session, begin, run_async
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from orchestrator.cli.render.steps import Branch
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.records import Record
    from orchestrator.journal.state import RunState
    from orchestrator.journal.store import InboxRow, RunRow, Store


def show(
    context: typer.Context,
    run: RunReference,
    step: Annotated[str | None, typer.Option("--step", metavar="PATH", help="One step, and what is inside it.")] = None,
    io: Annotated[bool, typer.Option("--io", help="Inputs and outputs, too.")] = False,
    records: Annotated[bool, typer.Option("--records", help="The journal's records.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Tokens and cost by step.")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="Every step, down to turns and tool calls.")] = False,
) -> int:
    """Show a run: its steps, outputs, time and cost."""
    from orchestrator.journal.state import fold

    session = begin(context)
    loaded = run_async(lambda: _load(session, run))
    view = _View(session, loaded, fold(loaded.journal))
    branches = view.branches if step is None else [view.at(step)]
    if session.flags.machine:
        session.screen.data(view.document(branches, step=step, io=io, records=records, cost=cost))
        return 0
    if records:
        view.print_records(step)
    elif cost:
        view.print_cost(branches, depth=None if tree else 1)
    else:
        view.print(branches, step=step, io=io, tree=tree)
    return 0


@frozen
class _Loaded:
    """The row of a run and its records; ``graph`` of one that is driven, ``inbox`` of one that has ended."""

    row: RunRow
    journal: list[Record]
    graph: Graph | None
    inbox: list[InboxRow]


async def _load(session: Session, reference: str) -> _Loaded:
    from orchestrator.app.runs import found_run

    async with found_run(reference, session.config()) as found:
        row = found.row
        journal = await found.store.load(row.run_id)
        graph = await _limited(found.store, row, journal) if row.status == "running" and not row.stalled else None
        return _Loaded(row, journal, graph, await found.store.pending(row.run_id) if row.ended else [])


async def _limited(store: Store, row: RunRow, journal: list[Record]) -> Graph | None:
    """The graph of a run, if models of it have ``limits``, for which steps may wait."""
    content = await store.get_blob(journal[0].body["graph"])
    if b'"limits"' not in content:
        return None
    from orchestrator.app.history import load_graph

    return await load_graph(store, row)


class _View:
    def __init__(self, session: Session, loaded: _Loaded, state: RunState) -> None:
        from orchestrator.clock import SystemClock
        from orchestrator.journal.unread import left_in, unread

        self.screen = session.screen
        self.row = row = loaded.row
        self.journal = loaded.journal
        self.state = state
        self.unread = [*unread(state), *left_in(loaded.inbox)]
        self.branches = grow(state)
        self.now = 0 if row.ended else SystemClock().now()
        self.held: list[dict[str, str]] = []
        if loaded.graph is not None:
            from orchestrator.engine.held import held_back

            self.held = held_back(loaded.graph, state, run_id=row.run_id, now=self.now)

    def at(self, path: str) -> Branch:
        from orchestrator.app.history import NoSuchStep

        every = [each for branch in self.branches for each in branch.walk()]
        for each in every:
            if each.path == path:
                return each
        raise NoSuchStep(path, run_id=self.row.run_id, known=[each.path for each in every])

    @property
    def spend(self) -> int | None:
        return None if self.state.unpriced else self.state.spend

    @property
    def outputs(self) -> Any:
        return (self.state.finished or {}).get("outputs")

    # --- for programs ---

    def document(
        self, branches: list[Branch], *, step: str | None, io: bool, records: bool, cost: bool
    ) -> dict[str, Any]:
        every = [each for branch in branches for each in branch.walk()]
        found: dict[str, Any] = {
            "format": "orch.show/1",
            "run": run_object(self.row) | {"usd": usd(self.spend), "tokens": self.state.tokens},
            "steps": [step_object(each, io=io or step is not None) for each in every],
            "outputs": self.outputs,
            "unread": self.unread,
            "held": self.held,
        }
        if io:
            found["inputs"] = self.state.started.get("inputs")
        if cost:
            found["cost"] = self._cost()
        if records:
            from orchestrator.cli.render.records import record_object

            found["records"] = [record_object(each) for each in self.journal if within(each.path, step)]
        return found

    def _cost(self) -> dict[str, Any]:
        state = self.state
        return {
            "usd": usd(self.spend),
            "settled_usd": usd(state.settled),
            "open_usd": usd(state.reserved),
            "lost_usd": usd(state.lost),
            "tokens": state.tokens,
            "lost_tokens": state.lost_tokens,
        }

    # --- for people ---

    def print(self, branches: list[Branch], *, step: str | None, io: bool, tree: bool) -> None:
        lines = self._head() if step is None else []
        lines += outline(self.screen, branches, self.now, depth=None if tree or step else 2, stream=sys.stdout)
        if io or step is not None:
            lines += self._io(branches if tree or step is None else [branches[0]], inputs=step is None)
        if step is None and self.outputs is not None:
            lines += ["", self._bold("outputs"), json_text(self.outputs, indent=2)]
        lines += self._tail() if step is None else []
        self.screen.data_text("\n".join(lines) + "\n")

    def print_records(self, step: str | None) -> None:
        from orchestrator.cli.render.records import record_line

        chosen = [each for each in self.journal if within(each.path, step)]
        lines = [f"{each.seq:>5} {record_line(self.screen, each, stream=sys.stdout)}" for each in chosen]
        self.screen.data_text("".join(f"{line}\n" for line in lines))

    def print_cost(self, branches: list[Branch], *, depth: int | None) -> None:
        rows = [
            [one_line(each.path, 60), count(each.tokens), money(each.cost)]
            for branch in branches
            for each in ([branch] if depth else branch.walk())
        ]
        rows.append(["total", count(self.state.tokens), money(self.spend)])
        if self.state.lost or self.state.lost_tokens:
            rows.append(["of it lost", count(self.state.lost_tokens), money(self.state.lost)])
        self.screen.data_text(table(["STEP", "TOKENS", "COST"], rows, right=frozenset({1, 2})))

    def _head(self) -> list[str]:
        row = self.row
        status = shown_status(row)
        mark, color = MARKS.get(status, ("?", "dim"))
        reason = f" ({one_line(row.reason, 80)})" if row.reason else ""
        took = elapsed((row.finished_at or self.now or row.updated_at) - row.created_at)
        shown = self.screen.style(f"{mark} {status}", color, stream=sys.stdout)
        facts = [local_time(row.created_at), took, f"{count(self.state.tokens)} tokens", money(self.spend)]
        return [f"{self._bold(one_line(row.name))}  {one_line(row.run_id)}", "  ".join([shown + reason, *facts]), ""]

    def _io(self, branches: list[Branch], *, inputs: bool) -> list[str]:
        lines: list[str] = []
        if inputs:
            lines += ["", self._bold("inputs"), json_text(self.state.started.get("inputs", {}), indent=2)]
        for each in branches:
            if each.step is None or each.step.output is None:
                continue
            lines += ["", self._bold(one_line(each.path))]
            output = each.step.output
            lines.append(plain(output) if isinstance(output, str) else json_text(output, indent=2))
        return lines

    def _tail(self) -> list[str]:
        from orchestrator.cli.render.end import describe_held, describe_unread, describe_wait, lacking, next_command

        lines: list[str] = []
        error = (self.state.finished or {}).get("error") or self.row.error
        if error:
            where = f" at {one_line(str(error['step']))}" if error.get("step") else ""
            text = f"{error.get('code', 'failed')}{where}: {plain(str(error.get('message', '')))}"
            lines += ["", self.screen.style(text, "red", stream=sys.stdout)]
        for path, step in self.state.steps.items():
            if step.waiting is not None and self.state.finished is None:
                waits = f"waits: {describe_wait({'step': path, **step.waiting})}"
                lines.append(self.screen.style(waits, "yellow", stream=sys.stdout))
        lines += [self.screen.style(line, "yellow", stream=sys.stdout) for line in describe_held(self.held)]
        lines += [self.screen.style(describe_unread(one), "yellow", stream=sys.stdout) for one in self.unread]
        limit = (self.state.paused or {}).get("limit") or (error or {}).get("detail")
        command = next_command(self.row.run_id, shown_status(self.row), self.row.reason, add=lacking(limit))
        return [*lines, "", f"next: {command}"] if command else lines

    def _bold(self, text: str) -> str:
        return self.screen.style(text, "bold", stream=sys.stdout)


COMMANDS = {"show": show}
