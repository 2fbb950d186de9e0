"""Tools: the kinds of effects outside of models, each a performer of its own.

``PERFORMERS`` maps a kind to where its performer stands; nothing is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.tools.protocol import Performer

PERFORMERS: dict[str, str] = {
    "python": "orchestrator.tools.python:perform",
    "shell": "orchestrator.tools.shell:perform",
    "http": "orchestrator.tools.http:perform",
    "files": "orchestrator.tools.files:perform",
    "mcp": "orchestrator.tools.mcp:perform",
}


def load_performer(kind: str) -> Performer:
    """The performer of ``kind``. KeyError for a kind that has none."""
    module, _, name = PERFORMERS[kind].partition(":")
    performer: Performer = getattr(import_module(module), name)
    return performer
