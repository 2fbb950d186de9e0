"""Agents that reach each other, through `orch` as a process: the examples, what is shown of them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.acceptance.test_specs import ENV, SPECS, orch, outputs, records

if TYPE_CHECKING:
    from pathlib import Path

STORE = ("--store", "sqlite:///runs.db")


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    """What `orch show` says of the last run, by path."""
    done = orch(folder, "show", "@last", *STORE)
    assert done.returncode == 0, done.stderr
    return {step["path"]: step for step in json.loads(done.stdout)["steps"]}


def sound(folder: Path) -> None:
    done = orch(folder, "verify", "@last", *STORE)
    assert done.returncode == 0, done.stderr


def test_delegates(tmp_path: Path) -> None:
    assert outputs(tmp_path, "delegates.yaml", "-i", "topic=moons") == {
        "report": "On moons: Both are good. I was told this much: true"
    }
    found = steps(tmp_path)
    assert found["report"]["agents"] == ["lead"]
    assert found["report/turn1/tool0"]["agents"] == ["scout"]
    assert (found["report"]["turns"], found["report/turn1/tool0"]["turns"]) == (3, 2)
    assert found["report"]["own_tokens"] == 240 + 360 + 430
    assert found["report"]["tokens"] == 1595
    sound(tmp_path)


def test_handoffs(tmp_path: Path) -> None:
    assert outputs(tmp_path, "handoffs.yaml") == {"team": "billing", "answer": "refunded: charged twice"}
    assert steps(tmp_path)["help"]["agents"] == ["desk", "clerk", "desk", "billing"]
    sound(tmp_path)
    assert outputs(tmp_path, "handoffs.yaml", "-i", "question=Where is it?")["team"] == "desk"


def test_spawn(tmp_path: Path) -> None:
    said = outputs(tmp_path, "spawn.yaml")["said"]
    assert said == "too_many_agents: work, and all inside it, may make 3 agents (max_agents)"
    assert records(tmp_path, "expanded") == 3
    sound(tmp_path)


def test_plan(tmp_path: Path) -> None:
    assert outputs(tmp_path, "plan.yaml") == {"said": "They are as long as they are: Are these long? [4,4,3]"}
    found = steps(tmp_path)
    problems = found["work/turn1/tool0"]["error"]["detail"]["problems"]
    assert [(one["code"], one["at"]) for one in problems] == [
        ("E408", "steps.clean.run"),
        ("E231", "steps.lengths.map"),
    ]
    assert found["work/turn2/tool0/lengths[2]"]["status"] == "done"
    sound(tmp_path)


LATE = """
version: 1
models:
  default:
    provider: scripted
    replies:
      - when: agent == 'lead' && size(results) == 0
        calls: [{tool: lead, with: {prompt: Deeper.}}]
      - text: "${{ results }}"
agents:
  lead: {delegates: {lead: {}}}
"""


def test_an_agent_that_calls_itself_without_a_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "late.yaml").write_text(LATE + "steps:\n  work: {agent: lead, prompt: Go.}\n")
    done = orch(tmp_path, "run", "late.yaml", *STORE)
    assert done.returncode == 2
    assert "agents that come back to themselves without a bound: lead → lead" in done.stderr


def test_an_agent_that_calls_itself_stops_at_its_depth(tmp_path: Path) -> None:
    text = (
        LATE
        + "steps:\n  work: {agent: lead, prompt: Go., budget: {depth: 4}}\noutputs: {said: '${{ steps.work.output }}'}\n"
    )
    (tmp_path / "deep.yaml").write_text(text)
    done = orch(tmp_path, "run", "deep.yaml", *STORE)
    assert done.returncode == 0, done.stderr
    assert "agents nest" in json.loads(done.stdout)["said"]
    assert max(path.count("/tool0") for path in steps(tmp_path)) == 5


def test_a_graph_draws_who_reaches_whom(tmp_path: Path) -> None:
    done = orch(tmp_path, "graph", str(SPECS / "handoffs.yaml"), "--format", "mermaid")
    assert "-. hands off .->" in done.stdout


SLOW = """\
version: 1
models: {default: {provider: scripted, replies: [{text: done}]}}
agents: {busy: {turns: 1, hooks: {after_model: "slow:wait"}}}
steps: {a: {agent: busy, prompt: x}}
"""
WAIT = """\
import pathlib, time

