"""Hooks before a call, each an effect of its own, so that what they change is recorded before the call begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.engine.activation import Intent
from orchestrator.engine.hooks import hooks_at
from orchestrator.engine.steps.common import Wrong
from orchestrator.engine.steps.effect import Effects
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import CallConfig, Node, ToolDef
from orchestrator.jsonish import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.engine.hooks import Point
    from orchestrator.graph.nodes import HooksDef


class Hook(Effects):
    """A call of one hook. A hook may be called again after a crash: what it does besides must bear that."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        del decider
        config = cast("CallConfig", act.node.config)
        request: dict[str, Any] = {
            "ref": cast("Const", config.tool.config["ref"]).value,
            "search": cast("Const", config.tool.config["search"]).value,
            "args": {"event": cast("Const", config.args).value},
            "point": cast("Const", config.tool.config["point"]).value,
        }
        # Where the function stands is no part of what it is asked.
        asked = {"ref": request["ref"], "args": request["args"]}
        return Intent(
            act=act,
            kind="tool",
            attempt=1,
            logical=1,
            hash=hash_of(asked),
            effect="read",
            request=request,
            tool=config.tool.name,
        )


def next_hook(
    decider: Decider, act: Act, path: str, point: Point, event: Callable[[], dict[str, Any]]
) -> tuple[Node, str] | None:
    """The node and the path of the next hook to call before the call at ``path``; None where all have been.

    Raises Wrong where one has failed.
    """
    for index, (hooks, ref) in enumerate(hooks_at(decider, act, point)):
        place = hook_path(path, point, index)
        step = decider.state.steps.get(place)
        if step is None or not step.ended:
            return _node(act, point, hooks, ref, event()), place
        if step.status != "done":
            error = step.error or {"message": "it was cancelled"}
            raise Wrong("hook_error", f"the hook {ref} failed: {error['message']}")
    return None


def changed(decider: Decider, act: Act, path: str, point: Point) -> dict[str, Any]:
    """What the hooks that were called before the call at ``path`` changed, by dotted name."""
    found: dict[str, Any] = {}
    for index in range(len(hooks_at(decider, act, point))):
        step = decider.state.steps.get(hook_path(path, point, index))
        if step is not None and step.status == "done":
            found |= step.output
    return found


def hook_path(path: str, point: Point, index: int) -> str:
    """The path of a hook of the call at ``path``."""
    return f"{path}/@{point}" if index == 0 else f"{path}/@{point}{index + 1}"


def _node(act: Act, point: Point, hooks: HooksDef, ref: str, event: dict[str, Any]) -> Node:
    config = {"ref": Const(ref), "search": Const(list(hooks.search)), "point": Const(point)}
    tool = ToolDef(name=ref, kind="python", effect="read", config=config)
    config_of = CallConfig(tool=tool, args=Const(event))
    return Node(name="", id=f"{act.node.id}/@{point}", kind="hook", config=config_of, dir=act.node.dir)
