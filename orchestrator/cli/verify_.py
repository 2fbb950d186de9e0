"""``orch verify``: whether a journal is whole, and was decided by the rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Session, begin, run_async
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.records import Record


def verify(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="RUN|FILE|DIR", help="A run, an export of one, or a folder of exports.")
    ],
) -> int:
    """Prove that journals are whole and were decided by the rules. Exit 7: one is not."""
    session = begin(context)
    found = _found(session, what)
    sound = all(not one["problems"] for one in found)
    if session.flags.machine:
        session.screen.data({"format": "orch.verify/1", "ok": sound, "runs": found})
    for one in found:
        _say(session, one)
    return int(Exit.DONE if sound else Exit.MISMATCH)


def _found(session: Session, what: str) -> list[dict[str, Any]]:
    path = Path(what)
    if path.is_dir():
        return [_one_of_many(each) for each in sorted(path.glob("*.jsonl"))] or [_nothing(what)]
    if path.is_file():
        return [_file(path)]
    return [run_async(lambda: _run(session, what))]


def _nothing(what: str) -> dict[str, Any]:
    from orchestrator.app.pipeline import NoSuchFile

    raise NoSuchFile(what, problem="there is no export (*.jsonl) in", hint="`orch export RUN > FILE.jsonl` makes one")


def _one_of_many(path: Path) -> dict[str, Any]:
    """A file that is no export hides nothing of the others."""
    from orchestrator.app.exports import NotAnExport

    try:
        return _file(path)
    except NotAnExport as error:
        return _result(None, str(path), 0, [error])


def _file(path: Path) -> dict[str, Any]:
    from orchestrator.app.exports import read_export
    from orchestrator.journal.errors import Damaged

    try:
        exported = read_export(path)
    except Damaged as error:
        return _result(error.run_id, str(path), 0, [error])
    return _judge(exported.run_id, str(path), exported.graph, exported.records)


async def _run(session: Session, reference: str) -> dict[str, Any]:
    from orchestrator.app.history import load_graph
    from orchestrator.app.runs import found_run

    async with found_run(reference, session.config()) as found:
        row = found.row
        try:
            records = await found.store.load(row.run_id)
            graph = await load_graph(found.store, row)
        except OrchError as error:
            if error.exit is not Exit.MISMATCH:
                raise
            return _result(row.run_id, found.store.name, 0, [error])
        return _judge(row.run_id, found.store.name, graph, records)


def _judge(run_id: str, source: str, graph: Graph | None, records: list[Record]) -> dict[str, Any]:
    """A redacted export has no graph: its chain is all that can be looked at."""
    from orchestrator.engine.verify import verify as first_divergence

    found = None if graph is None else first_divergence(graph, records, run_id=run_id)
    problems = [] if found is None else [str(found)]
    return {
        "run": run_id,
        "source": source,
        "records": len(records),
        "problems": problems,
        "decided": graph is not None,
    }


def _result(run_id: str | None, source: str, records: int, errors: list[OrchError]) -> dict[str, Any]:
    problems = [error.message for error in errors]
    return {"run": run_id, "source": source, "records": records, "problems": problems, "decided": False}


def _say(session: Session, one: dict[str, Any]) -> None:
    if not one["problems"]:
        how = "sound" if one["decided"] else "readable; a redacted export holds too little for more"
        session.screen.say(f"{one['run']}: {one['records']} records, {how}")
        return
    for problem in one["problems"][:1]:
        if one["run"] is None:
            session.screen.problem("error", "E706", problem)
        else:
            session.screen.problem("error", "E705", f"{one['run']}: {problem}")


COMMANDS = {"verify": verify}
