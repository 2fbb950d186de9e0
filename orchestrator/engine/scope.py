"""What an expression can see: lazy views over the activations and the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.expr import ABSENT, secret_marker

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act, BlockAct
    from orchestrator.journal.state import RunState, StepState


class Scope:
    """Names in scope. ``env`` is the whole environment of expressions here: outer names, then ours."""

    __slots__ = ("block", "env", "outer")

    def __init__(self, outer: Scope | None, names: dict[str, Any], *, block: BlockAct | None = None) -> None:
        self.outer = outer
        self.block = block
        self.env: dict[str, Any] = {**outer.env, **names} if outer else names
        if block is not None:
            self.env["steps"] = StepsView(self)

    def find(self, name: str) -> Act | None:
        """The activation of a step by name, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if scope.block is not None and name in scope.block.acts:
                return scope.block.acts[name]
            scope = scope.outer
        return None


class StepsView:
    """``steps``."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get_field(self, name: str) -> Any:
        act = self._scope.find(name)
        return ABSENT if act is None else StepView(act)


class StepView:
    """``steps.NAME``: of a step that has ended, or that nothing will start any more."""

    __slots__ = ("_act",)

    def __init__(self, act: Act) -> None:
        self._act = act

    def get_field(self, name: str) -> Any:
        step = self._act.recorded
        match name:
            case "output":
                return step.output if step is not None and step.status == "done" else ABSENT
            case "status":
                return status_of(step)
            case "error":
                return public_error(step)
            case "files":
                return (step.files or {}) if step is not None and step.status == "done" else ABSENT
            case "items":
                return self._act.items()
            case "ok":
                return sum(item["status"] == "done" for item in self._act.items())
            case _:
                return sum(item["status"] == "failed" for item in self._act.items())


class SecretsView:
    """``secrets``: references, never values; null for an optional one that was not set when the run started."""

    __slots__ = ("_names",)

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def get_field(self, name: str) -> Any:
        return secret_marker(name) if name in self._names else None


def status_of(step: StepState | None) -> str:
    """The status of an end; a step that never had one was cancelled with its scope."""
    return step.status if step is not None and step.ended else "cancelled"


def public_error(step: StepState | None) -> dict[str, Any] | None:
    """``.error`` of a step: null unless it failed."""
    if step is None or step.status != "failed" or step.error is None:
        return None
    return error_of(step.error)


def error_of(error: dict[str, Any]) -> dict[str, Any]:
    """An error with all of its fields."""
    return {key: error.get(key) for key in ("code", "message", "status", "detail", "step")}


def item_of(state: RunState, path: str, key: Any) -> dict[str, Any]:
    """An entry of ``.items``."""
    step = state.steps.get(path)
    done = step is not None and step.status == "done"
    return {
        "key": key,
        "status": status_of(step),
        "output": step.output if done and step else None,
        "error": public_error(step),
    }
