"""Questions of a run, and what people answer: the first answer to a question counts, whoever gives it and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import Exit, OrchError, did_you_mean
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.state import RunState
    from orchestrator.journal.store import InboxRow, Store


class NoQuestion(OrchError):
    """Nothing is asked there, or several things are."""

    code: ClassVar[str] = "E308"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, run_id: str, step: str | None, *, known: Sequence[str], ended: bool = False) -> None:
        if not known:
            why = "it has ended" if ended else f"`orch show {run_id}` says what it waits for"
            super().__init__(f"run {run_id} asks nothing", hint=why)
            return
        listed = ", ".join(known[:8])
        if step is None:
            super().__init__(f"run {run_id} asks {len(known)} questions", hint=f"name the step: {listed}")
            return
        close = did_you_mean(step, list(known))
        super().__init__(
            f"nothing is asked at step {step[:200]!r}", hint=f"did you mean `{close}`?" if close else f"asked: {listed}"
        )


class AlreadyAnswered(OrchError):
    """Somebody was first."""

    code: ClassVar[str] = "E309"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, path: str, *, by: str, choice: str) -> None:
        super().__init__(f"step {path!r} is answered already: {by or 'somebody'} chose {choice!r}")


class TooLate(OrchError):
    """The time to answer is over."""

    code: ClassVar[str] = "E310"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, path: str, *, run_id: str, at: str) -> None:
        super().__init__(
            f"the time to answer step {path!r} was over at {at}",
            hint=f"`orch resume {run_id}` goes on without an answer",
        )


@frozen
class Question:
    """What is asked at a step. ``seq`` is that of its record, ``until`` in microseconds, None: no bound."""

    path: str
    seq: int
    body: dict[str, Any]
    until: int | None = None

    @property
    def request_id(self) -> str:
        """Under which all answers to it are sent: a store keeps the first one."""
        from orchestrator.ids import request_id

        return request_id("answer", self.path, self.seq)


def questions(graph: Graph, state: RunState, *, run_id: str) -> list[Question]:
    """What a run asks. ``state`` is decided on, and no longer that of the journal afterwards."""
    from orchestrator.engine.decide import Decider, RunInfo

    asked = [step for step in state.steps.values() if step.asked is not None and step.waiting is not None]
    if not asked or state.finished is not None:
        return []
    # Only the decider knows when it ends.
    decider = Decider(graph, state, RunInfo(run_id))
    decider.decide()
    return [
        Question(step.path, step.asked_seq, step.waiting, _until(step.path, decider.timers))
        for step in asked
        if step.waiting is not None
    ]


def _until(path: str, timers: dict[str, int]) -> int | None:
    around = [at for timer, at in timers.items() if path == timer or path.startswith((f"{timer}/", f"{timer}["))]
    return min(around, default=None)


def chosen(found: Sequence[Question], step: str | None, *, run_id: str, ended: bool) -> Question:
    """The question at ``step`` or below it; the only one where no step is named. Raises NoQuestion."""
    meant = [one for one in found if step is None or one.path == step]
    if step is not None and not meant:
        meant = [one for one in found if one.path.startswith((f"{step}/", f"{step}["))]
    if len(meant) != 1:
        # Of several below a step, its name says too little.
        said = None if len(meant) > 1 else step
        raise NoQuestion(run_id, said, known=[one.path for one in meant or found], ended=ended)
    return meant[0]


async def answer(
    store: Store, run_id: str, question: Question, *, choice: str, comment: str | None, now: int
) -> InboxRow:
    """Send an answer. Raises TooLate, AlreadyAnswered, RunEnded."""
    from orchestrator.app.sending import send
    from orchestrator.clock import rfc3339

    if question.until is not None and question.until <= now:
        raise TooLate(question.path, run_id=run_id, at=rfc3339(question.until))
    body = {"choice": choice, "request": question.body["request"]} | ({"comment": comment} if comment else {})
    kept = await send(store, run_id, kind="answer", request_id=question.request_id, path=question.path, body=body)
    if kept.body != body:
        raise AlreadyAnswered(question.path, by=kept.by, choice=str(kept.body.get("choice")))
    return kept
