"""``set`` and ``fail``: computed values, and a failure on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orchestrator.engine.steps.common import Base

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import FailConfig, SetConfig
    from orchestrator.journal.state import StepState


class Set(Base):
    """Records values; a computed value is never computed again."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        config = cast("SetConfig", act.node.config)
        decider.finish(act, decider.render(act, config.values, "set"))


class Fail(Base):
    """Fails its scope."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        config = cast("FailConfig", act.node.config)
        message = str(decider.render(act, config.message, "message"))
        code = "failed" if config.code is None else str(decider.render(act, config.code, "code"))
        status = None if config.status is None else decider.render(act, config.status, "status")
        detail = None if config.detail is None else decider.render(act, config.detail, "detail")
        decider.fail(act, code, message, status=status, detail=detail)
