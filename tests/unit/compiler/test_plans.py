"""Plans: compiled as a file is, out of what their agent has; and whatever a model writes is data."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.compiler.outlines import outline
from orchestrator.compiler.plans import MOST, Planned, Refused, compile_plan
from orchestrator.compiler.policy import Policy, allowed
from orchestrator.graph.nodes import node_from_json, to_json
from orchestrator.spec.load import load
from orchestrator.tools.inspection import inspect_function
from tests.unit.compiler.helpers import compiled, graph_of

TEXT = """
inputs: {topic: string, photo: file}
secrets: [KEY]
models:
  default: {provider: anthropic, model: claude-haiku-5-5}
  other: {provider: anthropic, model: claude-haiku-5-5}
tools:
  look: {shell: {argv: [x]}, input: {q: string}, env: {KEY: "${{ secrets.KEY }}"}, effect: read}
  write: {shell: {argv: [x]}, output: {n: integer}}
  get: {http: {url: "https://example.com/${{ args.id }}"}, input: {id: integer}}
  notes: {files: {root: ., operations: [read, write]}}
  hidden: {shell: {argv: [x]}}
  gh: {mcp: {command: [x], tools: [one, two]}}
agents:
  lead:
    tools: [look, write, get, notes.read, gh.one]
    delegates: {critic: {budget: {tokens: 50, model_calls: 2}}, plain: {}}
    plan: {kinds: [%s]}
    %s
  critic: {output: {good: boolean}, budget: {tokens: 40, usd: 1, on_exceed: finish}}
  plain: {model: other}
steps:
  work: {agent: lead, prompt: Go.}
