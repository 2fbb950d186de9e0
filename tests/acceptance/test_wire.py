"""Agents over the Messages wire format, through the whole stack: what comes back, what goes out, what is recorded."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.app.pipeline import read_pipeline
from orchestrator.app.services import build_services, secrets_of
from orchestrator.clock import SystemClock
from orchestrator.engine.host import Host, Settings
from orchestrator.engine.verify import verify
from orchestrator.journal.state import fold
from orchestrator.stores import open_store
from orchestrator.tools.redact import Redactor
from tests.acceptance.test_cli import document, orch
from tests.wire.messages_server import MessagesServer, text, tool_use

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.engine.host import Event, RunEnd
    from orchestrator.journal.records import Record

pytestmark = pytest.mark.anyio

PIPELINE = """\
version: 1
name: wire
models:
  default:
    provider: anthropic
    model: claude-wire
    base_url: URL
    max_tokens: 100
    cache: false
    price: {input: 1, output: 5}
tools:
  note:
    shell: {script: "echo \\"$1\\" >> noted; echo \\"noted $1\\"", args: ["${{ args.what }}"]}
    input: {what: string}
    effect: idempotent
steps:
  talk:
    agent: {instructions: Be brief., tools: [note]}
    prompt: Go.
    RETRY
outputs:
  said: ${{ steps.talk.output }}
"""
RETRY = "retry: {attempts: 3, delay: 10ms, on: [rate_limit, unavailable]}"
PRICE = 10 * 1 + 5 * 5
"""Micro-dollars of a call with the server's usual usage: 10 tokens in, 5 out."""


class Bench:
    """A pipeline, a store, and whatever hosts a test wants, one after the other."""

    def __init__(self, folder: Path, url: str, *, retry: str = RETRY) -> None:
        self.folder = folder
        self.file = folder / "wire.yaml"
        self.file.write_text(PIPELINE.replace("URL", url).replace("RETRY", retry))
        self.store = f"sqlite:///{folder / 'x.db'}"
        self.events: list[Event] = []
        self.tool_began = anyio.Event()

    def listen(self, event: Event) -> None:
        self.events.append(event)
        if event.record is not None and event.path.endswith("/tool0"):
            self.tool_began.set()

    @asynccontextmanager
    async def host(self) -> AsyncGenerator[Host]:
        self.graph = read_pipeline(str(self.file)).graph
        secrets = secrets_of(self.graph)
        services = build_services(secrets, redactor=Redactor(secrets), files_folder=self.folder / "files")
        store = open_store(self.store)
        await store.open()
        try:
            async with Host(
                store=store,
                services=services,
                clock=SystemClock(),
                settings=Settings(grace=2),
                listen=self.listen,
            ) as host:
                yield host
        finally:
            await services.provider("anthropic").aclose()
            await store.aclose()

    async def run(self) -> tuple[RunEnd, list[Record]]:
        async with self.host() as host:
            end = await host.start(self.graph, inputs={}, run_id="r", folder=str(self.folder))
            records = await host.store.load("r")
        assert verify(self.graph, records, run_id="r") is None
        return end, records

    @property
    def noted(self) -> list[str]:
        file = self.folder / "noted"
        return file.read_text().split() if file.exists() else []


def calls_of(records: list[Record]) -> list[tuple[Record, Record]]:
    """The model attempts: each ``started`` with its end."""
    ends = {
        (r.path, r.body["attempt"]): r
        for r in records
        if r.kind in ("done", "failed", "cancelled") and "/turn" in r.path
    }
    begun = [r for r in records if r.kind == "started" and r.body["what"] == "model"]
    return [(record, ends[record.path, record.body["attempt"]]) for record in begun]


def sent(server: MessagesServer, call: int) -> list[dict[str, Any]]:
    return server.calls[call]["body"]["messages"]


async def play(
    folder: Path, *replies: dict[str, Any], retry: str = RETRY
) -> tuple[RunEnd, list[Record], MessagesServer, Bench]:
    """Run the pipeline against a script. Every request at the server is a ``started`` of a model call with its end."""
    with MessagesServer(list(replies)) as server:
        bench = Bench(folder, server.url, retry=retry)
        end, records = await bench.run()
    attempts = calls_of(records)
    assert len(attempts) == len(server.calls)
    for begun, ended in attempts:
        assert begun.body["reserve"]["usd"] > 0
        assert begun.body["hash"]
        assert {"cost", "tokens"} <= ended.body.keys()
    state = fold(records)
    assert end.spend == state.spend == sum(_charged(begun, ended) for begun, ended in attempts)
    return end, records, server, bench


