"""Approvals: asked in one process, answered in another, or at the terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.test_sandbox import orch
from tests.acceptance.test_specs import ENV
from tests.acceptance.test_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE = ("--store", "sqlite:///runs.db")
STEP = """
version: 1
name: ships
inputs: {what: {type: string, default: cars}}
tools:
  ship: {shell: {argv: [sh, -c, 'echo "$0" >> ../shipped; echo "$0"', "${{ args.what }}"]}, input: {what: string}, approve: always, dir: work}
steps:
  ship: {tool: ship, with: {what: "${{ inputs.what }}"}TIMEOUT}
  beside: {run: "echo beside"}
outputs: {shipped: "${{ default(steps.ship.output.stdout, '') }}"}
"""
AGENT = """
version: 1
name: agent
models:
  default:
    provider: scripted
    replies:
      - {when: turn == 1, calls: [{tool: ship, with: {what: cars}}, {tool: ship, with: {what: toys}}]}
      - {text: "${{ string(results) }}"}
tools:
  ship: {shell: {argv: [echo, "${{ args.what }}"]}, input: {what: string}, approve: always, effect: idempotent}
steps:
  talk: {agent: {tools: [ship]}, prompt: ship}
outputs: {said: "${{ steps.talk.output }}"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "step.yaml").write_text(STEP.replace("TIMEOUT", ""))
    (tmp_path / "late.yaml").write_text(STEP.replace("TIMEOUT", ", timeout: 100ms"))
    (tmp_path / "agent.yaml").write_text(AGENT)
    return tmp_path


def document(done: subprocess.CompletedProcess[str], code: int) -> Any:
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], code: str) -> str:
    assert done.returncode == 3, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert f"error[{code}]" in done.stderr
    return done.stderr


def test_a_question_is_answered_from_another_process(folder: Path) -> None:
    done = orch(folder, "run", "step.yaml", *STORE)
    waits = document(done, 5)
    assert (waits["status"], waits["reason"], waits["waits"][0]["args"]) == ("waiting", "approval", {"what": "cars"})
    assert "--choice approve|deny, then orch resume" in done.stderr
    listed = json.loads(orch(folder, "list", *STORE, "--json").stdout)["runs"][0]
    assert (listed["status"], listed["reason"]) == ("waiting", "approval")
    shown = json.loads(orch(folder, "show", "@last", *STORE, "--json").stdout)["steps"]
    assert shown[0]["waiting"]["tool"] == "ship"
    assert '"approval"' in orch(folder, "logs", "@last", *STORE).stdout
    assert document(orch(folder, "resume", "@last", *STORE), 5)["status"] == "waiting"
    said = document(orch(folder, "answer", "@last", "--choice", "approve", "--comment", "fine", *STORE), 0)
    assert (said["step"], said["status"]) == ("ship", "approved")
    assert "root chose 'approve'" in refused(
        orch(folder, "answer", "@last", "--choice", "deny", *STORE), "E309"
    ).replace(os.environ.get("USER", "root"), "root")
    assert document(orch(folder, "resume", "@last", *STORE), 0) == {"shipped": "cars\n"}
    assert (folder / "shipped").read_text() == "cars\n"
    assert "it has ended" in refused(orch(folder, "answer", "@last", "--choice", "approve", *STORE), "E308")
    assert orch(folder, "verify", "@last", *STORE).returncode == 0


def test_the_question_of_a_tool_in_place_shows_what_it_would_do(folder: Path) -> None:
    (folder / "place.yaml").write_text(
        'version: 1\nname: place\nsteps:\n  rm: {tool: {shell: {argv: [rm, "\\e[2Kx"]}, approve: always}}\n'
    )
    done = orch(folder, "run", "place.yaml", *STORE)
    assert document(done, 5)["waits"][0]["call"] == {"argv": ["rm", "\x1b[2Kx"]}
    told = 'tool argv=["rm","\\u001b[2Kx"]'
    assert f"rm needs an approval: {told}" in done.stderr
    for args in (("show", "@last"), ("show", "@last", "--tree"), ("logs", "@last")):
        said = orch(folder, *args, *STORE, "--color", "always")
        assert "[2Kx" in said.stdout
        assert "\x1b[2K" not in said.stdout
    assert "say `--choice approve`, or `--choice deny`" in orch(folder, "answer", "@last", *STORE).stderr


def test_a_no_fails_the_step_with_its_reason(folder: Path) -> None:
    document(orch(folder, "run", "step.yaml", *STORE), 5)
    document(orch(folder, "answer", "@last", "ship", "--choice", "deny", "--comment", "too many", *STORE), 0)
    error = document(orch(folder, "resume", "@last", *STORE), 1)["error"]
    assert error["code"] == "denied"
    assert error["message"].endswith("did not approve `ship`: too many")
    assert not (folder / "shipped").exists()


