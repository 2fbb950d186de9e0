"""A server over streamable HTTP.

The SDK's client on a transport of ours: bodies are bounded, no proxy of the environment is used, and what goes wrong
with one request is that request's answer, where the SDK would lose the status, or end the session for all.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import httpx2
from mcp.client.streamable_http import streamable_http_client

from orchestrator.ids import new_nonce
from orchestrator.jsonish import dumps
from orchestrator.tools.policy import KEPT
from orchestrator.tools.wire import CONNECT, Answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from mcp.client._transport import TransportStreams

RESUMED = 20
"""How often the streams of a connection that broke off are asked for again."""

_LEAVE = {"connect": 2.0, "read": 2.0, "write": 2.0, "pool": 2.0}
_ERROR_BODY = 65_536
_UNAVAILABLE = frozenset({502, 503, 504, 529})
_EVENTS = "text/event-stream"
_IMPLEMENTATION = -32000


@asynccontextmanager
async def http(url: str, headers: Mapping[str, str], polite: Polite) -> AsyncGenerator[TransportStreams]:
    """The streams of a server at ``url``. Redirects stay within its origin, and so do ``headers``."""
    timeout = httpx2.Timeout(None, connect=CONNECT)
    async with (
        httpx2.AsyncClient(headers=dict(headers), transport=polite, timeout=timeout, trust_env=False) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=KEPT) as streams,
    ):
        yield streams


class Polite(httpx2.AsyncBaseTransport):
    """Answers whatever happens with an answer. Those that it makes up are JSON-RPC errors whose data it can tell."""

    def __init__(self) -> None:
        roots = httpx2.create_ssl_context(trust_env=bool({"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()))
        self._inner = httpx2.AsyncHTTPTransport(verify=roots, trust_env=False)
        self._mark = new_nonce()
        self._resumed = 0

    def noted(self, data: Any) -> dict[str, Any]:
        """What is known of an error that was made up here: ``code``, ``status``, ``retry_after``, ``no_effect``,
        ``gone`` where the session is. Empty for a server's own, whatever it says."""
        return cast("dict[str, Any]", data).get(self._mark, {}) if isinstance(data, dict) else {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and read its answer unless it is a stream of events."""
        if request.method == "GET" and not self._may_listen(request):
            return httpx2.Response(405)
        if request.method == "DELETE":
            request.extensions["timeout"] = _LEAVE
        request.headers["accept-encoding"] = "identity"
        try:
            response = await self._inner.handle_async_request(request)
            return await self._read(request, response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return self._problem(503, f"no connection: {error}", code="unavailable", no_effect=True)
        except httpx2.TransportError as error:
            return self._problem(503, f"{error or type(error).__name__}", code="unavailable", lost=True)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _may_listen(self, request: httpx2.Request) -> bool:
        """What a server says unasked is of no use; only a stream that broke off is asked for again."""
        self._resumed += 1
        return "last-event-id" in request.headers and self._resumed <= RESUMED

    async def _read(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        status = response.status_code
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return self._problem(502, "the answer is encoded, which was not asked for", code="tool_error", lost=True)
        if status < 300 and response.headers.get("content-type", "").lower().startswith(_EVENTS):
            return response
        most = KEPT if status < 300 else _ERROR_BODY
        body = await _body(response, most)
        if status >= 400 and not _is_error(body):
            return self._status(request, response, body)
        if len(body) > most:
            return self._problem(502, f"the answer has over {most} bytes", code="tool_error", lost=True)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"transfer-encoding"]
        return httpx2.Response(status, headers=headers, content=body, extensions=response.extensions)

    def _status(self, request: httpx2.Request, response: httpx2.Response, body: bytes) -> httpx2.Response:
        status = response.status_code
        code = "rate_limit" if status == 429 else "unavailable" if status in _UNAVAILABLE else "tool_error"
        said = body[:200].decode("utf-8", "replace").strip()
        wait = Answer(status, "", {"retry-after": response.headers.get("retry-after", "")}, b"").retry_after()
        gone = status == 404 and "mcp-session-id" in request.headers
        return self._problem(
            status,
            f"status {status}" + (f": {said}" if said else ""),
            code=code,
            status=status,
            retry_after=wait,
            gone=gone,
            no_effect=gone or status in (401, 403, 404, 405, 429),
        )

    def _problem(self, answered: int, message: str, **noted: Any) -> httpx2.Response:
        error = {"code": _IMPLEMENTATION, "message": message, "data": {self._mark: noted}}
        body = dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        return httpx2.Response(answered, headers={"content-type": "application/json"}, content=body)


async def _body(response: httpx2.Response, most: int) -> bytes:
    """The body, or a little more than ``most`` bytes of it."""
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                break
    finally:
        await response.aclose()
    return bytes(body)


def _is_error(body: bytes) -> bool:
    """Whether a body is an error of JSON-RPC, which says more than its status."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "jsonrpc" in found and "error" in found
