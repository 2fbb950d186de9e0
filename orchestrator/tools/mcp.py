"""Tools of servers that speak the Model Context Protocol.

Request, to call a tool, or to list those that there are::

    {"command": [PROGRAM, ARGUMENT, …], "env": {NAME: value}, "env_names": [NAME of ours that is passed on, …],
     "launcher": [PROGRAM, …] put before the command, "folder": working directory,
     "sandbox": none | preferred | required}              or
    {"url": TEXT, "headers": {NAME: value}}
    "operation": NAME of a tool, "args": {…}              or "list": true, "tools": [NAME, …] those alone, null for all

All requests of a run that describe the same server share one connection to it. A call gives structured content, else
text, else its parts; media are described by type and size. A list gives ``mcp_results.listed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio

from orchestrator.jsonish import hash_of
from orchestrator.tools.mcp_results import BadList, answered, listed, said, shape
from orchestrator.tools.mcp_server import Connection, Server, Unreachable
from orchestrator.tools.policy import failed, finish
from orchestrator.tools.protocol import Lost

if TYPE_CHECKING:
    from orchestrator.tools.protocol import CallContext, Outcome

UNBOUNDED = 300.0
"""Seconds after which a call ends that has no timeout of its own: a server may take it and hang."""

PAGES = 100
"""Pages of a list that are asked for."""

KEY = "orchestrator/idempotencyKey"
"""Under which a call's ``_meta`` holds its idempotency key."""

_OF_PROGRAMS = ("command", "env", "env_names", "launcher", "folder", "sandbox")
_OF_SITES = ("url", "headers")
_MARGIN = 0.05
_GONE = 3.0
_CLOSED = -32000
_HEADER_MISMATCH = -32020


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Call a tool, or list the tools. See the module for the request."""
    described = {name: request[name] for name in (_OF_SITES if "url" in request else _OF_PROGRAMS) if name in request}
    key = f"mcp:{hash_of(described)}"
    server = cast("Server", context.hold(key, lambda: Server(described, context)))
    limit = anyio.current_time() + UNBOUNDED if context.deadline is None else context.deadline
    for last in (False, True):
        try:
            # What comes too late for the call itself is known to have had no effect.
            with anyio.fail_after(max(limit - _MARGIN - anyio.current_time(), 0)):
                connection = await server.connection()
        except Unreachable as error:
            return _unreachable(error, context)
        except TimeoutError:
            return failed(context, "timeout", server.late(context), no_effect=True)
        outcome = await _ask(connection, request, context, limit)
        if outcome is not None:
            return outcome
        server.leave(connection, "the session is gone")
        if last:
            break
    return failed(context, "unavailable", "the server forgets each session at once", no_effect=True)


def _unreachable(error: Unreachable, context: CallContext) -> Outcome:
    words = "" if error.wire is None else error.wire.last_words(context)
    noted = error.noted
    return failed(
        context,
        error.code,
        f"no connection to the server: {error}{words}",
        status=noted.get("status"),
        no_effect=True,
        retry_after=noted.get("retry_after"),
    )


async def _ask(connection: Connection, request: dict[str, Any], context: CallContext, limit: float) -> Outcome | None:
    """What the server answers; None where it no longer knows the session, and did nothing."""
    from mcp import MCPError

    try:
        with anyio.fail_after(max(limit - anyio.current_time(), 0)):
            return await (
                _list(connection, request, context) if request.get("list") else _call(connection, request, context)
            )
    except TimeoutError:
        return Lost("timeout", f"the server gave no answer in time{connection.wire.last_words(context)}")
    except MCPError as error:
        noted = connection.noted(error.data)
        if noted.get("gone"):
            return None
        if noted.get("lost") or _is_cut(error.code, error.message, connection):
            return await _cut_off(connection, error.message, context)
        code = noted.get("code", "tool_error")
        return failed(
            context,
            code,
            error.message,
            status=noted.get("status"),
            detail={"code": error.code, "data": error.data} if not noted and error.data is not None else None,
            no_effect=bool(noted.get("no_effect")),
            retry_after=noted.get("retry_after"),
        )
    except (ValueError, RuntimeError) as error:
        return failed(context, "invalid_output", f"the server's answer is not one of MCP: {shape(error)}")


def _is_cut(code: int, message: str, connection: Connection) -> bool:
    """Whether an error is the SDK's word for a connection that broke off; servers use its code, too."""
    return code == _CLOSED and (
        connection.wire.over.is_set() or message.startswith(("Connection closed", "SSE stream"))
    )


async def _cut_off(connection: Connection, message: str, context: CallContext) -> Outcome:
    """The connection, or this call's part of it, broke off: how far the call got is not known."""
    wire = connection.wire
    if wire.over.is_set():
        with anyio.move_on_after(_GONE):
            await wire.gone.wait()
        message = f"{wire.why} during the call" + (f" ({wire.exit})" if wire.exit else "")
    return Lost("unavailable", f"{message}{wire.last_words(context)}")


async def _list(connection: Connection, request: dict[str, Any], context: CallContext) -> Outcome:
    tools = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in await _pages(connection)]
    try:
        return finish(listed(tools, request.get("tools")), context)
    except BadList as error:
        return failed(context, "tool_error", str(error))


async def _pages(connection: Connection) -> list[Any]:
    from mcp_types import PaginatedRequestParams

    found: list[Any] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await connection.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


async def _call(connection: Connection, request: dict[str, Any], context: CallContext) -> Outcome:
    from mcp import MCPError

    try:
        result = await _send(connection, request, context)
    except MCPError as error:
        if error.code != _HEADER_MISMATCH:
            raise
        # Arguments that a server wants in headers are known from its list alone.
        await _pages(connection)
        result = await _send(connection, request, context)
    if result.get("isError"):
        return failed(context, "tool_error", said(result))
    return finish(answered(result), context)


async def _send(connection: Connection, request: dict[str, Any], context: CallContext) -> dict[str, Any]:
    """One call, as JSON. The SDK's own ``call_tool`` would check results by patterns of the server's making, which may
    take for ever."""
    from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

    meta: Any = None if context.effect == "read" else {KEY: context.idempotency_key}
    params = CallToolRequestParams(name=request["operation"], arguments=request.get("args") or {}, _meta=meta)
    result = await connection.session.send_request(CallToolRequest(params=params), CallToolResult)
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
