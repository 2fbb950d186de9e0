"""What a user's python function may import: the context of its call, and the error that says what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Handed to a function that has a parameter named ``context``.

    ``idempotency_key`` stays the same when one logical attempt is made again: hand it on to what deduplicates.
    ``deadline`` is in seconds on ``time.monotonic()``, None without a timeout. ``folder`` is the run's working
    directory; ``path`` names the step, ``attempt`` counts from 1. What goes to ``log`` is redacted and kept out of the
    journal.
    """

    idempotency_key: str
    deadline: float | None
    log: logging.Logger
    run_id: str
    path: str
    attempt: int
    folder: Path


class ToolError(Exception):
    """Raised by a function to end its call badly, on purpose.

    ``code`` is a class that ``retry.on`` may name (``tool_error``, ``rate_limit``, ``unavailable``, ``timeout``,
    ``invalid_output``); ``status`` a number that it may name too; ``detail`` JSON for ``error.detail``; ``no_effect``
    True where it is certain that nothing happened, so that a next attempt is a new one and never in doubt.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "tool_error",
        status: int | None = None,
        detail: Any = None,
        no_effect: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.detail = detail
        self.no_effect = no_effect
