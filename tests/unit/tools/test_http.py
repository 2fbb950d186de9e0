from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import threading
import time
import zlib
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.jsonish import dumps
from orchestrator.tools import policy, wire
from orchestrator.tools.http import exchange, perform
from orchestrator.tools.protocol import Done, Failed, Lost, secret_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A server on loopback. ``answers`` maps a path to what its handler does; everything asked is in ``seen``."""

    port: int
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    connections: int = 0

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def serve(certificate: str | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ssl.SSLError):
                self.close_connection = True

        def parse_request(self) -> bool:
            whole = super().parse_request()
            self.do = self.answer  # every method is answered alike
            setattr(self, f"do_{self.command}", self.answer)
            return whole

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append(Seen(self.command, self.path, headers, body))
            server.answers.get(self.path.partition("?")[0], lambda handler: reply(handler, 200, b"ok"))(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
            pass

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            server.connections += 1
            return super().get_request()

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away

    listening = Listening(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    server = Server(listening.server_port)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve()


@pytest.fixture
def other() -> Iterator[Server]:
    yield from serve()


def reply(handler: Any, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Transfer_Encoding" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Any], None]:
    return lambda handler: reply(handler, status, body, **headers)


def resolving(**names: Sequence[str]) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return names.get(host.replace(".", "_"), [])

    return resolve


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def lost(outcome: Outcome) -> Lost:
    assert isinstance(outcome, Lost), outcome
    return outcome


async def ask(server: Server, context: Any, path: str = "/", **request: Any) -> Outcome:
    return await perform({"url": server.url(path), "allow_private": True, **request}, context)


# --- requests and answers


async def test_status_headers_and_body(server: Server, context: Any) -> None:
    server.answers["/a"] = answering(201, b"text", X_Thing="1", Content_Type="text/plain")
    found = done(await ask(server, context, "/a"))
    assert (found["status"], found["body"], found["headers"]["x-thing"]) == (201, "text", "1")
    assert server.seen[0].method == "GET"
    assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_a_body_is_json_where_its_type_says_so(server: Server, context: Any) -> None:
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/problem+json"):
        server.answers["/j"] = answering(200, b'{"a": [1]}', Content_Type=kind)
        assert done(await ask(server, context, "/j"))["body"] == {"a": [1]}
    server.answers["/j"] = answering(200, b'{"a"', Content_Type="application/json")
    assert done(await ask(server, context, "/j"))["body"] == '{"a"'


async def test_output_json_is_the_body_alone(server: Server, context: Any) -> None:
    server.answers["/j"] = answering(200, b"[1, 2]")
    assert done(await ask(server, context, "/j", output_json=True)) == [1, 2]
    server.answers["/j"] = answering(200, b"<html>")
    assert bad(await ask(server, context, "/j", output_json=True)).code == "invalid_output"


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain; charset=latin-1", b"caf\xe9", "café"),
        ("text/plain; charset=none-such", b"caf\xc3\xa9", "café"),
        ("text/plain; charset=hex", b"caf\xc3\xa9", "café"),
        ("image/png", b"\x89P\0", "\ufffdP\ufffd"),
    ],
)
async def test_text_follows_the_charset(server: Server, context: Any, kind: str, body: bytes, text: str) -> None:
    server.answers["/t"] = answering(200, body, Content_Type=kind)
    assert done(await ask(server, context, "/t"))["body"] == text


async def test_what_is_sent(server: Server, context: Any) -> None:
    await ask(server, context, "/p?a=1#f", query={"q": "a b&c", "l": [1, True], "n": None}, json={"x": ["é"]})
    await ask(
        server, context, method="put", body="text é", headers={"X-A": 1, "Content-Type": "text/x", "X-None": None}
    )
    await ask(server, context, body={"k": 1}, auth={"basic": ["user", "päss"]})
    await ask(server, context, method="HEAD", auth={"bearer": "tok"})
    first, second, third, fourth = server.seen
    assert (first.method, first.path) == ("POST", "/p?a=1&q=a%20b%26c&l=1&l=true")
    assert (first.body, first.headers["content-type"]) == ('{"x":["é"]}'.encode(), "application/json")
    assert (second.method, second.body) == ("PUT", "text é".encode())
    assert (second.headers["content-type"], second.headers["x-a"]) == ("text/x", "1")
    assert "x-none" not in second.headers
    assert (third.body, third.headers["authorization"]) == (b'{"k":1}', "Basic dXNlcjpww6Rzcw==")
    assert fourth.headers["authorization"] == "Bearer tok"


async def test_the_idempotency_key_goes_along_with_effects(server: Server, contexts: Any) -> None:
    await ask(server, contexts(effect="read"))
    await ask(server, contexts(effect="idempotent", key="k1"))
    await ask(server, contexts(effect="write", key="k2"), headers={"Idempotency-Key": "mine"})
    assert [seen.headers.get("idempotency-key") for seen in server.seen] == [None, "k1", "mine"]


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"X": "a\r\nEvil: 1"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"Bad Name": "x"}},
        {"headers": {"X:Y": "x"}},
        {"headers": {"Host": "evil"}},
        {"headers": {"content-length": 5}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Connection": "x"}},
        {"auth": {"bearer": "a\r\nb"}},
        {"method": "GET / HTTP/1.1\r\nX:"},
        {"method": "CONNECT"},
    ],
)
async def test_requests_that_cannot_be_made(server: Server, context: Any, request_: dict[str, Any]) -> None:
    assert bad(await ask(server, context, **request_)).no_effect
    assert server.connections == 0


async def test_secrets_are_encoded_in_urls_and_never_come_back(server: Server, contexts: Any) -> None:
    contexts.secrets |= {"KEY": "sec/ret &key?", "BASE": server.url("/base").removesuffix("/base")}
    marker = secret_marker("KEY")
    server.answers["/e"] = lambda handler: reply(
        handler, 200, json.dumps(dict(handler.headers)).encode(), X_Back="sec/ret &key?"
    )
    end = await perform(
        {
            "url": secret_marker("BASE") + f"/e/../e?k={marker}",
            "query": {"q": marker},
            "headers": {"X-Key": marker},
            "auth": {"basic": ["u", marker]},
            "allow_private": True,
        },
        contexts(),
    )
    assert server.seen[0].path == "/e?k=sec%2Fret%20%26key%3F&q=sec%2Fret%20%26key%3F"
    assert server.seen[0].headers["x-key"] == "sec/ret &key?"
    assert "***KEY***" in repr(end)
    assert "ret &key" not in repr(end)
    assert "c2VjL3JldC" not in repr(end)
    server.answers["/bad"] = answering(400, b"no: sec/ret &key?")
    assert "ret &key" not in repr(await ask(server, contexts(), "/bad"))


# --- ends


@pytest.mark.parametrize(
    ("status", "code", "no_effect"),
    [
        (429, "rate_limit", True),
        (502, "unavailable", False),
        (503, "unavailable", False),
        (504, "unavailable", False),
        (529, "unavailable", False),
        (400, "tool_error", False),
        (404, "tool_error", False),
        (500, "tool_error", False),
        (304, "tool_error", False),
    ],
)
async def test_statuses(server: Server, context: Any, status: int, code: str, no_effect: bool) -> None:
    server.answers["/s"] = answering(status, b"" if status == 304 else b"why", Retry_After="7")
    end = bad(await ask(server, context, "/s"))
    assert (end.code, end.status, end.no_effect, end.retry_after) == (code, status, no_effect, 7.0)
    if status != 304:
        assert end.detail == {"status": status, "body": "why"}


async def test_retry_after_may_be_a_date(server: Server, context: Any) -> None:
    server.answers["/s"] = answering(429, Retry_After=formatdate(time.time() + 60, usegmt=True))
    wait = bad(await ask(server, context, "/s")).retry_after
    assert wait is not None
    assert 50 < wait <= 60
    server.answers["/s"] = answering(429, Retry_After="soon")
    assert bad(await ask(server, context, "/s")).retry_after is None


@pytest.mark.parametrize(
    ("expect", "good"), [([404], True), (404, True), (["4xx"], True), (["2xx", "5XX"], False), ([], False)]
)
async def test_expect(server: Server, context: Any, expect: Any, good: bool) -> None:
    server.answers["/s"] = answering(404, b"gone")
    assert isinstance(await ask(server, context, "/s", expect=expect), Done if good else Failed)


async def test_what_never_arrived_had_no_effect(context: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        end = bad(
            await perform({"url": f"http://127.0.0.1:{closed.getsockname()[1]}/", "allow_private": True}, context)
        )
    assert (end.code, end.no_effect) == ("unavailable", True)
    end = bad(await perform({"url": "http://nonesuch.invalid/"}, context))
    assert (end.code, end.no_effect) == ("unavailable", True)


async def test_the_next_address_is_tried_where_one_is_closed(server: Server, context: Any) -> None:
    resolve = resolving(two_example=["127.0.0.2", "127.0.0.1"])
    request = {"url": server.url(host="two.example"), "allow_private": ["two.example"]}
    assert done(await exchange(request, context, resolve=resolve))["status"] == 200
    assert server.seen[0].headers["host"] == f"two.example:{server.port}"


def cut(handler: Any) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_in_body(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"half")
    handler.wfile.flush()
    cut(handler)


def no_http(handler: Any) -> None:
    handler.wfile.write(b"SSH-2.0-none\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [cut, cut_in_body, no_http])
async def test_an_answer_that_breaks_off_is_lost(server: Server, context: Any, answer: Any) -> None:
    server.answers["/c"] = answer
    assert lost(await ask(server, context, "/c", json={})).code == "unavailable"


async def test_a_timeout_after_sending_is_lost(server: Server, context: Any) -> None:
    gate = threading.Event()
    server.answers["/slow"] = lambda handler: gate.wait(10) and reply(handler, 200)
    try:
        assert lost(await ask(server, context, "/slow", timeout=0.1)).code == "timeout"
        with anyio.move_on_after(0.1) as scope:
            await ask(server, context, "/slow")
        assert scope.cancelled_caught
    finally:
        gate.set()


async def test_a_timeout_before_sending_had_no_effect(context: Any) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    end = bad(await exchange({"url": "http://example.com/", "timeout": 0.05}, context, resolve=resolve))
    assert (end.code, end.no_effect) == ("timeout", True)


# --- sizes


async def test_a_large_body_is_cut_and_kept(server: Server, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KEPT", 200_000)
    server.answers["/big"] = answering(200, b"x" * 1_000_000)
    end = await ask(server, context, "/big")
    assert isinstance(end, Done)
    assert len(dumps(end.output)) <= 65_536
    assert end.overflow is not None
    assert "more bytes were dropped" in end.overflow
    assert bad(await ask(server, context, "/big", output_json=True)).code == "invalid_output"


async def test_gzip_is_undone_and_a_bomb_is_cut(server: Server, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers["/z"] = answering(200, gzip.compress(b"hello"), Content_Encoding="gzip")
    assert done(await ask(server, context, "/z"))["body"] == "hello"
    monkeypatch.setattr(wire, "KEPT", 100_000)
    server.answers["/z"] = answering(200, gzip.compress(b"\1" * 50_000_000), Content_Encoding="gzip")
    end = await ask(server, context, "/z")
    assert isinstance(end, Done)
    assert len(end.overflow or "") < policy.KEPT


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"x" * 1000)[:-6]),
        ("br", b"x"),
        ("gzip, gzip", gzip.compress(b"x")),
        ("deflate", zlib.compress(b"x")),
    ],
)
async def test_encodings_that_are_broken_or_were_not_asked_for(
    server: Server, context: Any, encoding: str, body: bytes
) -> None:
    server.answers["/z"] = answering(200, body, Content_Encoding=encoding)
    assert bad(await ask(server, context, "/z")).code == "tool_error"


# --- redirects


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "GET", "GET", b""), (302, "GET", "GET", b""), (303, "POST", "GET", b""), (301, "POST", "GET", b""),
        (302, "POST", "GET", b""), (307, "POST", "POST", b"{}"), (308, "PUT", "PUT", b"{}"), (302, "PUT", "PUT", b"{}"),
        (303, "HEAD", "HEAD", b""),
    ],
)  # fmt: skip
async def test_redirects(server: Server, context: Any, status: int, method: str, then: str, body: bytes) -> None:
    server.answers["/from"] = answering(status, Location="/to")
    request = {} if method in ("GET", "HEAD") else {"json": {}}
    assert done(await ask(server, context, "/from", method=method, follow=True, **request))["status"] == 200
    assert (server.seen[1].method, server.seen[1].path, server.seen[1].body) == (then, "/to", body)
    assert ("content-type" in server.seen[1].headers) == bool(body)


async def test_redirects_are_followed_for_reading_only_unless_asked_for(server: Server, context: Any) -> None:
    server.answers["/from"] = answering(302, Location="/to")
    assert done(await ask(server, context, "/from"))["status"] == 200
    assert bad(await ask(server, context, "/from", json={})).status == 302
    assert bad(await ask(server, context, "/from", follow=False)).status == 302
    assert done(await ask(server, context, "/from", follow=0, expect=["3xx"]))["headers"]["location"] == "/to"


async def test_redirects_end(server: Server, context: Any) -> None:
    server.answers["/loop"] = answering(302, Location="/loop")
    assert "more than 3 redirects" in bad(await ask(server, context, "/loop", follow=3)).message
    assert len(server.seen) == 4


async def test_secrets_stay_within_their_origin(server: Server, other: Server, contexts: Any) -> None:
    contexts.secrets["KEY"] = "hunter2-key"
    marker = secret_marker("KEY")
    server.answers["/here"] = answering(307, Location="/again")
    server.answers["/again"] = answering(307, Location=other.url("/there"))
    headers = {"X-Key": marker, "Cookie": "a=b", "X-Open": "1"}
    request = {"headers": headers, "auth": {"bearer": marker}, "follow": True, "json": {"a": 1}}
    assert done(await ask(server, contexts(), "/here", **request))["status"] == 200
    assert server.seen[1].headers["x-key"] == "hunter2-key"
    assert server.seen[1].headers["authorization"] == "Bearer hunter2-key"
    there = other.seen[0]
    assert there.headers["x-open"] == "1"
    assert there.headers["host"] == f"127.0.0.1:{other.port}"
    assert there.body == b'{"a":1}'
    assert not {"x-key", "authorization", "cookie"} & set(there.headers)


async def test_a_url_of_a_models_choice_makes_no_reference_to_a_secret(server: Server, contexts: Any) -> None:
    contexts.secrets["KEY"] = "hunter2-key"
    end = await ask(server, contexts(), "/%00secret:KEY%00/%00secret%3AKEY%00")
    assert "hunter2" not in server.seen[0].path
    assert "hunter2" not in repr(end)


@pytest.mark.parametrize("value", [".", "..", "%2e"])
async def test_the_value_of_a_secret_does_not_climb_a_url(server: Server, contexts: Any, value: str) -> None:
    contexts.secrets |= {"KEY": value, "DOT": "."}
    marker = secret_marker("KEY")
    refused = value != "%2e"
    for path in (f"/a/{marker}", f"/a/{marker}/b", f"/a/{marker}?x", *([f"/a/.{marker}/b"] if value == "." else [])):
        end = await ask(server, contexts(), path)
        assert isinstance(end, Failed) is refused
        assert not isinstance(end, Failed) or end.no_effect
    assert [seen.path for seen in server.seen] == ([] if refused else ["/a/%252e", "/a/%252e/b", "/a/%252e?x"])
    server.seen.clear()
    assert done(await ask(server, contexts(), f"/a/b?x={marker}"))["status"] == 200


# --- hosts that are refused: the last column is a URL of the server, which must not be reached


SSRF = [
    "http://127.0.0.1:{port}/", "http://127.0.0.1.:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7F.0x0.0x0.0x1:{port}/",
    "http://017700000001:{port}/", "http://0177.0.0.1:{port}/", "http://127.0.0.01:{port}/", "http://0:{port}/",
    "http://0.0.0.0:{port}/", "http://127.127.127.127:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/", "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/", "http://[2001:0:7f00:1::]:{port}/", "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/", "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/",
    "http://ip6-localhost:{port}/", "http://127\u30020\u30020\u30021:{port}/",
    "http://\u2460\u2461\u2466.0.0.1:{port}/", "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1%2f:{port}/", "http://user@127.0.0.1:{port}/",
    "http://u:p@localhost:{port}/", "http://public.example@127.0.0.1:{port}/",
    "http://public.example\\@127.0.0.1:{port}/", "http://public.example#@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@public.example/", "http://127.0.0.1:{port}\\.public.example/",
    "http://127.0.0.1:{port}?@public.example/", "//127.0.0.1:{port}/", "127.0.0.1:{port}", "http:127.0.0.1:{port}",
    "http:///127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "file:///etc/passwd", "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_x", "dict://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock", "data:text/plain,x", "javascript:1", "http+unix://%2Frun%2Fx/",
    "jar:http://127.0.0.1:{port}!/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
    "http://168.63.129.16/", "http://metadata:{port}/", "http://rebind.example:{port}/",
    "http://mixed.example:{port}/", "http://mapped.example:{port}/", "http://nat64.example:{port}/",
    "http://sixtofour.example:{port}/", "http://link.example:{port}/", "http://127.0.0.1:{port}/%0d%0aX",
    "http://[127.0.0.1]:{port}/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://:{port}/",
]  # fmt: skip
SSRF += [
    "http://127.0.0.1:{port}/\r\nX: y",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1 .example:{port}/",
    "http://127.0.0.1\t:{port}/",
    "",
    "http://",
]
NAMES = resolving(
    localhost=["127.0.0.1"], localhost_=["127.0.0.1"], ip6_localhost=["::1"], metadata=["169.254.169.254"],
    rebind_example=["127.0.0.1"], mixed_example=["93.184.216.34", "127.0.0.1"], mapped_example=["::ffff:127.0.0.1"],
    nat64_example=["64:ff9b::7f00:1"], sixtofour_example=["2002:7f00:1::"], link_example=["fe80::1"],
    **{"ip6-localhost": ["::1"]},
)  # fmt: skip


def test_the_table_is_long_enough() -> None:
    assert len(set(SSRF)) >= 60


async def test_no_refused_url_is_connected_to(server: Server, context: Any) -> None:
    """The resolver knows no public name: nothing leaves this machine."""
    for row in SSRF:
        url = row.replace("{port}", str(server.port))
        end = bad(await exchange({"url": url, "timeout": 5}, context, resolve=NAMES))
        assert end.no_effect, url
        assert end.code == "tool_error" or end.message.startswith("public.example: "), (url, end)
    assert server.connections == 0


async def test_no_redirect_leads_to_a_refused_url(server: Server, other: Server, context: Any) -> None:
    allowed = [f"127.0.0.1:{server.port}"]
    for row in SSRF:
        target = row.replace("{port}", str(other.port)).strip(" ")
        if "\r" in target or "\t" in target or not target.isascii() or target in ("", f"127.0.0.1:{other.port}"):
            continue
        server.answers["/r"] = answering(302, Location=target)
        request = {"url": server.url("/r"), "allow_private": allowed, "timeout": 5}
        end = await exchange(request, context, resolve=NAMES)
        if target.startswith(("http:127", "http:/127", "http:///127")):
            continue  # paths of the same server, as the URL standard has it
        assert not isinstance(end, Done), (target, end)
    assert other.connections == 0


async def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    server: Server, context: Any
) -> None:
    """The first answer is used for the check and for the connection; there is no second question."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    request = {"url": server.url(host="rebind.example"), "timeout": 1}
    assert bad(await exchange(request, context, resolve=resolve)).no_effect
    assert (asked, server.connections) == (["rebind.example"], 0)
    assert bad(await exchange(request, context, resolve=resolve)).no_effect
    assert server.connections == 0


