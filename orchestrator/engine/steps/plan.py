"""``plan``: steps that an agent wrote. An accepted plan is recorded, and is a group of steps from then on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from orchestrator.engine.activation import Act, Intent
from orchestrator.engine.steps.effect import Effects
from orchestrator.engine.steps.group import Group
from orchestrator.engine.steps.reach import steps_left
from orchestrator.graph.nodes import CallConfig, node_from_json
from orchestrator.jsonish import hash_of

if TYPE_CHECKING:
    from orchestrator.engine.decide import Decider
    from orchestrator.expr.values import Const
    from orchestrator.journal.state import StepState

_GROUP = Group()


class Plan(Effects):
    """Compiling is an effect that only reads. What it gives is the run's to keep: a resume compiles nothing."""

    def descends(self, step: StepState | None) -> bool:
        return step is not None and step.expanded is not None

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if step is not None and step.expanded is not None:
            _become(decider, act, step.expanded)

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if step is not None and step.expanded is not None:
            if act.kind == "plan":
                _become(decider, act, step.expanded)
            _GROUP.progress(decider, act, step)
        else:
            decider.look_later(act)

    def intent(self, decider: Decider, act: Act) -> Intent:
        args = cast("Const", cast("CallConfig", act.node.config).args).value
        steps_left(decider, act)
        return Intent(
            act=act, kind="plan", attempt=1, logical=1, hash=hash_of(args), effect="read", request=args, tool="plan"
        )


def _become(decider: Decider, act: Act, expanded: dict[str, object]) -> None:
    """From here on the call is a group."""
    node = node_from_json(cast("dict[str, object]", expanded["graph"]))
    act.node = replace(node, id=act.node.id, budget=act.node.budget)
    act.kind = "steps"
    _GROUP.begin(decider, act, None)
