"""What the language has and nothing performs yet: each is a diagnostic at its place, and never ignored.

One table. Whoever makes the engine perform an entry takes its line out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.spec import document, steps, tools
from orchestrator.spec.diagnostics import Diagnostic
from orchestrator.spec.model import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.spec.load import Loaded
    from orchestrator.spec.model import Model

_FIELDS: Final[tuple[tuple[type[Model], str], ...]] = (
    (document.Document, "notify concurrency schedule pipelines"),
    (steps.StepBase, "undo resources"),
    (steps.AgentStep, "session"),
    (steps.LoopStep, "loop"),
    (steps.AskStep, "ask"),
    (steps.WaitStep, "wait"),
    (steps.PipelineStep, "pipeline"),
    (tools.SqlTool, "sql"),
    (tools.PipelineTool, "pipeline"),
    (tools.AskTool, "ask"),
)
"""Fields that nothing performs, of a model and of what derives from it."""


def performed(base: type[Model], kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Those ``kinds`` of steps, or of tools, that can be had. ``base`` is the model of all of them."""
    missing = {name for kind, names in _FIELDS if issubclass(kind, base) for name in names.split()}
    return tuple(kind for kind in kinds if kind not in missing)


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


_VALUES: Final[tuple[tuple[type[Model], str, Callable[[Any], bool]], ...]] = (
    (document.Document, "on_failure", _is("undo")),
    (steps.GroupStep, "join", _is("first")),
    (steps.MapStep, "join", _is("first")),
    (steps.JoinRule, "mode", _is("first")),
)
"""Values of fields that nothing performs."""


def not_available(models: Iterable[Model], loaded: Loaded) -> list[Diagnostic]:
    """One E190 for each thing in the file that nothing performs yet."""
    return [
        Diagnostic("E190", f"{what} is not available yet", loaded.key_mark((*model.at, name)))
        for model in models
        for name, what in _missing(model)
    ]


def _missing(model: Model) -> Iterator[tuple[str, str]]:
    given = {name: key_of(name) for name in model.given}
    for kind, names in _FIELDS:
        if isinstance(model, kind):
            yield from ((given[name], f"`{given[name]}`") for name in names.split() if name in given)
    for kind, name, refused in _VALUES:
        if isinstance(model, kind) and name in given and refused(getattr(model, name)):
            value = getattr(model, name)
            shown = f"`{name}: {value[:60]}`" if isinstance(value, str) else f"this `{name}`"
            yield given[name], shown
