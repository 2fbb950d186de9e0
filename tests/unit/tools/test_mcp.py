from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.engine.holding import Holder
from orchestrator.tools import mcp_server, mcp_wire
from orchestrator.tools.mcp import perform
from orchestrator.tools.protocol import Done, Failed, Lost, secret_marker
from orchestrator.tools.sandbox import why_none
from orchestrator.tools.shell import PASSED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.tools.protocol import CallContext, Outcome

pytestmark = pytest.mark.anyio
FAKE = str(Path(__file__).parents[2] / "mcp" / "fake.py")
SOURCE = Path(FAKE).read_text()


@asynccontextmanager
async def holding(context: CallContext) -> AsyncGenerator[CallContext]:
    """A context whose calls are of one run, which is over at the end."""
    async with anyio.create_task_group() as tasks:
        holder = Holder(tasks.start_soon)
        try:
            yield replace(context, hold=holder.hold)
        finally:
            await holder.close()


def server(context: CallContext, mode: str = "good", **more: Any) -> dict[str, Any]:
    return {"command": [sys.executable, "-I", FAKE, mode], "folder": str(context.folder), **more}


async def call(context: CallContext, name: str, mode: str = "good", text: str = "", **more: Any) -> Outcome:
    return await perform({**server(context, mode, **more), "operation": name, "args": {"text": text}}, context)


async def once(context: CallContext, name: str, mode: str = "good", text: str = "", **more: Any) -> Outcome:
    async with holding(context) as held:
        return await call(held, name, mode, text, **more)


async def in_time(context: CallContext, name: str, mode: str) -> Outcome:
    """A call that has half a second, by a server that is there already."""
    async with holding(context) as held:
        done(await perform({**server(context, mode), "list": True}, held))
        return await call(replace(held, deadline=anyio.current_time() + 0.5), name, mode)


async def names(context: CallContext, mode: str = "good", wanted: list[str] | None = None) -> Outcome:
    async with holding(context) as held:
        return await perform({**server(context, mode), "list": True} | ({"tools": wanted} if wanted else {}), held)


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def lost(outcome: Outcome) -> Lost:
    assert isinstance(outcome, Lost), outcome
    return outcome


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_call_gives_text(context: Any) -> None:
    assert done(await once(context, "echo", text="é\nb")) == "é\nb"
    assert done(await once(context, "words", text="a b")) == "a\nb"


async def test_a_call_gives_structured_content_before_text(context: Any) -> None:
    assert done(await once(context, "structured")) == {"a": 1, "b": None}


async def test_media_are_described_and_not_passed_on(context: Any) -> None:
    assert done(await once(context, "media")) == [
        {"type": "text", "text": "see"},
        {"type": "image", "mimeType": "image/png", "size": 3000},
        {"type": "resource", "uri": "x://y", "size": 3},
    ]


async def test_an_error_of_the_tool_is_a_failure(context: Any) -> None:
    end = bad(await once(context, "fail", text="write"))
    assert (end.code, end.message, end.no_effect) == ("tool_error", "cannot write", False)


async def test_an_error_of_the_protocol_is_a_failure_with_its_code(context: Any) -> None:
    end = bad(await once(context, "gone"))
    assert end.message == "Unknown tool: 'gone'"
    assert end.detail == {"code": -32602, "data": {"a": 1}}
    assert bad(await once(context, "echo", "error")).message == "the disk is full"


async def test_a_list_says_names_inputs_and_hints(context: Any) -> None:
    found = {tool["name"]: tool for tool in done(await names(context))["tools"]}
    assert found["look"]["hints"] == {"read_only": True}
    assert found["keep"]["hints"] == {"idempotent": True}
    assert "hints" not in found["act"]
    assert found["echo"]["input"] == {"type": "object", "properties": {"text": {"type": "string"}}}
    assert list(found) == sorted(found)


async def test_a_list_holds_the_tools_that_the_file_names(context: Any) -> None:
    assert [tool["name"] for tool in done(await names(context, wanted=["look", "echo"]))["tools"]] == ["look", "echo"]
    end = bad(await names(context, wanted=["nope"]))
    assert end.message.startswith("the server has no tool 'nope'; it has act, count, ")