def _charged(begun: Record, ended: Record) -> int:
    """What an attempt cost: what its end says, and where that is not known, all that was reserved."""
    cost = ended.body.get("cost", 0)
    return begun.body["reserve"]["usd"] if cost is None else cost


# --- replies that are good ---


async def test_text_streams_and_is_the_output(tmp_path: Path) -> None:
    end, records, server, bench = await play(tmp_path, {"content": [text("Hello, wire.")], "chunk": 3})
    assert (end.status, end.outputs) == ("done", {"said": "Hello, wire."})
    assert "".join(event.text for event in bench.events if event.kind == "text") == "Hello, wire."
    assert len([event for event in bench.events if event.kind == "text"]) == 4
    ((_, ended),) = calls_of(records)
    assert ended.body["usage"] == {"input": 10, "output": 5}
    assert (ended.body["cost"], ended.body["tokens"], end.tokens) == (PRICE, 15, 15)
    assert ended.body["reply"]["request_id"] == "req_1"
    assert sent(server, 0) == [{"role": "user", "content": [{"type": "text", "text": "Go."}]}]
    assert server.calls[0]["body"]["system"] == [{"type": "text", "text": "Be brief."}]


async def test_a_tool_runs_and_its_result_goes_back(tmp_path: Path) -> None:
    end, records, server, bench = await play(
        tmp_path,
        {"content": [text("Let me see."), tool_use("c1", "note", what="one")]},
        {"content": [text("Done.")], "when": {"results": 1}},
    )
    assert end.outputs == {"said": "Done."}
    assert bench.noted == ["one"]
    question, answer = sent(server, 1)[1:]
    assert question == {"role": "assistant", "content": [text("Let me see."), tool_use("c1", "note", what="one")]}
    (result,) = answer["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", "c1")
    assert json.loads(result["content"]) == {"exit": 0, "stdout": "noted one\n", "stderr": ""}
    assert [(r.kind, r.path) for r in records if "tool" in r.path] == [
        ("started", "talk/turn1/tool0"),
        ("done", "talk/turn1/tool0"),
    ]


async def test_parallel_calls_run_each_and_answer_in_call_order(tmp_path: Path) -> None:
    uses = [tool_use(f"c{index}", "note", what=f"n{index}") for index in range(5)]
    _, _, server, bench = await play(
        tmp_path, {"content": [*uses, tool_use("bad", "note"), tool_use("no", "nothing")]}, {"content": [text("Done.")]}
    )
    assert sorted(bench.noted) == [f"n{index}" for index in range(5)]
    results = sent(server, 1)[-1]["content"]
    assert [result["tool_use_id"] for result in results] == ["c0", "c1", "c2", "c3", "c4", "bad", "no"]
    assert [result.get("is_error", False) for result in results] == [False] * 5 + [True] * 2


SIGNATURE = 'EqQBCgIYAhIkb64+/Zm9v==\\u00e9 é \\n\t"' + "A" * 300
THINKING = {
    "type": "thinking",
    "thinking": "Hm…\n first 1, then 2\u2028",
    "signature": SIGNATURE,
    "extra": {"kept": [1.5, None]},
}
REDACTED = {"type": "redacted_thinking", "data": "b64//+=="}


async def test_thinking_goes_back_byte_for_byte_also_after_a_resume(tmp_path: Path) -> None:
    script = [
        {"content": [THINKING, REDACTED, text("So."), tool_use("c1", "note", what="one")]},
        {"content": [THINKING, tool_use("c2", "note", what="two")]},
        {"content": [text("Done.")], "times": None},
    ]
    with MessagesServer(script) as server:
        bench = Bench(tmp_path, server.url)
        async with bench.host() as host, anyio.create_task_group() as tasks:

            async def start() -> None:
                assert (await host.start(bench.graph, inputs={}, run_id="r", folder=str(tmp_path))).status == "stopped"

            tasks.start_soon(start)
            await bench.tool_began.wait()
            host.stop(now=True)
        async with bench.host() as host:
            assert (await host.resume("r")).outputs == {"said": "Done."}
            records = await host.store.load("r")
    done = [ended for _, ended in calls_of(records) if ended.kind == "done"]
    assert done[0].body["reply"]["content"] == script[0]["content"]
    last = sent(server, -1)
    assert last[1] == {"role": "assistant", "content": script[0]["content"]}
    assert last[3] == {"role": "assistant", "content": script[1]["content"]}
    assert sum("signature" in json.dumps(r.body) for r in done) == 2
    assert verify(bench.graph, records, run_id="r") is None


