"""``orch resolve``: settle a step whose effect is in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from orchestrator import jsonish
from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import RunReference, Session, begin, run_async
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from orchestrator.journal.state import StepState


class NotInDoubt(OrchError):
    """There is nothing to settle at this step."""

    code: ClassVar[str] = "E306"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, path: str, *, why: str) -> None:
        super().__init__(f"step {path!r} is not in doubt: {why}")


def resolve(
    context: typer.Context,
    run: RunReference,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The path of the step.")],
    result: Annotated[
        str | None, typer.Option("--result", metavar="JSON", help="It happened, and this is what it gave.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="It did not happen, or may happen twice: do it again.")
    ] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Let the step fail.")] = False,
) -> int:
    """Settle a step whose effect is in doubt: it happened, it shall be tried again, or it failed."""
    session = begin(context)
    said = _said(result, retry=retry, fail=fail)
    run_id = run_async(lambda: _resolve(session, run, step, said))
    if session.flags.machine:
        session.screen.data({"format": "orch.status/1", "run": run_id, "step": step, "status": "resolved"})
    else:
        session.screen.data_text(f"{run_id} {step} resolved\n")
    session.screen.say(f"next: orch resume {run_id}")
    return 0


def _said(result: str | None, *, retry: bool, fail: bool) -> dict[str, Any]:
    if (result is not None) + retry + fail != 1:
        raise BadFlag("resolve", "", problem="give exactly one of --result JSON, --retry and --fail")
    if result is None:
        return {"retry": True} if retry else {"fail": True}
    try:
        return {"result": jsonish.clean(jsonish.loads(result))}
    except (ValueError, TypeError) as error:
        raise BadFlag("--result", result, problem=f"this is not JSON: {error}") from None


async def _resolve(session: Session, reference: str, path: str, said: dict[str, Any]) -> str:
    from orchestrator.app.history import NoSuchStep, load_graph
    from orchestrator.app.runs import found_run
    from orchestrator.app.sending import send
    from orchestrator.app.settling import fitting
    from orchestrator.ids import request_id
    from orchestrator.journal.state import fold

    async with found_run(reference, session.config()) as found:
        run_id = found.row.run_id
        state = fold(await found.store.load(run_id))
        step = state.steps.get(path)
        if step is None:
            raise NoSuchStep(path, run_id=run_id, known=list(state.steps))
        _check(step, ended=found.row.ended)
        request = request_id("resolve", path, step.attempt)
        if "result" in said:
            graph = await load_graph(found.store, found.row)
            said = {"result": fitting(graph, state, run_id=run_id, path=path, result=said["result"])}
        kept = await send(found.store, run_id, kind="resolve", request_id=request, path=path, body=said)
        if kept.body != said:
            raise NotInDoubt(path, why=f"{kept.by} has settled it already")
        return run_id


def _check(step: StepState, *, ended: bool) -> None:
    if ended:
        raise NotInDoubt(step.path, why="the run has ended")
    if step.asked is not None:
        raise NotInDoubt(step.path, why="it waits for an approval; `orch answer` gives one")
    if step.status != "waiting" or step.resolved is not None:
        # A driver that died leaves the attempt open: the doubt is found when the run is taken up again.
        hint = "; `orch resume` finds out whether it is" if step.open else ""
        raise NotInDoubt(step.path, why=f"it is {step.status}{hint}")


COMMANDS = {"resolve": resolve}
