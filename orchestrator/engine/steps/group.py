"""``steps``: a group, with a scope of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator.engine.activation import BlockAct, Phase
from orchestrator.engine.steps.common import Base, failure_of
from orchestrator.expr import ABSENT
from orchestrator.expr.values import MapOf

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import GroupConfig
    from orchestrator.journal.state import StepState


class Group(Base):
    """Ends when its steps, and then its ``finally``, have ended."""

    timed: ClassVar[bool] = True

    def descends(self, step: StepState | None) -> bool:
        del step
        return True

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        act.data = decider.enter(act, cast("GroupConfig", act.node.config).block)

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        if _over(act):
            decider.look_later(act)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        if not _over(act):
            return
        block = cast("BlockAct", act.data)
        config = cast("GroupConfig", act.node.config)
        failure = failure_of(block)
        if failure is not None:
            decider.fail_like(act, failure)
            return
        if config.join.min_success is not None:
            least = decider.limit(act, config.join.min_success, "min_success")
            good = sum(item["status"] == "done" for item in act.items())
            if good < least:
                decider.fail(act, "too_few", f"{good} steps ended well, at least {least} must")
                return
        decider.finish(act, _outputs(decider, act, block, config))

    def stop(self, decider: Decider, act: Act) -> None:
        if isinstance(act.data, BlockAct):
            decider.stop_block(act.data)

    def live(self, act: Act) -> list[Act]:
        if not isinstance(act.data, BlockAct):
            return []
        return [each for each in act.data.acts.values() if each.phase in (Phase.QUEUED, Phase.OPEN)]

    def busy(self, act: Act) -> bool:
        return isinstance(act.data, BlockAct) and act.data.stage != "over"


def _over(act: Act) -> bool:
    return isinstance(act.data, BlockAct) and act.data.stage == "over"


def _outputs(decider: Decider, act: Act, block: BlockAct, config: GroupConfig) -> Any:
    """The group's outputs, an absent one as null; without any, those of its steps that have one."""
    if config.outputs is None:
        return {item["key"]: item["output"] for item in act.items()}
    if isinstance(config.outputs, MapOf):
        found = {
            name: decider.render_or_absent(act, value, f"outputs.{name}", env=block.scope.env)
            for name, value in config.outputs.fields.items()
        }
        return {name: None if value is ABSENT else value for name, value in found.items()}
    return decider.render(act, config.outputs, "outputs", env=block.scope.env)