@pytest.mark.parametrize("allow", [True, ["127.0.0.1"], ["127.0.0.0/8"], "port"])
async def test_hosts_that_are_allowed_pass(server: Server, context: Any, allow: Any) -> None:
    allow = [f"127.0.0.1:{server.port}"] if allow == "port" else allow
    assert done(await ask(server, context, allow_private=allow))["status"] == 200
    assert done(await ask(server, context, "/x?u=http://10.0.0.1/", allow_private=allow))["status"] == 200


@pytest.mark.parametrize(
    "allow", [None, False, [], ["localhost"], ["10.0.0.0/8"], ["127.0.0.1:1"], ["127.0.0.2"], ["example.com"]]
)
async def test_hosts_that_are_not_allowed_do_not(server: Server, context: Any, allow: Any) -> None:
    assert bad(await ask(server, context, allow_private=allow)).no_effect
    assert server.connections == 0


async def test_proxies_of_the_environment_are_not_used(
    server: Server, other: Server, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, other.url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert done(await ask(server, context))["status"] == 200
    assert (server.connections, other.connections) == (1, 0)


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=tls.example", "-addext", "subjectAltName=DNS:tls.example"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert), *names], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + cert.read_text())
    return both


async def test_certificates_are_checked_against_the_name(
    certificate: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    resolve = resolving(tls_example=["127.0.0.1"], wrong_example=["127.0.0.1"])
    for server in serve(str(certificate)):
        good = {"url": server.url("/x", host="tls.example", scheme="https"), "allow_private": True}
        assert done(await exchange(good, context, resolve=resolve))["status"] == 200
        assert server.seen[0].headers["host"] == f"tls.example:{server.port}"
        for host in ("wrong.example", "127.0.0.1"):
            wrong = {"url": server.url("/x", host=host, scheme="https"), "allow_private": True}
            end = bad(await exchange(wrong, context, resolve=resolve))
            assert (end.code, end.no_effect) == ("tool_error", True)
            assert "CERTIFICATE_VERIFY_FAILED" in end.message
        assert len(server.seen) == 1


async def test_a_certificate_that_nobody_signed_is_refused(
    certificate: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for server in serve(str(certificate)):
        request = {"url": server.url(host="tls.example", scheme="https"), "allow_private": True}
        end = bad(await exchange(request, context, resolve=resolving(tls_example=["127.0.0.1"])))
        assert end.no_effect
        assert "CERTIFICATE_VERIFY_FAILED" in end.message
        assert server.seen == []