async def test_a_paused_turn_is_sent_again_as_it_stands(tmp_path: Path) -> None:
    end, records, server, _ = await play(
        tmp_path, {"content": [text("Still looking")], "stop_reason": "pause_turn"}, {"content": [text("Found.")]}
    )
    assert end.outputs == {"said": "Found."}
    assert sent(server, 1)[-1] == {"role": "assistant", "content": [text("Still looking")]}
    assert [r.path for r, _ in calls_of(records)] == ["talk/turn1", "talk/turn2"]


# --- replies that end the step ---


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"content": [text("No.")], "stop_reason": "refusal"}, "refusal"),
        ({"content": [text("No."), tool_use("c", "note", what="x")], "stop_reason": "refusal"}, "refusal"),
        ({"content": [text("Well")], "stop_reason": "max_tokens"}, "max_tokens"),
        ({"content": [tool_use("c", "note", what="x")], "stop_reason": "max_tokens"}, "max_tokens"),
        ({"content": [{"type": "tool_use", "id": "c", "name": "note", "partial": '{"what": "x'}], "stop_reason": "max_tokens"}, "max_tokens"),
        ({"content": [tool_use("c", "note", what="x")], "stop_reason": "end_turn"}, "invalid_reply"),
        ({"content": [tool_use("c", "note", what="x")], "stop_reason": "stop_sequence"}, "invalid_reply"),
        ({"content": [text("x")], "stop_reason": "model_context_window_exceeded"}, "context"),
    ],
)  # fmt: skip
async def test_a_turn_that_ended_for_another_reason_runs_no_tool_and_fails(
    tmp_path: Path, reply: dict[str, Any], code: str
) -> None:
    end, records, server, bench = await play(tmp_path, reply, {"content": [text("never asked")]})
    assert end.error is not None
    assert (end.status, end.error["code"], end.error["step"]) == ("failed", code, "talk")
    assert bench.noted == []
    assert not [r for r in records if r.kind == "started" and "/tool" in r.path]
    assert len(server.calls) == 1
    assert [ended.kind for _, ended in calls_of(records)] == ["done"]
    assert end.spend == PRICE


@pytest.mark.parametrize(
    ("reply", "spend"),
    [
        ({"content": [text("x")], "stop_reason": "tired"}, PRICE),
        ({"content": [text("x")], "stop_reason": None}, PRICE),
        ({"content": [{"type": "hologram", "data": "x"}, tool_use("c", "note", what="x")]}, PRICE),
        ({"raw": "<html>Sign in</html>"}, None),
        ({"json": {"type": "message", "content": "wrong"}}, None),
        ({"json": []}, None),
        ({"events": [["message_start", {"message": {"role": "user", "content": []}}]]}, None),
        ({"events": [["message_start", "this is no JSON"]]}, None),
    ],
)
async def test_what_is_no_reply_fails_loudly_and_runs_no_tool(
    tmp_path: Path, reply: dict[str, Any], spend: int | None
) -> None:
    end, records, server, bench = await play(tmp_path, reply, {"content": [text("never asked")]})
    assert end.error is not None
    assert (end.status, end.error["code"]) == ("failed", "invalid_reply")
    assert bench.noted == []
    assert len(server.calls) == 1
    ((begun, ended),) = calls_of(records)
    assert (ended.kind, ended.body["code"]) == ("failed", "invalid_reply")
    assert end.spend == (begun.body["reserve"]["usd"] if spend is None else spend)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(400, "invalid_request_error", "bad_request"), (401, "authentication_error", "auth"), (413, "request_too_large", "context")],
)  # fmt: skip
async def test_a_refused_request_is_not_sent_again_and_costs_nothing(
    tmp_path: Path, status: int, kind: str, code: str
) -> None:
    end, _, server, _ = await play(
        tmp_path, {"status": status, "error": {"type": kind, "message": "no"}, "times": None}
    )
    assert end.error is not None
    assert (end.error["code"], end.error["status"], end.spend) == (code, status, 0)
    assert len(server.calls) == 1


# --- attempts ---

GOOD = {"content": [text("At last.")]}