def test_the_calls_of_an_agent_are_answered_one_by_one(folder: Path) -> None:
    assert len(document(orch(folder, "run", "agent.yaml", *STORE), 5)["waits"]) == 2
    assert "talk/turn1/tool0, talk/turn1/tool1" in refused(
        orch(folder, "answer", "@last", "--choice", "deny", *STORE), "E308"
    )
    assert "did you mean" in refused(
        orch(folder, "answer", "@last", "talk/turn1/tol1", "--choice", "deny", *STORE), "E308"
    )
    document(orch(folder, "answer", "@last", "talk/turn1/tool1", "--choice", "deny", *STORE), 0)
    assert len(document(orch(folder, "resume", "@last", *STORE), 5)["waits"]) == 1
    document(orch(folder, "answer", "@last", "talk", "--choice", "approve", *STORE), 0)
    said = document(orch(folder, "resume", "@last", *STORE), 0)["said"]
    assert "cars" in said
    assert "did not approve `ship`" in said
    assert orch(folder, "verify", "@last", *STORE).returncode == 0


def test_nobody_is_asked_where_the_flag_says_so(folder: Path) -> None:
    assert document(orch(folder, "run", "step.yaml", "--approve", "never", *STORE), 1)["error"]["code"] == "denied"
    document(orch(folder, "run", "step.yaml", "--id", "later", *STORE), 5)
    assert document(orch(folder, "resume", "later", "--approve", "never", *STORE), 1)["error"]["code"] == "denied"
    assert document(orch(folder, "resume", "later", "--approve", "ask", "--retry-failed", *STORE), 5)
    assert orch(folder, "verify", "later", *STORE).returncode == 0
    assert not (folder / "shipped").exists()
    for args in (("run", "step.yaml", "--approve", "always"), ("answer", "later", "--choice", "maybe")):
        assert orch(folder, *args, *STORE).returncode == 2


def test_an_answer_that_comes_too_late_is_refused(folder: Path) -> None:
    waits = document(orch(folder, "run", "late.yaml", *STORE), 5)["waits"]
    assert waits[0]["reason"] == "approval"
    for _ in range(100):
        done = orch(folder, "answer", "@last", "--choice", "approve", *STORE)
        if done.returncode:
            break
        pytest.skip("too slow a machine to be late")
    assert "the time to answer step 'ship' was over" in refused(done, "E310")
    assert document(orch(folder, "resume", "@last", *STORE), 1)["error"]["code"] == "timeout"


def test_a_run_that_is_driven_goes_on_with_the_answer(folder: Path) -> None:
    spec = STEP.replace("TIMEOUT", "").replace('"echo beside"', '"until test -e go; do sleep 0.02; done"')
    (folder / "live.yaml").write_text(spec)
    run = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", str(folder / "live.yaml"), *STORE],
        cwd=folder,
        env=ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        answered = None
        for _ in range(200):
            answered = orch(folder, "answer", "@last", "--choice", "approve", *STORE)
            if answered.returncode == 0:
                break
            time.sleep(0.05)
        assert answered is not None
        assert answered.returncode == 0, answered.stderr
        assert "next:" not in answered.stderr
        began = time.monotonic()
        while not (folder / "shipped").exists():
            assert time.monotonic() - began < 20
            time.sleep(0.01)
        assert time.monotonic() - began < 5
        (folder / "go").touch()
        assert json.loads(run.communicate(timeout=30)[0]) == {"shipped": "cars\n"}
    finally:
        run.kill()
        run.wait()


# At the terminal

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: no terminal to look at")


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    found = Terminal(folder)
    yield found
    found.close()


def command(*args: str) -> str:
    return f"{sys.executable} -m orchestrator {' '.join(args)} {' '.join(STORE)}; echo exit $?"


@needs_tmux
def test_a_terminal_is_asked_right_there(terminal: Terminal) -> None:
    terminal.type(command("run", "step.yaml", "-i", "'what=[31mred'"))
    terminal.wait_for("approve? y yes")
    terminal.type("d")
    shown = terminal.wait_for('"request"')
    assert "31mred" in shown
    terminal.type("what?")
    terminal.type("y looks good")
    terminal.wait_for("exit 0")
    assert "31mred" in (terminal.folder / "shipped").read_text()
    assert "looks good" in orch(terminal.folder, "logs", "@last", *STORE).stdout


@needs_tmux
def test_a_no_and_a_later_at_the_terminal(terminal: Terminal) -> None:
    terminal.type(command("run", "step.yaml"))
    terminal.wait_for("approve? y yes")
    terminal.type("l")
    terminal.wait_for("exit 5")
    terminal.type(command("resume", "@last"))
    while terminal.wait_for("approve? y yes").count("approve? y yes") < 2:
        time.sleep(0.05)
    terminal.type("n not now")
    shown = terminal.wait_for("exit 1")
    assert "did not approve `ship`: not now" in shown


@needs_tmux
def test_of_the_terminal_and_another_process_the_first_one_counts(terminal: Terminal) -> None:
    terminal.type(command("run", "step.yaml"))
    terminal.wait_for("approve? y yes")
    document(orch(terminal.folder, "answer", "@last", "--choice", "approve", *STORE), 0)
    shown = terminal.wait_for("exit 0")
    assert "answered elsewhere" in shown