"""
ALL = "agent, tool, steps, map, switch, set, fail"


def lead(kinds=ALL, more="spawn: {models: [other]}"):
    graph = graph_of(TEXT % (kinds, more))
    return graph.root.by_name["work"].config.agent, graph


def planned(steps, outputs=None, *, kinds=ALL, more="spawn: {models: [other]}", most=50, folder="/nowhere"):
    agent, graph = lead(kinds, more)
    given = {"steps": steps} | ({} if outputs is None else {"outputs": outputs})
    found = compile_plan(agent, graph, given, most=most, folder=folder, inspect=inspect_function)
    if isinstance(found, Planned):
        json.dumps(found.node)
    return found


def said(*args, **how):
    found = planned(*args, **how)
    assert isinstance(found, Refused)
    return [(one["code"], one["at"]) for one in found.problems]


def test_a_plan_of_everything_that_an_agent_has():
    steps = {
        "a": {"tool": "look", "with": {"q": "${{ inputs.topic }}"}},
        "b": {"tool": "notes.read", "with": {"path": "x"}},
        "c": {"agent": "critic", "prompt": ["See:", {"file": "${{ inputs.photo }}"}], "if": "steps.a.output.exit == 0"},
        "d": {"map": "[1, 2]", "do": {"tool": "get", "with": {"id": "${{ item }}"}}},
        "e": {"switch": "true", "cases": {"true": {"agent": {"tools": ["look"], "model": "other"}, "prompt": "x"}},
              "default": {"fail": "no"}},
        "f": {"steps": {"g": {"tool": "write", "on_error": {"set": {"n": 1}}}}, "outputs": {"n": "${{ steps.g.output.n }}"}},
        "h": {"agent": "plain", "prompt": "x", "budget": {"tokens": 20}},
        "i": {"tool": "gh.one", "with": {"any": 1}},
    }  # fmt: skip
    found = planned(steps, {"good": "${{ default(steps.c.output.good, false) }}", "n": "${{ steps.f.output.n }}"})
    assert isinstance(found, Planned), found
    assert found.steps == 13
    node = node_from_json(found.node)
    assert to_json(node) == found.node
    nodes = node.config.block.by_name
    assert nodes["c"].kind == "delegate"
    budget = nodes["c"].config.agent.budget
    assert (budget.tokens, budget.usd, budget.model_calls, budget.on_exceed) == (40, 1_000_000, 2, "finish")
    assert nodes["e"].config.cases["true"].kind == "spawn"
    assert nodes["e"].config.cases["true"].config.agent.model.name == "other"
    assert nodes["h"].kind == "delegate"
    assert nodes["a"].config.tool == lead()[0].tools[0]
    assert nodes["i"].config.tool.server.tools == ("one",)


def test_types_are_those_of_a_file():
    steps = {
        "a": {"agent": "critic", "prompt": "x"},
        "b": {"set": {"x": "${{ steps.a.output.bad }}"}},
        "c": {"tool": "look", "with": {"q": 1, "r": 2}},
        "d": {"set": {"x": "${{ steps.a.output.good + 1 }}"}},
        "e": {"tool": "write", "retry": {"attempts": 2}},
    }
    assert said(steps, {"z": "${{ steps.nowhere.output }}"}) == [
        ("E202", "steps.b.set.x"),
        ("E241", "steps.c.with.q"),
        ("E243", "steps.c.with.r"),
        ("E205", "steps.d.set.x"),
        ("E403", "steps.e.retry"),
        ("E230", "outputs.z"),
    ]


@pytest.mark.parametrize(
    ("step", "code", "at"),
    [
        ({"run": "rm -rf /"}, "E408", "run"),
        ({"python": "os:system"}, "E408", "python"),
        ({"pipeline": "/etc/passwd"}, "E408", "pipeline"),
        ({"tool": {"shell": {"argv": ["sh"]}}}, "E408", "tool"),
        ({"tool": "hidden"}, "E233", "tool"),
        ({"tool": "notes.write", "with": {"path": "x", "content": "y"}}, "E233", "tool"),
        ({"tool": "gh.two"}, "E233", "tool"),
        ({"tool": "look", "with": {"q": "x"}, "dir": "/"}, "E408", "dir"),
        ({"tool": "look", "with": {"q": "x"}, "undo": {"run": "x"}}, "E408", "undo"),
        ({"tool": "look", "with": {"q": "${{ secrets.KEY }}"}}, "E239", "with.q"),
        ({"tool": "look", "with": {"q": "${{ '\\u0000secret:KEY\\u0000' }}"}}, "E200", "with.q"),
        ({"agent": "critic", "prompt": "x", "session": "main"}, "E408", "session"),
        ({"agent": "lead", "prompt": "x"}, "E232", "agent"),
        ({"agent": "critic", "prompt": [{"file": "/etc/passwd"}]}, "E408", "prompt[0].file"),
        ({"agent": "critic", "prompt": ["x", {"template": "/etc/passwd"}]}, "E408", "prompt[1].template"),
        ({"agent": {"instructions": [{"file": "/etc/passwd"}]}, "prompt": "x"}, "E408", "agent.instructions[0].file"),
        ({"agent": {"skills": ["/etc"]}, "prompt": "x"}, "E408", "agent.skills"),
        ({"agent": {"hooks": {"before_model": "os:system"}}, "prompt": "x"}, "E408", "agent.hooks"),
        ({"agent": {"delegates": {"critic": {}}}, "prompt": "x"}, "E408", "agent.delegates"),
        ({"agent": {"handoffs": {"critic": {}}}, "prompt": "x"}, "E408", "agent.handoffs"),
        ({"agent": {"memory": {"scope": "all"}}, "prompt": "x"}, "E408", "agent.memory"),
        ({"agent": {"tools": ["hidden"]}, "prompt": "x"}, "E233", "agent.tools[0]"),
        ({"agent": {"model": "best"}, "prompt": "x"}, "E234", "agent.model"),
        ({"agent": {"plan": {"kinds": ["set", "run"]}}, "prompt": "x"}, "E408", "agent.plan.kinds[1]"),
        ({"agent": {"plan": {"kinds": ["sett"]}}, "prompt": "x"}, "E107", "agent.plan.kinds[0]"),
        ({"agent": {"plan": {"kinds": "set"}}, "prompt": "x"}, "E106", "agent.plan.kinds"),
        ({"set": {}, "on_error": {"run": "x"}}, "E408", "on_error.run"),
        ({"steps": {"b": {"run": "x"}}, "finally": {"c": {"set": {}}}}, "E408", "steps.b.run"),
        ({"map": "[1]", "do": {"run": "x"}}, "E408", "do.run"),
        ({"switch": "true", "cases": {"true": {"set": {}}}, "default": {"run": "x"}}, "E408", "default.run"),
    ],
)  # fmt: skip
def test_a_plan_reaches_no_further_than_its_agent(step, code, at):
    assert (code, f"steps.a.{at}") in said({"a": step})


def test_an_agent_in_a_plan_may_not_more_than_who_planned_it():
    again = {"a": {"agent": {"plan": {}, "spawn": {}, "notes": True}, "prompt": "x"}}
    assert said(again, more="notes: true") == [("E408", "steps.a.agent.spawn")]
    found = planned(again)
    assert isinstance(found, Planned)
    agent = node_from_json(found.node).config.block.by_name["a"].config.agent
    assert set(agent.plan.kinds) == set(ALL.split(", "))
    assert [tool.name for tool in agent.spawn.tools] == []
    assert isinstance(planned({"a": {"agent": {"plan": {"kinds": ["set"]}}, "prompt": "x"}}), Planned)


def test_other_kinds_are_there_where_the_agent_has_them(tmp_path):
    (tmp_path / "helper.py").write_text("def add(x: int) -> int:\n    return x + 1\n")
    steps = {"a": {"run": "true"}, "b": {"python": "helper:add", "with": {"x": 1}}}
    assert isinstance(planned(steps, kinds="run, python", folder=str(tmp_path)), Planned)
    assert said(steps, kinds="run, python") == [("E246", "steps.b.python")]
    assert said({"a": {"set": {}}}, kinds="run") == [("E408", "steps.a.set")]


def test_a_question_reads_no_file_either():
    steps = {"a": {"ask": {"message": [{"file": "/etc/passwd"}], "choices": ["yes"]}}}
    _, found = allowed({"steps": steps}, Policy(frozenset({"ask"})))
    assert [(one["code"], one["at"]) for one in found] == [("E408", "steps.a.ask.message[0].file")]


def test_so_many_steps_with_all_inside():
    steps = {"a": {"steps": {"b": {"set": {}}, "c": {"map": "[1]", "do": {"set": {}}}}}}
    assert isinstance(planned(steps, most=4), Planned)
    assert said(steps, most=3) == [("E408", "steps")]
    assert "4 steps, and 0 are left" in planned(steps, most=-2).problems[0]["message"]
    assert "1 step, and 0 are left" in planned({"a": {"set": {}}}, most=0).problems[0]["message"]
    assert "4 steps, and 1 is left" in planned(steps, most=1).problems[0]["message"]


@pytest.mark.parametrize(
    "steps",
    [
        {}, {"a": None}, {"a": []}, {"a": "x"}, {"A": {"set": {}}}, {"a": {}}, {"a": {"set": 1, "fail": "x"}}, {"": {}},
        {"a": {"steps": "x"}}, {"a": {"cases": {"x": 1}}}, {"a": {"agent": "critic"}}, {"a": {"agent": {"plan": 3}}},
        {"a": {"prompt": [[{"file": 1}]]}}, {"a": {"set": {"x": "${{ steps.a.output }}"}}}, {"a": {"set": {"x": "${{"}}},
        {"a" * 2000: {"set": {}}}, {"a": {"do": {"do": {"do": None}}}}, {"a": {"agent": {"plan": {"kinds": [{}, 1]}}}},
        {"a": {"on_error": 7}}, {"a": {"needs": "b"}, "b": {"needs": "a"}}, {"a": {"ask": {"message": [{"file": "x"}]}}},
    ],
)  # fmt: skip
def test_whatever_is_written_has_its_problems(steps):
    found = planned(steps)
    assert isinstance(found, Refused)
    assert 0 < len(found.problems) <= MOST
    for one in found.problems:
        assert one["code"][0] == "E"
        assert one["at"] == "" or one["at"].startswith(("steps", "outputs"))


def test_huge_plans_are_refused_in_no_time():
    nest = {"set": {}}
    for _ in range(70):
        nest = {"steps": {"a": nest}}
    many = {f"s{n}": {"set": {"x": n}} for n in range(30_000)}
    for steps in ({"a": nest}, many, {"a": {"set": {"x": "y" * 2_000_000}}}):
        begun = time.process_time()
        assert isinstance(planned(steps), Refused)
        assert time.process_time() - begun < 30


def test_so_many_problems_are_told_and_no_warning():
    found = planned({f"s{n}": {"tool": "nope"} for n in range(80)})
    assert len(found.problems) == MOST
    assert isinstance(planned({"a": {"set": {}, "if": "false"}}), Planned)


def test_a_delegate_that_is_gone_is_no_agent_of_a_plan():
    agent, graph = lead()
    found = compile_plan(
        agent, replace(graph, agents={}), {"steps": {"a": {"agent": "critic", "prompt": "x"}}}, most=5, folder="/"
    )
    assert [one["code"] for one in found.problems] == ["E232"]


def test_every_text_survives_on_its_own_line():
    data = {
        "a\n\u2028b": ['say "hi"\\', "\x85\u2029\x07é😀\ufeff", {}, [], {"x": [1, None, True, 1.5]}],
        "b": {"c": "d"},
    }
    found = outline({"version": 1, "name": "plan", "steps": {}, "outputs": data})
    loaded = load(found.text.encode(), name="plan", folder=Path("/"))
    assert loaded.data["outputs"] == data
    assert found.text.count("\n") == len(found.paths)
    mark = loaded.mark(("outputs", "b", "c"))
    assert found.place(mark.line) == "outputs.b.c"
    assert found.place(0) == found.place(1)
    assert found.place(10_000) == found.paths[-1]


def test_kinds_that_are_told_are_those_that_may_be_had():
    def hints(step, kinds):
        found = planned({"a": step}, kinds=kinds, more="")
        assert isinstance(found, Refused)
        return [(one["code"], one["at"], one.get("hint")) for one in found.problems]

    assert hints({"prompt": "x"}, "tool, set") == [("E109", "steps.a", "exactly one of tool, set")]
    assert hints({"tol": "look"}, "tool, set") == [("E109", "steps.a.tol", "did you mean `tool`?")]
    assert hints({"run": "x"}, "tool, agent") == [("E408", "steps.a.run", "it may have: agent, tool")]
    inner = {"agent": {"plan": {"kinds": ["zebra", "sett", "set"]}}, "prompt": "x"}
    assert [one for one in hints(inner, "set, agent") if one[0] == "E107"] == [
        ("E107", "steps.a.agent.plan.kinds[0]", "known: agent, set"),
        ("E107", "steps.a.agent.plan.kinds[1]", "did you mean `set`?"),
    ]


def test_names_that_were_meant_are_looked_for_so_often_and_no_more():
    found = planned({f"s{n}": {"tol": "look"} for n in range(40)})
    assert isinstance(found, Refused)
    assert [one["hint"].startswith("did you mean") for one in found.problems] == [True] * 20 + [False] * 20
    found = planned({"a": {"agent": {"plan": {"kinds": ["sett"] * 40}}, "prompt": "x"}})
    assert [one["hint"].startswith("did you") for one in found.problems if one["code"] == "E107"] == [True] * 20 + [
        False
    ] * 20


def test_what_is_too_large_is_a_plan_and_no_file():
    found = planned({f"s{n}": {"set": {"x": n}} for n in range(6_000)})
    assert isinstance(found, Refused)
    assert [one["message"] for one in found.problems] == ["the plan has over 20,000 nodes"]
    found = planned({"a": {"set": {"x": "y" * 1_100_000}}})
    assert [one["message"] for one in found.problems] == ["the plan is over 1,048,576 bytes"]


def test_what_is_quoted_stays_as_it_is():
    found = planned({"a": {"set": {"x": "${{ nothing }}"}, "the file": 1}})
    assert isinstance(found, Refused)
    assert any("`the file`" in one["message"] for one in found.problems)


def test_an_agent_may_plan_no_kind_that_nothing_performs():
    kinds = "[set, loop, zebra]"
    text = f"models: {{default: {{provider: scripted, replies: [{{text: x}}]}}}}\nsteps: {{a: {{agent: {{plan: {{kinds: {kinds}}}}}, prompt: x}}}}"
    found = {one.code: one for one in compiled(text).diagnostics}
    assert found["E190"].message == "`loop` is not available yet"
    assert found["E107"].hint == "known: agent, tool, run, python, steps, map, switch, set, fail"