@pytest.mark.parametrize(
    ("reply", "code", "cost"),
    [
        ({"status": 429, "error": {"type": "rate_limit_error", "message": "slow down"}}, "rate_limit", 0),
        ({"status": 529, "error": {"type": "overloaded_error", "message": "busy"}}, "unavailable", 0),
        ({"status": 503, "raw": "<html>gone</html>"}, "unavailable", None),
        ({"content": [text("Half"), tool_use("c", "note", what="x")], "cut_after": 5}, "unavailable", None),
        ({"content": [text("Half"), tool_use("c", "note", what="x")], "end_after": 11}, "unavailable", PRICE),
        ({"content": [text("Half")], "error_after": [4, "overloaded_error", "no more"]}, "unavailable", None),
        ({"content": [text("Half")], "end_after": 3}, "unavailable", None),
    ],
)
async def test_an_attempt_that_failed_is_a_record_and_the_next_one_begins_anew(
    tmp_path: Path, reply: dict[str, Any], code: str, cost: int | None
) -> None:
    end, records, server, bench = await play(tmp_path, reply, {**reply, "times": 1}, GOOD)
    assert end.outputs == {"said": "At last."}
    assert bench.noted == []
    attempts = calls_of(records)
    assert [begun.body["attempt"] for begun, _ in attempts] == [1, 2, 3]
    assert [ended.body.get("code") for _, ended in attempts] == [code, code, None]
    assert len({begun.path for begun, _ in attempts}) == len({begun.body["hash"] for begun, _ in attempts}) == 1
    # Nothing of a failed attempt is in the next request.
    assert sent(server, 0) == sent(server, 1) == sent(server, 2)
    assert [ended.body["cost"] for _, ended in attempts] == [cost, cost, PRICE]


async def test_attempts_are_bounded(tmp_path: Path) -> None:
    busy = {"status": 529, "error": {"type": "overloaded_error", "message": "busy"}, "times": None}
    end, _, server, _ = await play(tmp_path, busy)
    assert end.error is not None
    assert (end.status, end.error["code"], len(server.calls)) == ("failed", "unavailable", 3)


async def test_a_rate_limit_is_waited_out(tmp_path: Path) -> None:
    limited = {
        "status": 429,
        "error": {"type": "rate_limit_error", "message": "slow"},
        "headers": {"retry-after-ms": "400"},
    }
    end, records, _, _ = await play(tmp_path, limited, GOOD)
    assert end.status == "done"
    (_, failed), (begun, _) = calls_of(records)
    assert failed.body["retry_at"] >= failed.at + 390_000  # decided a moment before it is written
    assert begun.at >= failed.body["retry_at"]


async def test_the_server_is_asked_no_more_once_the_agent_is_stopped(tmp_path: Path) -> None:
    """A timeout of the agent cuts the stream; the attempt is recorded as cancelled, and charged in full."""
    slow = {"content": [text("x" * 400)], "chunk": 1, "pause": 0.05, "times": None}
    with MessagesServer([slow]) as server:
        bench = Bench(tmp_path, server.url, retry="timeout: 300ms")
        end, records = await bench.run()
    assert end.error is not None
    assert (end.status, end.error["code"], len(server.calls)) == ("failed", "timeout", 1)
    ((begun, ended),) = calls_of(records)
    assert ended.kind == "cancelled"
    assert end.spend == begun.body["reserve"]["usd"]


# --- as a process ---


async def test_the_command_line_against_the_wire(tmp_path: Path) -> None:
    script = [
        {"status": 429, "error": {"type": "rate_limit_error", "message": "slow"}, "headers": {"retry-after": "1"}},
        {"content": [THINKING, tool_use("c1", "note", what="one"), tool_use("c2", "note", what="two")]},
        {"content": [text("Half")], "cut_after": 4},
        {"content": [text("Done by wire.")]},
    ]
    with MessagesServer(script) as server:
        bench = Bench(tmp_path, server.url)
        run = orch(
            tmp_path, "--json", "--store", bench.store, "run", str(bench.file), "--id", "r", "--events", "events"
        )
        assert document(run) == {"said": "Done by wire."}
        assert len(server.calls) == 4
        last = server.calls[-1]["body"]["messages"]
    assert last[1]["content"][0] == THINKING
    lines = [json.loads(line) for line in orch(tmp_path, "--store", bench.store, "export", "r").stdout.splitlines()]
    begun = [line for line in lines if line.get("kind") == "started" and line["body"]["what"] == "model"]
    assert len(begun) == 4
    kept = [
        line["body"]["reply"]["content"] for line in lines if line.get("kind") == "done" and "reply" in line["body"]
    ]
    assert kept[0][0] == THINKING
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert sum(event.get("kind") == "started" and event["path"].endswith(("turn1", "turn2")) for event in events) == 4
    assert orch(tmp_path, "--store", bench.store, "verify", "r").returncode == 0


async def test_a_key_that_is_refused_is_exit_4_and_a_failure_exit_1(tmp_path: Path) -> None:
    script = [
        {"status": 401, "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        {"content": [text("x")], "stop_reason": "refusal"},
    ]
    with MessagesServer(script) as server:
        bench = Bench(tmp_path, server.url)
        refused = orch(tmp_path, "--store", bench.store, "run", str(bench.file))
        failed = orch(tmp_path, "--store", bench.store, "run", str(bench.file))
    assert (refused.returncode, failed.returncode) == (4, 1), refused.stderr
    assert json.loads(failed.stdout)["error"]["code"] == "refusal"
