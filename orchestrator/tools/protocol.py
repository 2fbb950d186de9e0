"""What a tool kind offers to the engine.

The engine evaluates every expression of a tool's definition (purely, from the journal) and hands the performer one
plain JSON ``request``, whose canonical hash is the step's input hash. References to secrets stand in it as markers
(``secret_marker``), which ``CallContext.reveal`` turns into values at the last moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from orchestrator.expr.runtime import secret_marker as secret_marker  # part of what a tool kind builds on
from orchestrator.frozen import field, frozen

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping
    from pathlib import Path

Effect: TypeAlias = Literal["read", "idempotent", "write"]


@frozen
class Done:
    """A good end. ``output`` is JSON, cleaned and capped by the performer; ``files`` maps names to bytes to keep.

    ``overflow`` holds the whole text of a result whose ``output`` was cut at ``max_output`` bytes. ``settled``:
    ``output`` came out of ``policy.finish``, which need not be done twice.
    """

    output: Any
    files: Mapping[str, FileOut] = field(default_factory=dict[Any, Any])
    overflow: str | None = None
    settled: bool = field(default=False, compare=False)


@frozen
class FileOut:
    """A file that a step leaves: its bytes, its base name and its media type."""

    name: str
    body: bytes
    media_type: str = "application/octet-stream"


@frozen
class Failed:
    """A bad end that is known: the effect is over, or never began.

    ``code`` is the class that ``retry.on`` names (``timeout rate_limit unavailable tool_error invalid_output``) or a
    code of docs/errors.md; ``status`` an HTTP status; ``no_effect`` True where it is proven that nothing happened
    (connection refused, arguments refused, 429); ``retry_after`` in seconds where the other side asked for it.
    """

    code: str
    message: str
    status: int | None = None
    detail: Any = None
    no_effect: bool = False
    retry_after: float | None = None


@frozen
class Lost:
    """An end that is not known: a timeout, a cut connection or a kill after the effect began."""

    code: str
    message: str
    status: int | None = None


Outcome: TypeAlias = "Done | Failed | Lost"


def silent(text: str) -> None:
    """The ``emit`` of a call that nobody watches; performers do no work for it."""


class Held(Protocol):
    """What outlasts a call: it is made when it is first needed, and lasts as long as the run is driven here."""

    async def run(self) -> None:
        """Its whole life, in a task of its own; returns soon after ``close``. Raises nothing but cancellation."""
        ...

    def close(self) -> None:
        """The run is over, or given up."""
        ...


def hold_nothing(key: str, make: Callable[[], Held]) -> Held:
    """The ``hold`` of a call that nothing outlasts."""
    raise RuntimeError(f"nothing holds {key!r}")


@frozen
class CallContext:
    """What one call may know of the run around it.

    ``deadline`` is in seconds on the clock of ``anyio.current_time()``, None without a timeout; the engine cancels the
    call at it, and the performer must then leave nothing running. ``folder`` is the absolute working directory of the
    run. ``max_output`` is in bytes: what the caller can take (a model 64 KiB, a step as much as a record may hold);
    performers keep 16 MiB of a result at most. ``reveal`` turns the markers in a JSON value into secrets; ``redact``
    takes their values out of text, bytes and JSON. ``stored`` gives the absolute path of the stored copy of a ``file``
    value (its hash). ``hold(key, make)`` gives what is held for the run under ``key``, made if need be.
    """

    run_id: str
    path: str
    attempt: int
    idempotency_key: str
    effect: Effect
    deadline: float | None
    folder: Path
    max_output: int
    reveal: Callable[[Any], Any]
    redact: Callable[[Any], Any]
    log: logging.Logger
    stored: Callable[[str], Path]
    emit: Callable[[str], None] = silent
    hold: Callable[[str, Callable[[], Held]], Held] = hold_nothing


class Performer(Protocol):
    """One kind of tool. Request shapes are documented in each module."""

    async def __call__(self, request: dict[str, Any], context: CallContext) -> Outcome:
        """Perform the call once. Raises nothing but cancellation; an exception is a bug, recorded as ``tool_error``."""
        ...
