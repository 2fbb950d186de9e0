"""One server of a run: connected when it is first needed, shared by all that call it, gone with the run.

A connection is opened and closed in one task, the server's own, as the SDK's task groups demand. Where it breaks off,
it is opened anew for the next call, a bounded number of times.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio

from orchestrator.frozen import slotted
from orchestrator.tools import http as plain_http
from orchestrator.tools.mcp_wire import Wire
from orchestrator.tools.policy import as_text
from orchestrator.tools.shell import boxed, word
from orchestrator.tools.wire import target

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from mcp.client.session import ClientSession

    from orchestrator.tools.protocol import CallContext

CONNECT = 60.0
"""Seconds that a server has to start and to shake hands: `npx` may download it first."""

MOST_ENDS = 5
"""How often a server may break off before a run gives it up."""


class Unreachable(Exception):
    """There is no connection, and nothing was sent. ``wire``: the one that failed, where there was one."""

    def __init__(self, code: str, message: str, wire: Wire | None = None, noted: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.wire = wire
        self.noted = noted or {}


@slotted
class Connection:
    """A session under way. ``noted`` reads what our own HTTP transport knows of an error."""

    session: ClientSession
    wire: Wire
    noted: Callable[[Any], dict[str, Any]]


class _Opening:
    """An attempt to connect, and then the connection."""

    def __init__(self) -> None:
        self.settled = anyio.Event()
        self.connection: Connection | None = None
        self.problem: Unreachable | None = None

    @property
    def usable(self) -> bool:
        """Whether it may still lead to a connection, or is one."""
        if self.connection is not None:
            return not self.connection.wire.over.is_set()
        return self.problem is None

    def settle(self, *, connection: Connection | None = None, problem: Unreachable | None = None) -> None:
        """Say what came of it, once."""
        if not self.settled.is_set():
            self.connection, self.problem = connection, problem
            self.settled.set()


class Server:
    """A server as a request describes it. ``context`` is that of the first call; only what holds for the whole run is
    taken from it."""

    def __init__(self, request: dict[str, Any], context: CallContext) -> None:
        self._request = request
        self._context = context
        self._opening: _Opening | None = None
        self._wanted = anyio.Event()
        self._closed = False
        self._scope: anyio.CancelScope | None = None
        self._note: Callable[[Any], dict[str, Any]] = _nothing
        self._ends = 0
        self._last = ""
        self._wire: Wire | None = None

    def late(self, context: CallContext) -> str:
        """What is known of a server that there is no connection to yet."""
        if self._wire is None or not self._wire.asked:
            return "the server was not ready in time"
        return f"the server did not answer the first message in time{self._wire.last_words(context)}"

    async def connection(self) -> Connection:
        """The connection, opened if need be. Raises Unreachable."""
        if self._opening is None or not self._opening.usable:
            if self._ends >= MOST_ENDS:
                raise Unreachable("tool_error", f"the server broke off {self._ends} times in this run: {self._last}")
            self._opening = _Opening()
            self._wanted.set()
        opening = self._opening
        await opening.settled.wait()
        if opening.connection is None:
            raise opening.problem or Unreachable("unavailable", "the run is over")
        return opening.connection

    def leave(self, connection: Connection, why: str) -> None:
        """Give a connection up that is of no more use; the next call opens another one."""
        connection.wire.end(why)

    async def run(self) -> None:
        """Connect whenever a connection is wanted, until closed."""
        while not self._closed:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            if self._opening is not None and not self._opening.settled.is_set():
                await self._serve(self._opening)
        if self._opening is not None:
            self._opening.settle(problem=Unreachable("unavailable", "the run is over"))

    def close(self) -> None:
        """The run is over: let the connection go."""
        self._closed = True
        self._wanted.set()
        if self._scope is not None:
            self._scope.cancel()
        if self._opening is not None and self._opening.connection is not None:
            self._opening.connection.wire.end("the run is over")

    async def _serve(self, opening: _Opening) -> None:
        """One connection, from its opening to its end."""
        wire = self._wire = Wire()
        noted: dict[str, Any] = {}
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + CONNECT) as scope:
                self._scope = scope
                await self._connected(opening, wire, scope)
            if scope.cancelled_caught and not self._closed:
                silent = "no answer to the first message" if wire.asked else "it was not ready"
                wire.end(f"{silent} within {CONNECT:g} s")
        except Exception as error:  # noqa: BLE001 - the boundary of what a server and the SDK may do
            cause = _cause(error)
            noted = self._note(getattr(cause, "data", None))
            wire.end(str(cause) or type(cause).__name__)
        finally:
            self._scope = None
            connected = opening.connection is not None
            wire.end("the run is over")
            wire.gone.set()
            if connected and not self._closed:
                self._ends += 1
                self._last = wire.why + (f" ({wire.exit})" if wire.exit else "")
            opening.settle(problem=Unreachable(noted.get("code", "tool_error"), _told(wire), wire, noted))

    async def _connected(self, opening: _Opening, wire: Wire, scope: anyio.CancelScope) -> None:
        try:
            from mcp import Client
            from mcp_types import Implementation
        except ModuleNotFoundError:
            raise RuntimeError("the package `mcp` is not installed: `pip install 'orchestrator[mcp]'`") from None

        _quieten()
        about = Implementation(name="orchestrator", version=version("orchestrator"))
        async with Client(self._transport(wire), cache=None, client_info=about) as client:
            scope.deadline = float("inf")
            self._scope = None
            opening.settle(connection=Connection(client.session, wire, self._note))
            await wire.over.wait()

    def _transport(self, wire: Wire) -> AbstractAsyncContextManager[Any]:
        """How it is reached."""
        from orchestrator.tools.mcp_gate import gated

        request, context = self._request, self._context
        if "url" in request:
            from orchestrator.tools.mcp_http import Polite, http

            message = plain_http.prepare({"url": request["url"], "headers": request.get("headers")}, context)
            headers = {name: value for name, value in message.headers.items() if name not in _OF_THE_SDK}
            target(message.url)
            polite = Polite()
            self._note = polite.noted
            return gated(http(message.url, headers, polite), wire)
        from orchestrator.tools.mcp_stdio import stdio

        words = [as_text(item) for item in request.get("launcher") or []]
        words += [word(item, context) for item in request["command"]]
        env = environment(request, context)
        folder = Path(request["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        return gated(stdio(boxed(words, request, folder, context), wire, env=env, folder=str(folder)), wire)


_OF_THE_SDK = frozenset({"accept", "accept-encoding", "content-type", "idempotency-key"})


def environment(request: dict[str, Any], context: CallContext) -> dict[str, str]:
    """Exactly the variables that a server gets. It has no key: it outlasts the calls, which bring theirs along."""
    from orchestrator.tools import shell

    env = shell.environment(context, request.get("env") or {}, request.get("env_names") or ())
    if "ORCH_IDEMPOTENCY_KEY" not in (request.get("env") or {}):
        env.pop("ORCH_IDEMPOTENCY_KEY", None)
    return env


def _told(wire: Wire) -> str:
    return wire.why + (f" ({wire.exit})" if wire.exit and wire.exit != "killed" else "")


def _cause(error: BaseException) -> BaseException:
    """What is behind groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseException", error.exceptions[0])
    return error


def _nothing(data: Any) -> dict[str, Any]:
    """Nothing is known of an error but what the server says."""
    return {}


def _quieten() -> None:
    """What the SDK logs of a server's mistakes is told by the errors of calls; unhandled, it would go to the screen."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    client = logging.getLogger("client")  # the SDK's session logs by this name, which others may use
    if _not_of_the_sdk not in client.filters:
        client.addFilter(_not_of_the_sdk)


def _not_of_the_sdk(record: logging.LogRecord) -> bool:
    return "/mcp/client/" not in record.pathname
