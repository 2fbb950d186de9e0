"""Servers of others, as npm has them, through `orch` as a process: listed, called, killed, and called again."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.mcp.servers import bin_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(240)  # the first of them may install the servers
ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "mcp" / "fake.py"
STORE = ("--store", "sqlite:///runs.db")


@dataclass
class Place:
    """A folder to run in, with the servers on its PATH."""

    folder: Path
    path: str

    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "TZ", "TMPDIR") if name in os.environ}
        return kept | {"PATH": self.path, "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}

    def start(self, *args: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "orchestrator", *args, *STORE]
        return subprocess.Popen(
            words, cwd=self.folder, env=self.env(), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def orch(self, *args: str, code: int = 0) -> Any:
        """What a verb prints as JSON."""
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def write(self, text: str) -> str:
        (self.folder / "p.yaml").write_text("version: 1\nname: p\n" + text)
        return "p.yaml"

    def records(self, kind: str, path: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.folder / "runs.db")) as db, suppress(sqlite3.OperationalError):
            found = db.execute("SELECT body FROM journal WHERE kind = ? AND path = ? ORDER BY seq", (kind, path))
            return [json.loads(body) for (body,) in found]
        return []  # it is not there yet

    def processes(self) -> list[int]:
        """Those whose command names this folder, but orch."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.folder).encode() in line and b"orchestrator" not in line:
                    found.append(int(entry.name))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, os.environ["PATH"])


@pytest.fixture
def real(tmp_path: Path) -> Place:
    return Place(tmp_path, f"{bin_folder()}:{os.environ['PATH']}")


def until(there: Callable[[], Any]) -> Any:
    """Wait for what another process does."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = there()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to it")


def agent(server: str, *calls: str, more: str = "") -> str:
    """A pipeline whose one agent makes these calls, and says what came of them."""
    listed = ", ".join(calls)
    return f"""
models:
  default:
    provider: scripted
    replies:
      - {{when: turn == 1, calls: [{listed}]}}
      - {{text: "${{{{ json(results) }}}}"}}
tools:
  s: {{mcp: {server}{more}}}
steps:
  a: {{agent: {{tools: [s]}}, prompt: go}}
outputs: {{a: "${{{{ steps.a.output }}}}"}}
"""


EVERYTHING = "{command: [mcp-server-everything, stdio, PLACE]}"


def everything(place: Place, *calls: str) -> str:
    return place.write(agent(EVERYTHING.replace("PLACE", str(place.folder)), *calls))


CALLS = (
    "{tool: s.echo, with: {message: hi}}",
    "{tool: s.get-sum, with: {a: 1, b: 2}}",
    "{tool: s.get-sum, with: {a: one, b: 2}}",
    "{tool: s.get-tiny-image}",
    "{tool: s.get-structured-content, with: {location: Chicago}}",
    "{tool: s.nothing}",
)


def check(results: list[Any]) -> None:
    assert results[0] == "Echo: hi"
    assert results[1] == "The sum of 1 and 2 is 3."
    assert results[2].startswith("invalid_input: the arguments do not fit the tool's input: /a:")
    assert [part["type"] for part in results[3]] == ["text", "image", "text"]
    assert results[3][1].keys() == {"type", "mimeType", "size"}
    assert results[4].keys() == {"temperature", "conditions", "humidity"}
    assert results[5] == "unknown_tool: there is no tool 's__nothing'"


def test_the_example(real: Place) -> None:
    found = real.orch("run", str(ROOT / "specs" / "mcp.yaml"), "-i", "topic=ebb")
    assert found == {"note": "Of ebb: they come twice a day."}
    assert real.records("started", "write/turn1/tool0")[0]["effect"] == "idempotent"
    assert real.records("started", "read")[0]["effect"] == "read"
    assert (real.folder / "notes" / "note.txt").exists()


def test_an_agent_lists_and_calls_over_stdio(real: Place) -> None:
    found = real.orch("run", everything(real, *CALLS), "--id", "r")
    check(json.loads(found["a"]))
    listed = real.records("done", "a/@tools[s]")[0]["output"]["tools"]
    assert {"echo", "get-sum"} <= {tool["name"] for tool in listed}
    assert real.records("started", "a/turn1/tool0")[0]["effect"] == "read"
    assert real.processes() == []
    assert real.orch("verify", "r")


def test_a_tool_of_the_file_server_that_is_refused_is_an_error(real: Place) -> None:
    text = agent("{command: [mcp-server-filesystem, .]}", "{tool: s.read_text_file, with: {path: /etc/passwd}}")
    (said,) = json.loads(real.orch("run", real.write(text))["a"])
    assert said.startswith("tool_error: Access denied")


@contextmanager
def listening(place: Place) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = place.env() | {"PORT": str(port)}
    words = ["mcp-server-everything", "streamableHttp", str(place.folder)]
    with (place.folder / "http.log").open("w") as log:
        server = subprocess.Popen(words, env=env, stdout=log, stderr=log, executable=words[0])
    try:
        until(lambda: "listening on port" in (place.folder / "http.log").read_text())
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()
        server.wait()


def test_an_agent_lists_and_calls_over_http(real: Place) -> None:
    with listening(real) as url:
        check(json.loads(real.orch("run", real.write(agent(f"{{url: {url}}}", *CALLS)))["a"]))


LONG = "{tool: s.trigger-long-running-operation, with: {duration: 60, steps: 60}}"


def test_a_server_killed_in_a_call_is_an_error_for_the_model(real: Place) -> None:
    run = real.start("run", everything(real, LONG))
    until(lambda: real.processes() and (real.folder / "runs.db").exists() and real.records("started", "a/turn1/tool0"))
    for pid in real.processes():
        os.kill(pid, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    (said,) = json.loads(json.loads(out)["a"])
    assert said.startswith("unavailable: it closed the connection during the call")
    assert real.processes() == []


def test_after_a_kill_of_orch_nothing_is_left_and_a_resume_goes_on(real: Place) -> None:
    spec = everything(real, "{tool: s.trigger-long-running-operation, with: {duration: 3, steps: 3}}")
    run = real.start("run", spec, "--id", "r")
    until(lambda: (real.folder / "runs.db").exists() and real.records("started", "a/turn1/tool0"))
    assert real.processes() != []
    run.kill()
    run.communicate()
    until(lambda: not real.processes())
    (said,) = json.loads(real.orch("resume", "r")["a"])
    assert said.startswith("Long running operation completed")
    assert len(real.records("started", "a/@tools[s]")) == 1  # the list that was recorded counts
    assert len(real.records("started", "a/turn1")) == 1
    assert len(real.records("started", "a/turn1/tool0")) == 2
    assert real.processes() == []


# --- a server of ours, which does as it is told


def fake(mode: str) -> str:
    return f"{{command: [{sys.executable}, -I, {FAKE}, {mode}]}}"


def test_a_tool_that_is_gone_after_a_resume_is_a_failed_call(place: Place) -> None:
    calls = ("{tool: s.hang}", "{tool: s.look}")
    text = agent(fake("changed"), *calls).replace("agent: {tools", "agent: {parallel_tools: false, tools")
    text = text.replace("tools:\n  s: {mcp: {", "tools:\n  s: {effect: read, mcp: {")
    run = place.start("run", place.write(text), "--id", "r")
    until(lambda: (place.folder / "hangs").exists())
    run.kill()
    run.communicate()
    (place.folder / "changed").touch()
    said = json.loads(place.orch("resume", "r")["a"])
    assert [one["error"] for one in said] == [
        "tool_error: Unknown tool: 'hang'",
        "tool_error: Unknown tool: 'look'",
    ]
    assert len(place.records("started", "a/@tools[s]")) == 1


STEP = """
tools:
  s: {mcp: SERVER}
