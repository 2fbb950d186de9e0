"""What refused connections leave behind is collected after each test."""

from __future__ import annotations

from tests.collected import collected

__all__ = ["collected"]