async def test_calls_of_a_run_share_one_server_and_it_ends_with_the_run(context: Any) -> None:
    async with holding(context) as held:
        pids = {int(done(await call(held, "pid"))) for _ in range(3)}
        other = int(done(await call(held, "pid", env={"OTHER": "1"})))
        assert len(pids) == 1
        assert other not in pids
        assert all(alive(pid) for pid in (*pids, other))
    assert not any(alive(pid) for pid in (*pids, other))


async def test_the_environment_of_a_server_is_the_list_exactly(contexts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token"
    for name in ("LANG", "TMPDIR", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SHELL", "TERM", "USER", "LOGNAME", "MINE"):
        monkeypatch.setenv(name, "x")
    given = {"A": secret_marker("TOKEN")}
    end = await once(contexts(), "env", env=given, env_names=["MINE"])
    expected = {name: os.environ[name] for name in PASSED if name in os.environ} | {"MINE": "x", "A": "***TOKEN***"}
    assert {k: v for k, v in json.loads(done(end)).items() if k != "LC_CTYPE"} == expected


async def test_the_key_of_a_call_goes_with_it_unless_it_reads(contexts: Any) -> None:
    assert done(await once(contexts(key="k-9"), "count")) == "count done"
    assert done(await once(contexts(key="k-9", effect="read"), "count")) == "count done"
    assert (contexts.folder / "calls").read_text() == "count k-9\ncount -\n"


# --- servers that break


async def test_a_server_that_dies_in_a_call_loses_it_and_the_next_call_has_a_new_one(context: Any) -> None:
    async with holding(context) as held:
        end = lost(await call(held, "die"))
        assert end.code == "unavailable"
        assert end.message == "it closed the connection during the call (exit 7); its stderr ends: first\nout of memory"
        assert done(await call(held, "echo", text="again")) == "again"


async def test_a_server_that_dies_time_and_again_is_given_up(context: Any) -> None:
    async with holding(context) as held:
        for _ in range(mcp_server.MOST_ENDS):
            lost(await call(held, "die"))
        end = bad(await call(held, "echo"))
        assert end.no_effect
        assert end.message.startswith("no connection to the server: the server broke off 5 times in this run: ")


async def test_a_server_that_hangs_loses_the_call_in_time(contexts: Any) -> None:
    end = lost(await in_time(contexts(), "hang", "good"))
    assert end.code == "timeout"


async def test_a_server_that_never_answers_the_handshake_fails_and_nothing_was_sent(
    contexts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = bad(await once(contexts(deadline=anyio.current_time() + 0.3), "echo", "mute"))
    assert (end.code, end.no_effect) == ("timeout", True)
    assert end.message.startswith(("the server did not answer the first message in time", "the server was not ready"))
    monkeypatch.setattr(mcp_server, "CONNECT", 0.3)
    end = bad(await once(contexts(), "echo", "mute"))
    assert end.message == "no connection to the server: no answer to the first message within 0.3 s"


async def test_a_server_that_exits_at_its_start_says_why(context: Any) -> None:
    end = bad(await once(context, "echo", "exits"))
    assert end.no_effect
    assert end.message == (
        "no connection to the server: it closed the connection (exit 3); its stderr ends: no configuration"
    )


async def test_a_program_that_is_not_there_says_so(context: Any) -> None:
    async with holding(context) as held:
        end = bad(
            await perform({"command": ["/no/such/program"], "folder": str(context.folder), "operation": "x"}, held)
        )
    assert end.no_effect
    assert end.message == "no connection to the server: it closed the connection (No such file or directory)"


async def test_without_the_sdk_it_says_what_to_install(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    end = bad(await once(context, "echo"))
    assert end.no_effect
    assert end.message.endswith("the package `mcp` is not installed: `pip install 'orchestrator[mcp]'`")


@pytest.mark.skipif(why_none() is not None, reason="no sandbox here")
async def test_a_server_may_stand_in_a_sandbox(contexts: Any) -> None:
    (contexts.folder / "fake.py").write_text(SOURCE)
    boxed = {"command": ["/usr/bin/python3", "-I", "fake.py"], "folder": str(contexts.folder), "sandbox": "required"}
    async with holding(contexts()) as held:
        end = await perform({**boxed, "operation": "env", "args": {}}, held)
    assert json.loads(done(end))["HOME"] == "/tmp"


async def test_a_banner_on_stdout_is_passed_over(context: Any) -> None:
    assert done(await once(context, "echo", "banner", "hi")) == "hi"


@pytest.mark.parametrize("mode", ["notify", "ask", "stderr"])
async def test_what_a_server_says_unasked_is_dropped(context: Any, mode: str) -> None:
    assert done(await once(context, "echo", mode, "hi")) == "hi"


async def test_a_flood_of_nonsense_ends_the_connection(context: Any) -> None:
    end = lost(await once(context, "echo", "flood"))
    assert end.message.startswith("it does not speak MCP on its stdout during the call")
    assert end.message.endswith("no message at all")


async def test_an_endless_line_ends_the_connection(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    end = lost(await once(context, "echo", "endless"))
    assert end.message.startswith("it sent a line of over 16777216 bytes during the call")


async def test_answers_under_ids_that_nobody_used_are_no_answers(contexts: Any) -> None:
    end = lost(await in_time(contexts(), "echo", "ids"))
    assert end.code == "timeout"
    assert "its stdout ends: " in end.message


async def test_an_answer_of_another_shape_is_a_failure(context: Any) -> None:
    end = bad(await once(context, "odd"))
    assert end.code == "invalid_output"
    assert end.message == "the server's answer is not one of MCP: content: Input should be a valid list"


async def test_a_hundred_thousand_tools_are_a_failure_that_says_what_to_do(context: Any) -> None:
    end = bad(await names(context, "many"))
    assert end.message == "the server lists 100000 tools at once, over 5000"
    end = bad(await names(context, "several"))
    assert end.message == "the server has 600 tools, over 500; name those that are used in `tools`"
    assert [tool["name"] for tool in done(await names(context, "several", ["t5"]))["tools"]] == ["t5"]


async def test_a_long_description_is_cut(context: Any) -> None:
    (found,) = done(await names(context, "wide"))["tools"]
    assert found["description"] == "d" * 4096 + "…"


async def test_tools_that_cannot_be_offered_are_left_out_with_the_reason(context: Any) -> None:
    found = done(await names(context, "schemas"))
    why = {item["name"][:10]: item["why"] for item in found["left_out"]}
    assert why["big"] == "its input schema has over 65536 bytes"
    assert why["n" * 10] == "its name has 300 characters"
    assert sorted(why) == ["big", "broken", "n" * 10, "remote"]
    ahead = next(tool for tool in found["tools"] if tool["name"] == "ahead")
    assert ahead["input"]["properties"]["a"] == {"type": "string"}


async def test_a_tool_that_cannot_be_read_spoils_no_list(context: Any) -> None:
    found = done(await names(context, "unreadable"))
    assert [tool["name"] for tool in found["tools"]] == ["echo"]
    why = {item["name"]: item["why"] for item in found["left_out"]}
    assert sorted(why) == ["", "about", "bare", "none", "str"]
    assert why["str"].startswith("it cannot be read: inputSchema: ")
    assert done(await once(context, "echo", "unreadable", text="x")) == "x"


async def test_secrets_in_the_last_words_are_not_told(contexts: Any) -> None:
    contexts.secrets["TOKEN"] = "no configuration"
    assert "no configuration" not in str(await once(contexts(), "echo", "exits"))


async def test_children_of_a_server_end_with_the_run(contexts: Any) -> None:
    assert done(await once(contexts(), "echo", "children", "hi")) == "hi"
    assert not alive(int((contexts.folder / "child").read_text()))


async def test_a_call_that_is_cancelled_leaves_the_server_to_others(context: Any) -> None:
    async with holding(context) as held:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, held, "hang")
            while not (context.folder / "hangs").exists():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        pid = await call(replace(held, deadline=anyio.current_time() + 0.3), "pid")
    assert lost(pid).code == "timeout"  # this one does one thing at a time, and was not started again


async def test_the_end_of_a_run_cancels_what_it_waits_for(context: Any) -> None:
    async with anyio.create_task_group() as tasks:
        holder = Holder(tasks.start_soon)
        held = replace(context, hold=holder.hold)
        ends: list[Outcome] = []

        async def ask() -> None:
            ends.append(await call(held, "echo", "mute"))

        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await holder.close()
    assert bad(ends[0]).message.startswith("no connection to the server: the run is over")


def test_a_tail_keeps_the_end_and_no_half_line() -> None:
    tail = mcp_wire.Tail()
    for number in range(5000):
        tail.add(f"line {number}\n".encode())
    assert len(tail.body) <= 8192
    assert tail.text().startswith("line ")
    assert tail.text().endswith("line 4999")
