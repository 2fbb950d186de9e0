"""``switch``: one of several steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from orchestrator.agents.conversation import as_text
from orchestrator.engine.activation import Phase
from orchestrator.engine.steps.common import Base, Skip, Wrong, expanded_of
from orchestrator.expr import ABSENT

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import Node, SwitchConfig
    from orchestrator.journal.state import StepState


class Switch(Base):
    """Decides on a case, which is recorded; then its end is that of the case."""

    timed: ClassVar[bool] = True

    def descends(self, step: StepState | None) -> bool:
        return step is not None and step.expanded is not None

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if act.data is None:
            config = cast("SwitchConfig", act.node.config)
            case = expanded_of(step)["case"]
            node = config.otherwise if case is None else config.cases[case]
            act.data = decider.child(act, cast("Node", node), f"{act.path}/@case", role="case", ready_at=act.ready_at)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if step is not None and step.expanded is not None:
            if not self.busy(act):
                _finish(decider, act)
            return
        config = cast("SwitchConfig", act.node.config)
        found = decider.evaluate(act, config.on, "switch")
        if found is ABSENT:
            raise Skip
        key = as_text(found)
        if key not in config.cases and config.otherwise is None:
            raise Wrong("no_case", f"no case for {key!r}, and no default")
        decider.emit("expanded", act, {"case": key if key in config.cases else None})

    def child_ended(self, decider: Decider, act: Act, child: Act) -> None:
        del child
        if act.stop is None:
            decider.look_later(act)

    def stop(self, decider: Decider, act: Act) -> None:
        if act.data is not None:
            decider.stop(act.data, {})

    def live(self, act: Act) -> list[Act]:
        return [] if act.data is None else [act.data]

    def busy(self, act: Act) -> bool:
        return act.data is not None and act.data.phase is not Phase.ENDED


def _finish(decider: Decider, act: Act) -> None:
    child = cast("Act", act.data)
    step = child.recorded
    if step is not None and step.status == "done":
        decider.finish(act, step.output)
    elif step is not None and step.status == "failed":
        decider.fail_like(act, child)
    else:
        decider.emit("skipped", act, {"reason": "case"})
