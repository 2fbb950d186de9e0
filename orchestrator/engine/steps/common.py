"""What the kinds of steps share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from orchestrator.graph.nodes import GroupConfig

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act, BlockAct
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import Node
    from orchestrator.journal.state import StepState

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Skip(Exception):
    """A field of the step is absent: the step is skipped."""


class Wrong(Exception):
    """The step fails before it begins."""

    def __init__(self, code: str, message: str, *, detail: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


class Base:
    """A kind with nothing inside."""

    timed: ClassVar[bool] = False

    def descends(self, step: StepState | None) -> bool:
        del step
        return False

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """Nothing to set up."""

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        decider.look_later(act)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """Nothing to decide."""

    def child_ended(self, decider: Decider, act: Act, child: Act) -> None:
        del child
        decider.look_again(act)

    def live(self, act: Act) -> list[Act]:
        """What goes on directly inside it."""
        del act
        return []

    def child_waits(self, decider: Decider, act: Act, child: Act, *, waits: bool) -> None:
        """What an activation directly inside it does while it waits is its own."""

    def stop(self, decider: Decider, act: Act) -> None:
        """Nothing runs inside."""

    def busy(self, act: Act) -> bool:
        del act
        return False


def expanded_of(step: StepState | None) -> dict[str, Any]:
    """What was decided at run time of a step that has begun: it is recorded in the moment in which it begins."""
    return cast("dict[str, Any]", cast("StepState", step).expanded)


def micros(value: Any) -> int:
    """A duration, in microseconds or as text (``1h30m``). Raises Wrong."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value)))
    raise Wrong("invalid_input", f"a duration is text such as 1h30m, not {value!r}")


def join_of(block: BlockAct) -> Literal["all", "settled"]:
    """How the ends of a scope's steps make its own."""
    if block.owner is None:
        return "all"
    config = block.owner.node.config
    return config.join.mode if isinstance(config, GroupConfig) else "all"


def failure_of(block: BlockAct) -> Act | None:
    """The step whose failure fails the scope: the first by the journal's order."""
    if join_of(block) != "all":
        return None
    own = {node.name for node in block.block.nodes}
    failed = [act for name, act in block.acts.items() if name in own and fails_scope(act)]
    return min(failed, key=lambda act: act.recorded.ended_seq if act.recorded else 0, default=None)


def handled_by(act: Act) -> str | None:
    """How a step's failure is dealt with by the step itself. Where its scope is being stopped, no fallback begins."""
    if act.node.on_error == "fail" or (act.node.on_error == "step" and act.stop is not None and not act.stop):
        return None
    return act.node.on_error


def fails_scope(act: Act) -> bool:
    """True where the end of a step fails the scope around it."""
    step = act.recorded
    return step is not None and step.status == "failed" and step.handled != "continue"


def kind_of(node: Node) -> str:
    """The key of a node's kind in ``KINDS``."""
    return node.kind
