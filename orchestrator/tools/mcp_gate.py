"""What passes between a server and the session: answers to what was asked, and nothing else.

Servers may send requests and notifications of their own, in any number. None is of use here, and each would be kept in
memory until it is dealt with; so they end at this gate. A ping is answered, other requests are refused.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    ErrorData,
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
    Tool,
)

from orchestrator.tools.mcp_results import UNUSABLE, shape

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ObjectReceiveStream, ObjectSendStream
    from mcp.client._transport import ReadStream, TransportStreams, WriteStream

    from orchestrator.tools.mcp_wire import Wire

QUEUED = 64
"""Messages that wait to be written; beyond, answers to a server's own requests are left out."""

LISTED = 5000
"""Tools that one page of a list may hold."""


@asynccontextmanager
async def gated(inner: AbstractAsyncContextManager[TransportStreams], wire: Wire) -> AsyncGenerator[TransportStreams]:
    """The streams of a transport, with what is of use alone. The end of the inner one ends the wire."""
    async with inner as (theirs, ours):
        inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outward = anyio.create_memory_object_stream[SessionMessage](QUEUED)
        answers = write.clone()
        async with inward, read, write, outward, answers, anyio.create_task_group() as tasks:
            tasks.start_soon(_let_in, theirs, inward, answers, wire)
            tasks.start_soon(_let_out, outward, ours, wire)
            try:
                yield read, write
            finally:
                tasks.cancel_scope.cancel()


async def _let_in(
    theirs: ReadStream[SessionMessage | Exception],
    inward: ObjectSendStream[SessionMessage | Exception],
    answers: Any,
    wire: Wire,
) -> None:
    async with inward:
        try:
            async for item in theirs:
                match item:
                    case SessionMessage(message=JSONRPCResponse() as response):
                        await inward.send(SessionMessage(_bounded(response)))
                    case SessionMessage(message=JSONRPCError()):
                        await inward.send(item)
                    case SessionMessage(message=JSONRPCRequest() as request):
                        _answer(request, answers)
                    case _:
                        pass
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the session has ended first
        wire.end("it closed the connection")


def _bounded(response: JSONRPCResponse) -> JSONRPCResponse | JSONRPCError:
    """A list so long that reading it would hold all else up becomes an error; in others each tool can be read."""
    found: Any = response.result.get("tools")
    if not isinstance(found, list):
        return response
    tools = cast("list[Any]", found)
    if len(tools) <= LISTED:
        return response.model_copy(update={"result": {**response.result, "tools": [_readable(tool) for tool in tools]}})
    said = f"the server lists {len(tools)} tools at once, over {LISTED}"
    return JSONRPCError(jsonrpc="2.0", id=response.id, error=ErrorData(code=INTERNAL_ERROR, message=said))


def _readable(tool: Any) -> Any:
    """A tool that the SDK can read; of one that it cannot, the name and why: the others of its list are of use."""
    try:
        Tool.model_validate(tool)
    except ValueError as error:
        name: Any = cast("dict[str, Any]", tool).get("name") if isinstance(tool, dict) else None
        named = name if isinstance(name, str) else ""
        return {"name": named, "inputSchema": {"type": "object"}, "_meta": {UNUSABLE: shape(error)[:300]}}
    return tool


def _answer(request: JSONRPCRequest, answers: Any) -> None:
    if request.method == "ping":
        answer = JSONRPCResponse(jsonrpc="2.0", id=request.id, result={})
    else:
        error = ErrorData(code=METHOD_NOT_FOUND, message=f"{request.method[:100]} is not offered")
        answer = JSONRPCError(jsonrpc="2.0", id=request.id, error=error)
    try:
        answers.send_nowait(SessionMessage(answer))
    except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # it asks and does not read


async def _let_out(outward: ObjectReceiveStream[SessionMessage], ours: WriteStream[SessionMessage], wire: Wire) -> None:
    async with ours:
        try:
            async for message in outward:
                await ours.send(message)
                wire.asked = True
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # the other way says why
