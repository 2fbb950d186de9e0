"""What a model API client offers to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.agents.messages import ModelRequest, Reply, Usage


class ModelError(Exception):
    """A model call that did not end well, in the classes that ``retry.on`` names.

    ``code``: ``timeout rate_limit unavailable refusal invalid_reply context auth bad_request``; ``status`` the HTTP
    status; ``retry_after`` seconds the other side asked for; ``sent`` False where it is proven that the request never
    arrived, so that nothing was billed; ``usage`` what a broken reply reported as used, if it did.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        usage: Usage | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.sent = sent
        self.usage = usage
        self.detail = detail or {}


@frozen
class ModelContext:
    """``reveal`` turns secret markers into values; ``emit`` shows streamed text on the screen, and nothing else."""

    reveal: Callable[[Any], Any]
    emit: Callable[[str], None] = lambda text: None


class Provider(Protocol):
    """A model API. One object serves all calls of a process; it holds connections, never conversations."""

    async def call(self, request: ModelRequest, context: ModelContext) -> Reply:
        """Send one request once (no retries inside) and check the reply. Raises ModelError, or is cancelled."""
        ...

    async def aclose(self) -> None:
        """Close what it holds."""
        ...
