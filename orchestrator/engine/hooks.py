"""What a hook may change of an event: pure. A hook sees calls and answers; what it may do to them is little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from orchestrator.agents.messages import block_problem

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import HooksDef

Point: TypeAlias = Literal["before_model", "after_model", "before_tool", "after_tool"]


class BadHook(Exception):
    """A hook gave back what is no event, or changed what is not its to change. ``problem`` says what."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


_CHANGEABLE: Final[dict[str, tuple[str, ...]]] = {
    "before_model": ("request.system", "request.messages"),
    "after_model": ("response.content",),
    "before_tool": ("args", "result"),
    "after_tool": ("result",),
}
_SHAPES: Final[dict[str, type]] = {
    "request.system": str,
    "request.messages": list,
    "response.content": list,
    "args": dict,
}


def hooks_at(decider: Decider, act: Act, point: Point) -> list[tuple[HooksDef, str]]:
    """The functions that see what an activation does at a point: the agent's own, then the file's.

    ``act`` is an agent for what its model does, a call for what a tool does.
    """
    given: tuple[HooksDef | None, ...] = ()
    if point in ("before_model", "after_model"):
        given = act.data.hooks
    elif act.role == "tool":
        given = cast("Act", act.owner).data.hooks
    elif decider.graph.hooks is not None and act.kind == "tool" and act.role not in ("reconcile", "hook"):
        given = (decider.graph.hooks,)
    if not given:
        return []
    return [(hooks, ref) for hooks in given if hooks is not None and (ref := getattr(hooks, point)) is not None]


def changes(point: Point, event: dict[str, Any], said: Any) -> dict[str, Any]:
    """What a hook that was given ``event`` changed of it, by dotted name: nothing, where it returned nothing.

    Raises BadHook.
    """
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise BadHook(f"a hook gives back its event, or nothing, and not {type(said).__name__}")
    before, after = _flat(event), _flat(cast("dict[str, Any]", said))
    found = {name: value for name, value in after.items() if name not in before or before[name] != value}
    for name, value in found.items():
        if name not in _CHANGEABLE[point]:
            raise BadHook(f"a hook at {point} cannot change `{name}`; it may change {', '.join(_CHANGEABLE[point])}")
        shape = _SHAPES.get(name)
        if shape is not None and not isinstance(value, shape):
            raise BadHook(
                f"`{name}` must stay {'an object' if shape is dict else 'a list' if shape is list else 'text'}"
            )
    for name in ("request.messages", "response.content"):
        if name in found:
            _check_blocks(name, found[name])
    return found


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in event.items():
        if name in ("request", "response") and isinstance(value, dict):
            out |= {f"{name}.{key}": item for key, item in cast("dict[str, Any]", value).items()}
        else:
            out[name] = value
    return out


def _check_blocks(name: str, value: list[Any]) -> None:
    """Raise BadHook where a list holds no blocks, or no messages of them."""
    for item in value:
        blocks: list[Any] = [item]
        if name == "request.messages":
            found: dict[str, Any] = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
            if found.get("role") not in ("user", "assistant") or not isinstance(found.get("content"), list):
                raise BadHook(f"`{name}` holds what is no message")
            blocks = found["content"]
        for problem in filter(None, map(block_problem, blocks)):
            raise BadHook(f"`{name}` holds {problem}")