def wait(event, context):
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""


def test_a_message_that_no_turn_is_left_to_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    (tmp_path / "slow.py").write_text(WAIT)
    env = ENV | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "orchestrator", "run", "slow.yaml", "--id", "s", *STORE, "--events", "-"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        while '"a/turn1"' not in next(running.stdout):
            pass
        sent = orch(tmp_path, "send", "s", "answer in French", *STORE)
        assert sent.returncode == 0, sent.stderr
        (tmp_path / "go").touch()
        events, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    lost = [{"step": "a", "text": "answer in French"}]
    assert json.loads(events.splitlines()[-1])["unread"] == lost
    assert "not read: a message to `a`, which had no turn left: answer in French" in said
    shown = orch(tmp_path, "show", "s", *STORE)
    assert json.loads(shown.stdout)["unread"] == lost


MEDDLED = """\
version: 1
models:
  default:
    provider: scripted
    replies:
      - {when: turn == 1, calls: [{tool: echo, with: {a: {v: [x]}}}]}
      - text: "${{ json(results) }} ${{ last }}"
tools: {echo: {python: "meddle:echo", input: {a: any}, output: any, effect: read}}
agents:
  meddled:
    tools: [echo]
    hooks: {before_model: "meddle:mask", after_model: "meddle:sign", before_tool: "meddle:more", after_tool: "meddle:add"}
steps:
  made: {python: "meddle:made"}
  sorted: {python: "meddle:sorted", with: {x: "${{ steps.made.output }}"}}
  a: {agent: meddled, prompt: "card 1234"}
outputs: {said: "${{ steps.a.output }}", made: "${{ steps.made.output }}", sorted: "${{ steps.sorted.output }}"}
"""
MEDDLE = """\
from typing import Any

def back(event):
    return None

def made() -> Any:
    return {"list": [2, 1]}

def sorted(x) -> Any:
    x["list"].sort()
    return x

def echo(a):
    a["v"].append("echo")
    return {"got": a["v"]}

async def mask(event, context):
    event["request"]["messages"][0]["content"][0]["text"] = "masked"
    return back(event)

def sign(event, context):
    for block in event["response"]["content"]:
        if block["type"] == "text":
            block["text"] += " signed"
    return back(event)

def more(event, context):
    event["args"]["a"]["v"].append("more")
    return back(event)

def add(event, context):
    event["result"]["got"].append("add")
    return back(event)
"""


def test_functions_and_hooks_may_change_what_they_are_given_and_what_counts_is_what_they_return(tmp_path: Path) -> None:
    (tmp_path / "meddled.yaml").write_text(MEDDLED)
    (tmp_path / "meddle.py").write_text(MEDDLE)
    lists = {"made": {"list": [2, 1]}, "sorted": {"list": [1, 2]}}
    assert outputs(tmp_path, tmp_path / "meddled.yaml") == {"said": '[{"got":["x","echo"]}] card 1234', **lists}
    sound(tmp_path)
    (tmp_path / "meddle.py").write_text(MEDDLE.replace("return None", "return event"))
    said = '[{"got":["x","more","echo","add"]}] masked signed'
    assert outputs(tmp_path, tmp_path / "meddled.yaml") == {"said": said, **lists}
    sound(tmp_path)


NARROW = """\
version: 1
models: {default: {provider: scripted, limits: {concurrency: 1}, replies: [{text: done}]}}
agents: {busy: {hooks: {after_model: "slow:wait"}}}
steps:
  a: {agent: busy, prompt: x}
  b: {agent: busy, prompt: x}
"""


def test_what_waits_for_the_limits_of_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "narrow.yaml").write_text(NARROW)
    (tmp_path / "slow.py").write_text(WAIT)
    env = ENV | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "orchestrator", "run", "narrow.yaml", "--id", "s", *STORE]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        while "b/turn1 waits for the limits of the model `default`" not in next(running.stderr):
            pass
        shown = orch(tmp_path, "show", "s", *STORE)
        (tmp_path / "go").touch()
        rest = running.stderr.read()
    assert running.returncode == 0
    assert "waits for" not in rest
    assert json.loads(shown.stdout)["held"] == [{"step": "b/turn1", "for": "the limits of the model `default`"}]
    assert json.loads(orch(tmp_path, "show", "s", *STORE).stdout)["held"] == []
