"""``orch answer``: say what a run asks a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import RunReference, Session, begin, run_async
from orchestrator.cli.verbs import refuse

if TYPE_CHECKING:
    from orchestrator.app.answering import Question

WORDS = {"approve": "approved", "deny": "denied"}


def answer(
    context: typer.Context,
    run: RunReference,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="The step that asks; needed where several do.")
    ] = None,
    choice: Annotated[str | None, typer.Option("--choice", metavar="approve|deny", help="What you choose.")] = None,
    comment: Annotated[
        str | None, typer.Option("--comment", metavar="TEXT", help="Why; whoever asked reads it.")
    ] = None,
    value: Annotated[str | None, typer.Option("--value", hidden=True)] = None,
) -> int:
    """Answer a question of a run: approve a call, or deny it."""
    session = begin(context)
    refuse(value=value)
    if choice is None:
        raise BadFlag("--choice", None, problem="say `--choice approve`, or `--choice deny`")
    if choice not in WORDS:
        raise BadFlag("--choice", choice, problem="expected approve or deny")
    run_id, question, driven = run_async(lambda: _answer(session, run, step, choice, comment))
    if session.flags.machine:
        session.screen.data({"format": "orch.status/1", "run": run_id, "step": question.path, "status": WORDS[choice]})
    else:
        session.screen.data_text(f"{run_id} {question.path} {WORDS[choice]}\n")
    if not driven:
        session.screen.say(f"next: orch resume {run_id}")
    return 0


async def _answer(
    session: Session, reference: str, step: str | None, choice: str, comment: str | None
) -> tuple[str, Question, bool]:
    from orchestrator.app.answering import answer as send_answer
    from orchestrator.app.answering import chosen, questions
    from orchestrator.app.history import load_graph
    from orchestrator.app.runs import found_run
    from orchestrator.clock import SystemClock
    from orchestrator.journal.state import fold

    async with found_run(reference, session.config()) as found:
        run_id = found.row.run_id
        state = fold(await found.store.load(run_id))
        graph = await load_graph(found.store, found.row)
        question = chosen(questions(graph, state, run_id=run_id), step, run_id=run_id, ended=found.row.ended)
        now = SystemClock().now()
        await send_answer(found.store, run_id, question, choice=choice, comment=comment, now=now)
        return run_id, question, found.row.status == "running" and not found.row.stalled


COMMANDS = {"answer": answer}