steps:
  a: {tool: s.NAME, with: {text: x}}
outputs: {a: "${{ steps.a.output }}"}
"""


@pytest.mark.parametrize(("name", "effect"), [("look", "read"), ("keep", "idempotent"), ("act", "write")])
def test_the_effect_of_a_step_follows_the_servers_hints(place: Place, name: str, effect: str) -> None:
    found = place.orch("run", place.write(STEP.replace("NAME", name).replace("SERVER", fake("good"))))
    assert found == {"a": f"{name} done"}
    assert place.records("started", "a")[0]["effect"] == effect
    assert place.records("started", "a")[0]["tool"] == f"s.{name}"
    assert len(place.records("done", f"a/@tools[s.{name}]")) == 1


def test_a_step_whose_effect_the_file_says_asks_for_no_list(place: Place) -> None:
    text = STEP.replace("NAME", "act").replace("SERVER", fake("good")).replace("{mcp:", "{effect: read, mcp:")
    assert place.orch("run", place.write(text)) == {"a": "act done"}
    assert place.records("started", "a/@tools[s.act]") == []


def test_an_error_of_a_tool_fails_a_step(place: Place) -> None:
    text = STEP.replace("NAME", "fail").replace("SERVER", fake("good"))
    found = place.orch("run", place.write(text), code=1)
    assert found["error"]["code"] == "tool_error"
    assert found["error"]["message"] == "cannot x"


def test_a_write_whose_server_dies_is_in_doubt(place: Place) -> None:
    text = STEP.replace("NAME", "die").replace("SERVER", fake("good"))
    found = place.orch("run", place.write(text), code=5)
    assert "during the call (exit 7)" in json.dumps([found, place.records("waiting", "a")])


def test_a_tool_that_the_server_does_not_have_fails_before_anything_is_called(place: Place) -> None:
    text = STEP.replace("NAME", "nope").replace("SERVER", fake("good"))
    found = place.orch("run", place.write(text), code=1)
    assert found["error"]["message"].startswith("the tools of `s`: the server has no tool 'nope'; it has act, count, ")


@pytest.mark.parametrize("mode", ["exits", "many"])
def test_an_agent_whose_server_has_no_list_fails_with_the_reason(place: Place, mode: str) -> None:
    found = place.orch("run", place.write(agent(fake(mode), "{tool: s.echo}")), code=1)
    said = {"exits": "its stderr ends: no configuration", "many": "the server lists 100000 tools at once"}
    assert said[mode] in found["error"]["message"]
    assert found["error"]["step"] == "a/@tools[s]"


def test_a_run_whose_list_failed_asks_again_when_it_is_resumed(place: Place) -> None:
    (place.folder / "server.py").write_text("import sys; sys.exit(3)")
    server = f"{{command: [{sys.executable}, -I, server.py]}}"
    place.orch("run", place.write(agent(server, "{tool: s.echo, with: {text: now}}")), "--id", "r", code=1)
    (place.folder / "server.py").write_text(FAKE.read_text())
    found = place.orch("resume", "r", "--retry-failed")
    assert json.loads(found["a"]) == ["now"]
