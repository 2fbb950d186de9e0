"""The server as a process of its own: its port, its log, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.wire.messages_server import MessagesServer, text, tool_use

if TYPE_CHECKING:
    from pathlib import Path


def ask(url: str, *said: dict[str, Any], **more: Any) -> httpx2.Response:
    body = {"model": "m", "messages": list(said), **more}
    with httpx2.Client(trust_env=False) as client:
        return client.post(f"{url}/v1/messages", json=body)


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": [text(words)]}


def names(answer: httpx2.Response) -> list[str]:
    return [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]


def test_a_process_tells_its_port_and_notes_calls_before_it_answers(tmp_path: Path) -> None:
    script, log = tmp_path / "script.json", tmp_path / "calls.jsonl"
    script.write_text(
        json.dumps({"replies": [{"content": [text("one")], "name": "first"}, {"json": {}, "times": None}]})
    )
    command = [sys.executable, "-m", "tests.wire.messages_server", "--port", "0", "--script", script, "--log", log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        try:
            for count in range(1, 4):
                ask(url, user(f"call {count}"))
                assert len(log.read_text().splitlines()) == count
        finally:
            server.terminate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["call"], line["reply"], line["name"]) for line in lines] == [
        (1, 0, "first"),
        (2, 1, None),
        (3, 1, None),
    ]
    assert lines[2]["body"]["messages"] == [user("call 3")]


def test_a_reply_goes_to_the_request_that_it_fits() -> None:
    assistant = {"role": "assistant", "content": [tool_use("a", "t")]}
    results = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}
    script = [
        {"name": "results", "when": {"results": 1, "turn": 2}, "json": {}},
        {"name": "system", "when": {"system": "brief", "model": "m"}, "json": {}},
        {"name": "last", "when": {"last": "größe"}, "json": {}},
        {"name": "anywhere", "when": {"contains": "needle"}, "json": {}},
    ]
    with MessagesServer(script) as server:
        ask(server.url, user("where is the needle"), assistant, user("x"))
        ask(server.url, user("the größe"))
        ask(server.url, user("x"), system="be brief")
        ask(server.url, user("x"), assistant, results)
        assert ask(server.url, user("x"), assistant, results).status_code == 400
        assert [call["name"] for call in server.calls] == ["anywhere", "last", "system", "results", None]


def test_a_message_has_the_events_of_the_wire() -> None:
    with MessagesServer([{"content": [text("hello, all"), tool_use("a", "t", x=1)], "chunk": 100}]) as server:
        answer = ask(server.url, user("x"))
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    call = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    assert names(answer) == ["message_start", "ping", *block, *call, "message_delta", "message_stop"]
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_stream_breaks_where_the_script_says() -> None:
    script = [
        {"content": [text("x")], "end_after": 3},
        {"content": [text("x")], "error_after": [2, "overloaded_error", "no"]},
        {"content": [text("x")], "cut_after": 2},
    ]
    with MessagesServer(script) as server:
        assert names(ask(server.url, user("x"))) == ["message_start", "ping", "content_block_start"]
        assert names(ask(server.url, user("x"))) == ["message_start", "ping", "error"]
        with pytest.raises(httpx2.RemoteProtocolError):
            ask(server.url, user("x"))
