"""A server on the loopback that speaks the Messages wire format from a script, and notes each call before it answers.

In a test::

    with MessagesServer([{"content": [text("Hello")]}]) as server:
        ...  # base_url: server.url

As a process of its own, which outlives the one under test::

    python -m tests.wire.messages_server --port 0 --script script.json --log calls.jsonl

It prints its port on one line, and ends with its parent. The log has one JSON line per request, synced to the disk
before the first byte of the answer: ``{"call", "reply", "name", "path", "headers", "body"}``, so that counting lines
counts calls.

A script is a list of replies (or ``{"replies": […]}``). Each request gets the first one that fits and has ``times``
left; where there is none, HTTP 400. A reply:

``when``     what must hold, all of it: ``last`` (text in the last message), ``contains`` (text anywhere in the body),
             ``system``, ``model``, ``turn`` (assistant messages so far, plus 1), ``results`` (tool results in the last
             message)
``times``    how often it may be given: 1; null for any number
``delay``    seconds before the answer
``name``     for the log

and one of

``content``  blocks of a good message, with ``stop_reason`` (``tool_use`` if a block is one, else ``end_turn``),
             ``stop_sequence``, ``stop_details``, ``usage``, ``model``, ``id``, ``chunk`` (characters in a delta: 8).
             A ``tool_use`` block may have ``partial`` (text) instead of ``input``. Unknown blocks are sent whole
``events``   ``[[name, data], …]``, sent as they are (data that is text: byte for byte)
``error``    ``{type, message}``, with ``status``
``json``     a value, as application/json
``raw``      text, with ``content_type`` (text/html)

``status`` (200) and ``headers`` go with any of them. A stream may go wrong: ``cut_after`` N events the connection is
cut, ``end_after`` N events the stream ends as if it were whole, ``error_after: [N, type, message]`` sends an error
event there; ``pause`` is in seconds between events, ``split`` the size of the pieces in bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.parents import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

USAGE = {"input_tokens": 10, "output_tokens": 5}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def tool_use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


class MessagesServer:
    """The server in this process, on a thread of its own. ``calls`` are the lines of the log."""

    def __init__(self, script: Any, *, port: int = 0, log: Path | None = None) -> None:
        self._replies: list[dict[str, Any]] = script["replies"] if isinstance(script, dict) else script
        self._left = [reply.get("times", 1) for reply in self._replies]
        self._lock = threading.Lock()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self.calls: list[dict[str, Any]] = []
        self.under_way = self.most = 0
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def connections(self) -> int:
        """How many connections were made to it."""
        return self._server.made

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> MessagesServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_all()
        self._server.server_close()
        if self._log is not None:
            os.close(self._log)

    def choose(self, path: str, headers: dict[str, str], body: dict[str, Any], raw: str) -> tuple[dict[str, Any], int]:
        """The reply to a request and the number of the call, noted before it is given."""
        with self._lock:
            index = next(
                (
                    index
                    for index, reply in enumerate(self._replies)
                    if self._left[index] != 0 and self.fits(reply.get("when") or {}, path, body, raw)
                ),
                None,
            )
            reply = {
                "status": 400,
                "error": {"type": "invalid_request_error", "message": "no reply of the script fits"},
            }
            if index is not None:
                reply = self._replies[index]
                self._left[index] = None if self._left[index] is None else self._left[index] - 1
            line = {"call": len(self.calls) + 1, "reply": index, "name": reply.get("name")}
            line |= {"path": path, "headers": headers, "body": body}
            self.calls.append(line)
            if self._log is not None:
                os.write(self._log, json.dumps(line).encode() + b"\n")
                os.fsync(self._log)
        return reply, line["call"]

    def entered(self, by: int) -> None:
        """Count the calls that are under way at once: ``most`` is the highest count."""
        with self._lock:
            self.under_way += by
            self.most = max(self.most, self.under_way)

    def fits(self, when: dict[str, Any], path: str, body: dict[str, Any], raw: str) -> bool:
        """Whether all of ``when`` holds of a request."""
        del path
        return _fits(when, body, raw)

    def events(self, path: str, reply: dict[str, Any], call: int) -> list[tuple[str, Any]]:
        """The events of a good reply, with their names."""
        del path
        return list(message_events(reply, call=call))


def _fits(when: dict[str, Any], body: dict[str, Any], raw: str) -> bool:
    messages = body.get("messages") or [{"role": "user", "content": ""}]
    last = messages[-1]["content"]
    blocks = last if isinstance(last, list) else []
    facts = {
        "last": lambda want: want in json.dumps(last, ensure_ascii=False),
        "contains": lambda want: want in raw,
        "system": lambda want: want in json.dumps(body.get("system"), ensure_ascii=False),
        "model": lambda want: want == body.get("model"),
        "turn": lambda want: want == 1 + sum(message["role"] == "assistant" for message in messages),
        "results": lambda want: want == sum(block.get("type") == "tool_result" for block in blocks),
    }
    return all(facts[key](want) for key, want in when.items())


def message_events(reply: dict[str, Any], *, call: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a good message."""
    content = reply["content"]
    usage = {**USAGE, **(reply.get("usage") or {})}
    calls_tools = any(block["type"] == "tool_use" for block in content)
    stop = reply.get("stop_reason", "tool_use" if calls_tools else "end_turn")
    message = {
        "id": reply.get("id", f"msg_{call}"),
        "type": "message",
        "role": "assistant",
        "model": reply.get("model", "claude-wire"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield "message_start", {"message": message}
    yield "ping", {}
    for index, block in enumerate(content):
        begun, deltas = _parts(block, reply.get("chunk", 8))
        yield "content_block_start", {"index": index, "content_block": begun}
        for delta in deltas:
            yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    delta = {"stop_reason": stop, "stop_sequence": reply.get("stop_sequence")}
    if "stop_details" in reply:
        delta["stop_details"] = reply["stop_details"]
    yield "message_delta", {"delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
    yield "message_stop", {}


def _parts(block: dict[str, Any], chunk: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and what is added to it."""

    def pieces(whole: str) -> list[str]:
        return [whole[start : start + chunk] for start in range(0, len(whole), chunk)]

    match block["type"]:
        case "text":
            said = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations") or []]
            return {**block, "text": "", **({"citations": []} if cited else {})}, said + cited
        case "thinking":
            thought = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*thought, signed]
        case "tool_use":
            whole = block["partial"] if "partial" in block else json.dumps(block["input"], ensure_ascii=False)
            begun = {key: value for key, value in block.items() if key != "partial"}
            given = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(whole)]]
            return {**begun, "input": {}}, given
        case _:
            return block, []


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], owner: MessagesServer) -> None:
        self.owner = owner
        self.open: set[socket.socket] = set()
        self.made = 0
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.made += 1
        super().process_request(request, client_address)

    def cut_all(self) -> None:
        """Cut the connections that clients keep for later, so that their threads end."""
        for each in list(self.open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        pass

    def handle(self) -> None:
        # A client may leave at any point: that is its right.
        with contextlib.suppress(OSError):
            super().handle()

    def do_POST(self) -> None:  # noqa: N802  # the name is the base class's
        raw = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        owner = self.server.owner
        reply, call = owner.choose(self.path, headers, body, raw)
        owner.entered(1)
        try:
            self._answer(reply, call)
        finally:
            owner.entered(-1)

    def _answer(self, reply: dict[str, Any], call: int) -> None:
        self.server.owner.ended.wait(reply.get("delay", 0))
        if "content" in reply or "events" in reply:
            self._stream(reply, call)
        elif "error" in reply:
            said = {"type": "error", "error": reply["error"], "request_id": f"req_{call}"}
            self._whole(reply, call, json.dumps(said), "application/json")
        elif "json" in reply:
            self._whole(reply, call, json.dumps(reply["json"]), "application/json")
        else:
            self._whole(reply, call, reply["raw"], reply.get("content_type", "text/html"))

    def _begin(self, reply: dict[str, Any], call: int, content_type: str) -> None:
        self.send_response(reply.get("status", 200))
        self.send_header("content-type", content_type)
        self.send_header("request-id", f"req_{call}")
        self.send_header("x-request-id", f"req_{call}")
        for name, value in (reply.get("headers") or {}).items():
            self.send_header(name, str(value))

    def _whole(self, reply: dict[str, Any], call: int, said: str, content_type: str) -> None:
        data = said.encode()
        self._begin(reply, call, content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: dict[str, Any], call: int) -> None:
        self._begin(reply, call, "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = reply["events"] if "events" in reply else self.server.owner.events(self.path, reply, call)
        failed_at, *failure = reply.get("error_after") or [None]
        for index, (name, data) in enumerate(events):
            if index == reply.get("cut_after"):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if index == reply.get("end_after"):
                break
            if index == failed_at:
                self._event("error", {"error": {"type": failure[0], "message": failure[1]}}, reply)
                break
            self._event(name, data, reply)
            self.server.owner.ended.wait(reply.get("pause", 0))
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, name: str, data: Any, reply: dict[str, Any]) -> None:
        # Chunks of chat completions have no names.
        typed = {"type": name} if name else {}
        said = data if isinstance(data, str) else json.dumps({**typed, **data}, ensure_ascii=False)
        named = f"event: {name}\n" if name else ""
        whole = f"{named}data: {said}\n\n".encode()
        size = reply.get("split") or len(whole)
        for start in range(0, len(whole), size):
            piece = whole[start : start + size]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    die_with_parent(os.getppid())
    with MessagesServer(json.loads(options.script.read_text()), port=options.port, log=options.log) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.ended.wait()


if __name__ == "__main__":
    main()
