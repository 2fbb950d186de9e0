"""Declarative, durable agent pipelines: YAML in, journaled and resumable runs out."""

from __future__ import annotations

# Of its own, and not typing's: an interrupt that comes while something is imported here is met by nobody.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchestrator.tools.context import ToolContext, ToolError

__all__ = ["ToolContext", "ToolError"]


def __getattr__(name: str) -> Any:
    """What tools may import from here, loaded when it is asked for: start-up is imports."""
    if name in __all__:
        from orchestrator.tools import context

        return getattr(context, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
