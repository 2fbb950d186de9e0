"""The tool of ``long_conversation.yaml``."""

from __future__ import annotations

from typing import Any


def page(number: Any) -> str:
    """A page of text."""
    return f"Page {number}. " + "Water runs downhill. " * 40
