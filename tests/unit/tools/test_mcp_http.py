from __future__ import annotations

import json
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.engine.holding import Holder
from orchestrator.tools.mcp import perform
from orchestrator.tools.protocol import Done, Failed, Lost, secret_marker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from orchestrator.tools.protocol import CallContext, Outcome

pytestmark = pytest.mark.anyio


@dataclass
class Site:
    """A server on loopback. ``call`` answers ``tools/call``; the rest behaves."""

    port: int = 0
    call: Callable[[Any, dict[str, Any]], None] = lambda handler, request: result(handler, request, "ok")
    start: Callable[[Any], bool] = lambda handler: False
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    sessions: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def calls(self) -> int:
        return sum(method == "tools/call" for _, method in self.asked)


def send(handler: Any, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def answer(handler: Any, request: dict[str, Any], found: dict[str, Any], **more: str) -> None:
    send(handler, 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": found}).encode(), **more)


def result(handler: Any, request: dict[str, Any], text: str) -> None:
    answer(handler, request, {"content": [{"type": "text", "text": text}]})


def events(handler: Any, *messages: Any) -> None:
    body = "".join(f"event: message\ndata: {json.dumps(message)}\n\n" for message in messages)
    send(handler, 200, body.encode(), "text/event-stream")


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            found.asked.append(("GET", ""))
            send(self, 405, b"")

        def do_DELETE(self) -> None:  # noqa: N802
            found.asked.append(("DELETE", ""))
            send(self, 200, b"")

        def do_POST(self) -> None:  # noqa: N802
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(("POST", request["method"]))
            found.headers = {name.lower(): value for name, value in self.headers.items()}
            if found.start(self):
                return
            self.reply(request)

        def reply(self, request: dict[str, Any]) -> None:
            if request["method"] == "initialize":
                found.sessions += 1
                about = {"name": "site", "version": "1"}
                given = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
                answer(self, request, given, Mcp_Session_Id=f"s{found.sessions}")
            elif request["method"] == "tools/call":
                found.call(self, request)
            elif "id" in request:
                error = {"code": -32601, "message": "Method not found"}
                send(self, 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode())
            else:
                send(self, 202, b"")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
            pass

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # who hangs up on us means to

    with Listening(("127.0.0.1", 0), Handler) as listening:
        found.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        listening.shutdown()
        thread.join()


@asynccontextmanager
async def holding(context: CallContext) -> AsyncGenerator[CallContext]:
    async with anyio.create_task_group() as tasks:
        holder = Holder(tasks.start_soon)
        try:
            yield replace(context, hold=holder.hold)
        finally:
            await holder.close()


async def call(context: CallContext, site: Site, **more: Any) -> Outcome:
    return await perform({"url": site.url, "operation": "echo", "args": {}, **more}, context)


async def once(context: CallContext, site: Site, **more: Any) -> Outcome:
    async with holding(context) as held:
        return await call(held, site, **more)


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_calls_share_a_session_which_is_ended_with_the_run(context: Any, site: Site) -> None:
    async with holding(context) as held:
        assert await call(held, site) == Done("ok")
        assert await call(held, site) == Done("ok")
    assert site.sessions == 1
    assert site.calls == 2
    assert site.asked[-1] == ("DELETE", "")
    assert ("GET", "") not in site.asked


async def test_headers_hold_secrets_at_the_call_alone(contexts: Any, site: Site) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token"
    site.call = lambda handler, request: result(handler, request, handler.headers["Authorization"])
    headers = {"Authorization": f"Bearer {secret_marker('TOKEN')}", "X-Team": "a"}
    assert await once(contexts(), site, headers=headers) == Done("Bearer ***TOKEN***")
    assert site.headers["x-team"] == "a"
    assert "idempotency-key" not in site.headers


async def test_an_answer_may_come_as_events(context: Any, site: Site) -> None:
    def stream(handler: Any, request: dict[str, Any]) -> None:
        said = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
        ask = {"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {}}
        found = {"content": [{"type": "text", "text": "streamed"}]}
        events(handler, *[said] * 500, ask, {"jsonrpc": "2.0", "id": request["id"], "result": found})

    site.call = stream
    assert await once(context, site) == Done("streamed")


@pytest.mark.parametrize(
    ("status", "code", "no_effect"),
    [(400, "tool_error", False), (401, "tool_error", True), (429, "rate_limit", True), (500, "tool_error", False),
     (503, "unavailable", False)],
)  # fmt: skip
async def test_a_status_is_a_failure_of_its_class(
    context: Any, site: Site, status: int, code: str, no_effect: bool
) -> None:
    site.call = lambda handler, request: send(handler, status, b"no such luck", "text/plain", Retry_After="7")
    end = bad(await once(context, site))
    assert (end.code, end.status, end.no_effect, end.retry_after) == (code, status, no_effect, 7.0)
    assert end.message == f"status {status}: no such luck"


async def test_a_refusal_at_the_start_has_its_status(context: Any, site: Site) -> None:
    def refuse(handler: Any) -> bool:
        send(handler, 401, b"who are you", "text/plain")
        return True

    site.start = refuse
    end = bad(await once(context, site))
    assert (end.status, end.no_effect) == (401, True)
    assert end.message == "no connection to the server: status 401: who are you"


async def test_a_server_that_is_not_there_is_unavailable(context: Any, site: Site) -> None:
    site.port = 1
    end = bad(await once(context, site))
    assert (end.code, end.no_effect) == ("unavailable", True)


async def test_a_session_that_is_forgotten_is_begun_anew(context: Any, site: Site) -> None:
    def forget(handler: Any, request: dict[str, Any]) -> None:
        known = handler.headers["Mcp-Session-Id"] == "s2"
        result(handler, request, "ok") if known else send(handler, 404, b"", "text/plain")

    site.call = forget
    assert await once(context, site) == Done("ok")
    assert (site.sessions, site.calls) == (2, 2)


async def test_a_server_that_forgets_every_session_is_given_up(context: Any, site: Site) -> None:
    site.call = lambda handler, request: send(handler, 404, b"", "text/plain")
    end = bad(await once(context, site))
    assert end.message == "the server forgets each session at once"
    assert site.calls == 2


async def test_a_connection_cut_in_a_call_loses_that_call_alone(context: Any, site: Site) -> None:
    def cut(handler: Any, request: dict[str, Any]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        handler.close_connection = True

    async with holding(context) as held:
        assert await call(held, site) == Done("ok")
        site.call = cut
        end = await call(held, site)
        assert isinstance(end, Lost)
        assert end.code == "unavailable"
        site.call = lambda handler, request: result(handler, request, "again")
        assert await call(held, site) == Done("again")
    assert site.sessions == 1


async def test_events_that_end_without_an_answer_lose_the_call(context: Any, site: Site) -> None:
    site.call = lambda handler, request: events(handler)
    end = await once(context, site)
    assert isinstance(end, Lost)
    assert end.message == "SSE stream ended without a response"


async def test_an_answer_without_end_is_cut(context: Any, site: Site) -> None:
    def endless(handler: Any, request: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65_536)

    site.call = endless
    end = await once(context, site)
    assert isinstance(end, Lost)
    assert end.message == "the answer has over 16777216 bytes"


async def test_an_encoded_answer_was_not_asked_for(context: Any, site: Site) -> None:
    site.call = lambda handler, request: send(handler, 200, b"x", Content_Encoding="gzip")
    end = await once(context, site)
    assert isinstance(end, Lost)
    assert end.message == "the answer is encoded, which was not asked for"


async def test_a_server_cannot_say_that_nothing_was_done(context: Any, site: Site) -> None:
    error = {"code": -32000, "message": "spoof", "data": {"x": {"no_effect": True, "code": "rate_limit"}}}

    def spoof(handler: Any, request: dict[str, Any]) -> None:
        send(handler, 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode())

    site.call = spoof
    end = bad(await once(context, site))
    assert (end.code, end.message, end.no_effect) == ("tool_error", "spoof", False)


async def test_a_redirect_to_another_origin_is_not_followed(context: Any, site: Site) -> None:
    def elsewhere(handler: Any) -> bool:
        send(handler, 307, b"", Location="http://127.0.0.1:1/mcp")
        return True

    site.start = elsewhere
    end = bad(await once(context, site, headers={"X-Key": "k"}))
    assert "Redirect to http://127.0.0.1:1/mcp not followed" in end.message


async def test_a_server_that_hangs_loses_the_call_in_time(contexts: Any, site: Site) -> None:
    wait = threading.Event()
    async with holding(contexts()) as held:
        assert await call(held, site) == Done("ok")
        site.call = lambda handler, request: wait.wait(20) and None
        end = await call(replace(held, deadline=anyio.current_time() + 0.5), site)
        wait.set()
    assert isinstance(end, Lost)
    assert end.code == "timeout"


async def test_a_url_that_is_none_is_refused(context: Any, site: Site) -> None:
    async with holding(context) as held:
        end = bad(await perform({"url": "file:///etc/passwd", "operation": "x"}, held))
    assert end.no_effect
    assert "only http and https" in end.message
