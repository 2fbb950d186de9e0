"""``orch send``: a message to a running agent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from orchestrator import jsonish
from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import RunReference, Session, begin, run_async
from orchestrator.errors import Exit, OrchError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.journal.state import RunState

_TURN = re.compile(r"(.*)/turn\d+", re.DOTALL)
_CALL = re.compile(r"/turn\d+/tool\d+")


class NoSuchAgent(OrchError):
    """No agent of the run would read a message."""

    code: ClassVar[str] = "E315"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, run_id: str, *, path: str | None, open_: Sequence[str]) -> None:
        listed = ", ".join(f"`{one}`" for one in open_[:10])
        close = did_you_mean(path, list(open_)) if path is not None else None
        hint = f"did you mean `{close}`?" if close else f"say which with --step: {listed}" if open_ else None
        if path is not None:
            super().__init__(f"no agent at `{path}` is at work in run {run_id}", hint=hint)
        elif open_:
            super().__init__(f"{len(open_)} agents are at work in run {run_id}", hint=hint)
        else:
            super().__init__(
                f"no agent is at work in run {run_id}", hint="a message is read by an agent that has begun"
            )


def send(
    context: typer.Context,
    run: RunReference,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What to say to the agent.")],
    step: Annotated[
        str | None, typer.Option("--step", metavar="PATH", help="Which agent, where several are at work.")
    ] = None,
) -> int:
    """Say something to a running agent: it reads it at its next turn."""
    session = begin(context)
    if not message.strip():
        raise BadFlag("MESSAGE", message, problem="there is nothing in it")
    run_id, path = run_async(lambda: _send(session, run, jsonish.clean_text(message), step))
    if session.flags.machine:
        session.screen.data({"format": "orch.status/1", "run": run_id, "step": path, "status": "sent"})
    else:
        session.screen.data_text(f"{run_id} {path} sent\n")
    return 0


async def _send(session: Session, reference: str, message: str, step: str | None) -> tuple[str, str]:
    from orchestrator.app.runs import found_run
    from orchestrator.app.sending import send as send_row
    from orchestrator.ids import new_nonce
    from orchestrator.journal.state import fold

    async with found_run(reference, session.config()) as found:
        run_id = found.row.run_id
        state = fold(await found.store.load(run_id))
        at_work = [] if found.row.ended else agents_at_work(state)
        path = step if step is not None else _outermost(at_work)
        if path is None or path not in at_work:
            raise NoSuchAgent(run_id, path=step, open_=at_work)
        # Two messages of the same words are two messages.
        request = f"message:{new_nonce()}"
        await send_row(found.store, run_id, kind="message", request_id=request, path=path, body={"text": message})
        return run_id, path


def agents_at_work(state: RunState) -> list[str]:
    """The paths of agents that have begun a turn, and have not ended."""
    owners: dict[str, None] = {}
    for path, step in state.steps.items():
        found = _TURN.fullmatch(path)
        # A step may be called turn2, too: only a model call is a read that no tool does.
        if found is not None and step.effect == "read" and step.tool is None:
            owners.setdefault(found[1])
    return [path for path in owners if (step := state.steps.get(path)) is None or not step.ended]


def _outermost(paths: Sequence[str]) -> str | None:
    """The only agent that no other one of them called; None where there are several, or none."""
    own = set(paths)
    outer = [path for path in paths if not any(path[: found.start()] in own for found in _CALL.finditer(path))]
    return outer[0] if len(outer) == 1 else None


COMMANDS = {"send": send}
