"""Agents over Chat Completions and Responses, and from one API to the other, through the whole stack."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
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
from tests.acceptance.test_cli import document, environment, orch
from tests.acceptance.test_wire import calls_of
from tests.wire.messages_server import text, tool_use
from tests.wire.openai_server import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.engine.host import Event, RunEnd
    from orchestrator.journal.records import Record

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["chat", "responses"])

TALK = """\
version: 1
name: wire
models:
  default:
    provider: openai
    model: gpt-wire
    api: API
    base_url: URL/v1
    max_tokens: 100
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
    retry: {attempts: 3, delay: 10ms, on: [rate_limit, unavailable]}
outputs:
  said: ${{ steps.talk.output }}
"""
STRUCTURED = TALK.replace("tools: [note]}", "tools: [note], output: {a: integer, b?: string}}")
PRICE = 10 * 1 + 5 * 5
"""Micro-dollars of a call with the server's usual usage: 10 tokens in, 5 out."""


class Bench:
    """A pipeline, a store, and whatever hosts a test wants, one after the other."""

    def __init__(self, folder: Path, url: str, pipeline: str, *, api: str = "chat") -> None:
        self.folder = folder
        self.file = folder / "wire.yaml"
        self.file.write_text(pipeline.replace("URL", url).replace("API", api))
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
                store=store, services=services, clock=SystemClock(), settings=Settings(grace=2), listen=self.listen
            ) as host:
                yield host
        finally:
            for name in ("openai", "anthropic"):
                await services.provider(name).aclose()
            await store.aclose()

    async def run(self) -> tuple[RunEnd, list[Record]]:
        async with self.host() as host:
            end = await host.start(self.graph, inputs={}, run_id="r", folder=str(self.folder))
            records = await host.store.load("r")
        assert verify(self.graph, records, run_id="r") is None
        assert (end.spend or 0) == fold(records).spend
        return end, records


async def play(
    folder: Path, *replies: dict[str, Any], api: str, pipeline: str = TALK
) -> tuple[RunEnd, list[Record], OpenAIServer, Bench]:
    with OpenAIServer(list(replies)) as server:
        bench = Bench(folder, server.url, pipeline, api=api)
        end, records = await bench.run()
    assert len(calls_of(records)) == len(server.calls)
    return end, records, server, bench


def said(server: OpenAIServer, call: int) -> list[dict[str, Any]]:
    body = server.calls[call]["body"]
    return body.get("messages") or body["input"]


@BOTH
async def test_text_streams_and_is_the_output(tmp_path: Path, api: str) -> None:
    end, records, _, bench = await play(tmp_path, {"content": [text("Hello, wire.")], "chunk": 3}, api=api)
    assert (end.status, end.outputs) == ("done", {"said": "Hello, wire."})
    assert [event.text for event in bench.events if event.kind == "text"] == ["Hel", "lo,", " wi", "re."]
    ((_, ended),) = calls_of(records)
    assert (ended.body["cost"], ended.body["tokens"], end.spend) == (PRICE, 15, PRICE)
    assert (ended.body["reply"]["model"], ended.body["reply"]["request_id"]) == ("gpt-wire", "req_1")


@BOTH
async def test_tools_run_and_their_results_go_back_in_call_order(tmp_path: Path, api: str) -> None:
    uses = [tool_use(f"c{index}", "note", what=f"n{index}") for index in range(4)]
    broken = {"type": "tool_use", "id": "bad", "name": "note", "partial": "{what"}
    end, _, server, bench = await play(
        tmp_path,
        {"content": [text("Let me see."), *uses, broken, tool_use("no", "nothing")]},
        {"content": [text("Done.")], "when": {"results": 6}},
        api=api,
    )
    assert end.outputs == {"said": "Done."}
    assert sorted((bench.folder / "noted").read_text().split()) == ["n0", "n1", "n2", "n3"]
    results = said(server, 1)[-6:]
    assert [one.get("tool_call_id") or one["call_id"] for one in results] == ["c0", "c1", "c2", "c3", "bad", "no"]
    contents = [one.get("content") or one["output"] for one in results]
    assert json.loads(contents[1]) == {"exit": 0, "stdout": "noted n1\n", "stderr": ""}
    assert "the arguments are no JSON object: {what" in contents[4]
    assert "no tool 'nothing'" in contents[5]


