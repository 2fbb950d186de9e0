"""The kinds of steps, one file each, and the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from orchestrator.engine.steps import (
    agent,
    call,
    control,
    group,
    hook,
    keeping,
    listing,
    made,
    map_,
    memory,
    plan,
    reach,
    switch,
)
from orchestrator.engine.steps.common import failure_of, join_of, kind_of, micros

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.journal.state import StepState

__all__ = ["KINDS", "StepKind", "failure_of", "join_of", "kind_of", "micros"]


class StepKind(Protocol):
    """How one kind of step goes on. None of these has an effect of its own.

    ``timed``: its timeout is a timer of the run (that of a call bounds the attempt, and is the driver's).
    """

    timed: ClassVar[bool]

    def descends(self, step: StepState | None) -> bool:
        """Whether to begin at once, because that alone decides nothing."""
        ...

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """Set up what it keeps while it is open. May raise Skip, Wrong or EvalError."""
        ...

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """A record or a child's end touched it: take that up, or ask to decide (``look_later``)."""
        ...

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """Decide: emit records, permit intents, begin children."""
        ...

    def child_ended(self, decider: Decider, act: Act, child: Act) -> None:
        """An activation inside it has ended."""
        ...

    def live(self, act: Act) -> list[Act]:
        """The activations directly inside it that have begun; some may have ended."""
        ...

    def child_waits(self, decider: Decider, act: Act, child: Act, *, waits: bool) -> None:
        """All that goes on in an activation directly inside it waits for a person, or does not. May be said again."""
        ...

    def stop(self, decider: Decider, act: Act) -> None:
        """Stop what runs inside."""
        ...

    def busy(self, act: Act) -> bool:
        """Whether something inside still runs."""
        ...


KINDS: dict[str, StepKind] = {
    "tool": call.Call(),
    "run": call.Call(),
    "python": call.Call(),
    "bad_call": call.BadCall(),
    "hook": hook.Hook(),
    "read_result": call.ReadResult(),
    "list_tools": listing.Listing(),
    "note": keeping.Note(),
    "todo": keeping.Todo(),
    "board_get": keeping.BoardGet(),
    "board_set": keeping.BoardSet(),
    "skill": keeping.Skill(),
    "remember": memory.Remember(),
    "recall": memory.Recall(),
    "agent": agent.Agent(),
    "delegate": made.Counted(),
    "spawn": made.Spawned(),
    "handoff": reach.Handoff(),
    "plan": plan.Plan(),
    "turn": agent.Turn(),
    "summary": agent.Turn(),
    "steps": group.Group(),
    "map": map_.Map(),
    "switch": switch.Switch(),
    "set": control.Set(),
    "fail": control.Fail(),
}
