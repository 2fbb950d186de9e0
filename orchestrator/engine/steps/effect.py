"""What all kinds of steps with an effect share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from orchestrator.engine.steps.common import Base
from orchestrator.ids import idempotency_key

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act, Intent
    from orchestrator.engine.decide import Decider
    from orchestrator.journal.state import StepState


class Effects(Base, ABC):
    """Attempts, and what to do where one is in doubt."""

    @abstractmethod
    def intent(self, decider: Decider, act: Act) -> Intent:
        """The effect, evaluated. May raise Skip, Wrong or EvalError."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if step is None or step.status == "new":
            self.permit(decider, act, step)
        elif step.open:
            return
        elif step.retry_at is not None:
            self.permit(decider, act, step, not_before=step.retry_at)
        else:
            self.doubt(decider, act, step)

    def permit(self, decider: Decider, act: Act, step: StepState | None, *, not_before: int = 0) -> None:
        intent = self.intent(decider, act)
        intent.not_before = not_before
        if step is not None:
            intent.attempt = step.attempt + 1
            intent.logical = step.logical
        if intent.effect != "read":
            intent.key = idempotency_key(decider.run.run_id, act.path, intent.logical)
        decider.permit(intent)

    def doubt(self, decider: Decider, act: Act, step: StepState) -> None:
        """The last attempt's end is not known. Reads and keyed calls are sent again; nothing else ever is, unasked."""
        self.permit(decider, act, step)

    def stop(self, decider: Decider, act: Act) -> None:
        decider.permitted.pop(act.path, None)