@BOTH
async def test_output_is_asked_for_natively_checked_here_and_mended(tmp_path: Path, api: str) -> None:
    end, _, server, _ = await play(
        tmp_path, {"content": [text('{"a": "x"}')]}, {"content": [text('{"a": 1}')]}, api=api, pipeline=STRUCTURED
    )
    assert end.outputs == {"said": {"a": 1}}
    body = server.calls[0]["body"]
    form = body["response_format"]["json_schema"] if api == "chat" else body["text"]["format"]
    assert (set(form["schema"]["properties"]), form["strict"]) == ({"a", "b"}, False)
    assert "does not fit the required JSON Schema" in json.dumps(said(server, 1)[-1])


@BOTH
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"status": 429, "error": {"message": "slow down"}}, "rate_limit"),
        ({"status": 503, "raw": "<html>gone</html>"}, "unavailable"),
        ({"content": [text("Half"), tool_use("c", "note", what="x")], "cut_after": 4}, "unavailable"),
        ({"content": [text("Half"), tool_use("c", "note", what="x")], "end_after": 4}, "unavailable"),
    ],
)
async def test_an_attempt_that_failed_is_a_record_and_the_next_one_begins_anew(
    tmp_path: Path, api: str, reply: dict[str, Any], code: str
) -> None:
    end, records, server, bench = await play(tmp_path, reply, {"content": [text("At last.")]}, api=api)
    assert end.outputs == {"said": "At last."}
    assert not (bench.folder / "noted").exists()
    (first, failed), (second, _) = calls_of(records)
    assert failed.body["code"] == code
    assert first.body["hash"] == second.body["hash"]
    assert said(server, 0) == said(server, 1)


@BOTH
@pytest.mark.parametrize(
    ("reply", "code", "exit_code"),
    [
        ({"status": 401, "error": {"code": "invalid_api_key", "message": "no"}}, "auth", 4),
        ({"status": 400, "error": {"code": "context_length_exceeded", "message": "no"}}, "context", 1),
        ({"content": [{"type": "refusal", "text": "No."}]}, "refusal", 1),
        ({"raw": "<html>Sign in</html>"}, "invalid_reply", 1),
    ],
)
async def test_what_ends_the_run_has_its_exit(
    tmp_path: Path, api: str, reply: dict[str, Any], code: str, exit_code: int
) -> None:
    with OpenAIServer([{**reply, "times": None}]) as server:
        bench = Bench(tmp_path, server.url, TALK, api=api)
        done = orch(tmp_path, "--store", bench.store, "run", str(bench.file))
        assert (done.returncode, len(server.calls)) == (exit_code, 1), done.stderr
    assert json.loads(done.stdout)["error"]["code"] == code


async def test_reasoning_goes_back_byte_for_byte_also_after_a_resume(tmp_path: Path) -> None:
    reasoning = {
        "type": "reasoning",
        "id": "rs",
        "summary": [],
        "encrypted_content": "gA+/==\u2028\t",
        "x": [1.5, None],
    }
    script = [
        {"content": [{"type": "item", "item": reasoning}, text("So."), tool_use("c1", "note", what="one")]},
        {"content": [text("Done.")], "times": None},
    ]
    with OpenAIServer(script) as server:
        bench = Bench(tmp_path, server.url, TALK, api="responses")
        async with bench.host() as host, anyio.create_task_group() as tasks:

            async def start() -> None:
                assert (await host.start(bench.graph, inputs={}, run_id="r", folder=str(tmp_path))).status == "stopped"

            tasks.start_soon(start)
            await bench.tool_began.wait()
            host.stop(now=True)
        async with bench.host() as host:
            assert (await host.resume("r")).outputs == {"said": "Done."}
    items = said(server, 1)
    assert items[1] == reasoning
    assert [one["type"] for one in items[1:]] == ["reasoning", "message", "function_call", "function_call_output"]


# --- from one API to the other ---

EITHER = """\
version: 1
name: either
models:
  default: {fallback: [claude, gpt]}
  claude:
    provider: anthropic
    model: claude-wire
    base_url: URL
    thinking: {tokens: 50}
    max_tokens: 100
    cache: false
    price: {input: 2, output: 10}
  gpt:
    provider: openai
    api: API
    model: gpt-wire
    base_url: URL/v1
    max_tokens: 200
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
outputs:
  said: ${{ steps.talk.output }}
"""
BUSY = {"status": 529, "error": {"type": "overloaded_error", "message": "busy"}}
SLOW = {"status": 429, "error": {"code": "rate_limit_exceeded", "message": "slow"}}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2ln+/=="}
REASONING = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gA+/=="}


def to_claude(**reply: Any) -> dict[str, Any]:
    return {"when": {"path": "/messages"}, **reply}


def to_gpt(**reply: Any) -> dict[str, Any]:
    return {"when": {"model": "gpt-wire"}, **reply}


def crossing(api: str) -> list[dict[str, Any]]:
    """Three turns: the first by the one, the second by the other, the third by the first again."""
    thought = (
        [{"type": "item", "item": REASONING}] if api == "responses" else [{"type": "thinking", "thinking": "aloud"}]
    )
    return [
        to_claude(content=[THINKING, text("First."), tool_use("toolu_1", "note", what="one")]),
        to_claude(**BUSY),
        to_gpt(content=[*thought, tool_use("call.2:functions", "note", what="two")]),
        to_claude(content=[text("Done.")], times=None),
    ]


def check_crossing(server: OpenAIServer, api: str) -> None:
    """Each was sent a conversation that it can read: its own thoughts and none of the other's, and all calls."""
    bodies = [call["body"] for call in server.calls]
    of_claude = [body for body, call in zip(bodies, server.calls, strict=True) if call["path"].endswith("/messages")]
    of_gpt = [body for body in bodies if body["model"] == "gpt-wire"]
    shown = json.dumps(of_gpt)
    assert "c2ln" not in shown
    items = of_gpt[-1].get("messages") or of_gpt[-1]["input"]
    if api == "chat":
        assert items[2]["tool_calls"][0]["id"] == items[3]["tool_call_id"] == "toolu_1"
    else:
        assert items[2]["call_id"] == items[3]["call_id"] == "toolu_1"
    last = of_claude[-1]["messages"]
    assert "gA+" not in json.dumps(last)
    assert "aloud" not in json.dumps(last)
    assert last[1]["content"] == [THINKING, text("First."), tool_use("toolu_1", "note", what="one")]
    (use,), (result,) = last[3]["content"], last[4]["content"]
    assert use["id"] == result["tool_use_id"]
    assert set(use["id"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    # The API refuses to think on over calls whose thoughts it does not see.
    assert of_claude[-1]["thinking"] == {"type": "disabled"}
    assert of_claude[0]["thinking"] == {"type": "enabled", "budget_tokens": 50}


@BOTH
async def test_a_conversation_moves_from_one_api_to_the_other_and_back(tmp_path: Path, api: str) -> None:
    end, records, server, bench = await play(tmp_path, *crossing(api), api=api, pipeline=EITHER)
    assert end.outputs == {"said": "Done."}
    assert (bench.folder / "noted").read_text().split() == ["one", "two"]
    check_crossing(server, api)
    attempts = calls_of(records)
    assert [(begun.path, begun.body["model"]["name"], begun.body["model"]["index"]) for begun, _ in attempts] == [
        ("talk/turn1", "claude", 0),
        ("talk/turn2", "claude", 0),
        ("talk/turn2", "gpt", 1),
        ("talk/turn3", "claude", 0),
    ]
    assert [ended.kind for _, ended in attempts] == ["done", "failed", "done", "done"]
    # The price of the one that is called: twice as much for a token, and half as many at most.
    claude, gpt = attempts[1][0].body, attempts[2][0].body
    assert claude["hash"] != gpt["hash"]
    assert gpt["reserve"]["tokens"] - claude["reserve"]["tokens"] == 100
    assert [ended.body["cost"] for _, ended in attempts] == [70, 0, 35, 70]


@BOTH
def test_a_run_that_is_killed_goes_on_with_the_model_that_was_asked(tmp_path: Path, api: str) -> None:
    """Killed while the second model is asked: that call is in doubt, and made again, to the second model."""
    script = crossing(api)
    script.insert(2, to_gpt(content=[text("never heard")], delay=30))
    with OpenAIServer(script) as server:
        bench = Bench(tmp_path, server.url, EITHER, api=api)
        argv = [sys.executable, "-m", "orchestrator", "--store", bench.store, "run", str(bench.file), "--id", "r"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(argv, cwd=tmp_path, env=environment(tmp_path), **quiet) as process:
            pause = threading.Event()
            while len(server.calls) < 3:
                assert process.poll() is None
                pause.wait(0.01)
            process.send_signal(signal.SIGKILL)
        done = orch(tmp_path, "--store", bench.store, "resume", "r")
        assert document(done) == {"said": "Done."}
        assert [call["body"]["model"] for call in server.calls] == [
            "claude-wire", "claude-wire", "gpt-wire", "gpt-wire", "claude-wire",
        ]  # fmt: skip
        assert server.calls[2]["body"] == server.calls[3]["body"]
        check_crossing(server, api)
    assert orch(tmp_path, "--store", bench.store, "verify", "r").returncode == 0
    assert (tmp_path / "noted").read_text().split() == ["one", "two"]


async def test_where_all_are_unavailable_the_retry_begins_with_the_first(tmp_path: Path) -> None:
    pipeline = EITHER.replace("prompt: Go.", "prompt: Go.\n    retry: {attempts: 2, delay: 10ms}")
    end, records, server, _ = await play(
        tmp_path, to_claude(**BUSY, times=None), to_gpt(**SLOW, times=None), api="chat", pipeline=pipeline
    )
    assert end.error is not None
    assert (end.status, end.error["code"]) == ("failed", "rate_limit")
    assert [call["body"]["model"] for call in server.calls] == ["claude-wire", "gpt-wire"] * 2
    assert [begun.body["attempt"] for begun, _ in calls_of(records)] == [1, 2, 3, 4]


async def test_a_request_that_is_wrong_is_not_sent_to_the_next(tmp_path: Path) -> None:
    wrong = {"status": 400, "error": {"type": "invalid_request_error", "message": "no"}}
    end, _, server, _ = await play(tmp_path, to_claude(**wrong), api="chat", pipeline=EITHER)
    assert end.error is not None
    assert (end.error["code"], len(server.calls)) == ("bad_request", 1)


PASSED = """\
version: 1
name: passed
models:
  claude: {provider: anthropic, model: claude-wire, base_url: URL, price: {input: 1, output: 1}}
  other: {provider: anthropic, model: claude-other, base_url: URL, price: {input: 1, output: 1}}
agents:
  first: {model: claude, handoffs: {second: {}}}
  second: {model: other, description: Goes on.}
steps:
  talk: {agent: first, prompt: Go.}
outputs: {said: "${{ steps.talk.output }}"}
"""


async def test_an_agent_that_takes_over_with_another_model_is_not_sent_the_thoughts_of_the_first(
    tmp_path: Path,
) -> None:
    script = [
        {"content": [THINKING, text("Over."), tool_use("c", "handoff", to="second")], "when": {"model": "claude-wire"}},
        {"content": [text("Done.")], "when": {"model": "claude-other"}},
    ]
    end, _, server, _ = await play(tmp_path, *script, api="chat", pipeline=PASSED)
    assert end.outputs == {"said": "Done."}
    asked, replied, *_ = said(server, 1)
    assert (asked["role"], replied["role"]) == ("user", "assistant")
    assert [block["type"] for block in replied["content"]] == ["text", "tool_use"]


# --- limits ---

MANY = """\
version: 1
name: many
models:
  default: {provider: openai, model: gpt-wire, base_url: URL/v1, limits: {concurrency: N}}
steps:
  all:
    map: range(8)
    concurrency: 8
    do: {agent: {}, prompt: "Number ${{ item }}"}
outputs: {said: "${{ steps.all.output }}"}
"""


@pytest.mark.parametrize("most", [1, 3])
async def test_so_many_calls_are_under_way_at_once_over_all_runs(tmp_path: Path, most: int) -> None:
    """Two runs of eight agents each, which would all ask at once."""
    with OpenAIServer([{"content": [text("x")], "delay": 0.02, "times": None}]) as server:
        bench = Bench(tmp_path, server.url, MANY.replace("N}", f"{most}}}"))
        ends: list[RunEnd] = []

        async def one(host: Host, run_id: str) -> None:
            ends.append(await host.start(bench.graph, inputs={}, run_id=run_id, folder=str(tmp_path)))

        async with bench.host() as host:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one, host, "a")
                tasks.start_soon(one, host, "b")
            journals = [await host.store.load(run) for run in "ab"]
    assert [end.outputs for end in ends] == [{"said": ["x"] * 8}] * 2
    assert (len(server.calls), server.most) == (16, most)
    for run, records in zip("ab", journals, strict=True):
        assert verify(bench.graph, records, run_id=run) is None
        open_now = most_open = 0
        for record in records:
            if "/turn" in record.path and record.kind in ("started", "done"):
                open_now += 1 if record.kind == "started" else -1
                most_open = max(most_open, open_now)
        # `started` is a record only once the permit is held.
        assert most_open <= most


async def test_without_limits_they_do_ask_at_once(tmp_path: Path) -> None:
    with OpenAIServer([{"content": [text("x")], "delay": 0.3, "times": None}]) as server:
        bench = Bench(tmp_path, server.url, MANY.replace(", limits: {concurrency: N}", ""))
        await bench.run()
    assert server.most > 3
