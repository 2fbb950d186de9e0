from __future__ import annotations

from typing import Any

import pytest

from orchestrator.app.settling import ResultDoesNotFit, fitting
from orchestrator.engine.decide import Decider, RunInfo
from orchestrator.journal.records import Draft
from orchestrator.journal.state import RunState
from tests.unit.compiler.helpers import graph_of

RUN = "run"
SCRIPT = {"exit": 0, "stdout": "", "stderr": ""}


def in_doubt(text: str, path: str, *before: Draft) -> Any:
    """A check of results for the step at ``path``, whose effect is in doubt after ``before``."""
    graph = graph_of(text)
    state = RunState()
    started = Draft("run_started", "", {"name": "x", "inputs": {}, "folder": "/tmp", "graph": "", "seed": "s"})
    state.apply(started, seq=1, at=1, epoch=1)
    decider = Decider(graph, state, RunInfo(RUN))
    for draft in (None, *before, Draft("started", path, {"attempt": 1, "hash": "", "effect": "write"})):
        if draft is not None:
            decider.apply(draft, at=2)
        decider.decide()
    decider.apply(Draft("waiting", path, {"reason": "doubt", "attempt": 1}), at=3)
    return lambda result: fitting(graph, state, run_id=RUN, path=path, result=result)


def refused(check: Any, result: Any) -> str:
    with pytest.raises(ResultDoesNotFit) as caught:
        check(result)
    return f"{caught.value.message} {caught.value.hint}"


def test_a_script_gives_what_scripts_give() -> None:
    check = in_doubt("steps:\n  a: {run: 'true'}", "a")
    assert check(SCRIPT) == SCRIPT
    assert '"exit" is a required property' in refused(check, {"stdout": "", "stderr": ""})
    assert "`exit`, `stdout`, `stderr`" in refused(check, None)


def test_an_output_type_is_what_counts_and_more_fields_are_dropped_as_the_step_drops_them() -> None:
    check = in_doubt("steps:\n  a: {run: 'true', output: {id: integer}}", "a")
    assert check({"id": 7, "more": 1}) == {"id": 7}
    assert "/id" in refused(check, {"id": "7"})


def test_an_item_of_a_map_has_the_type_of_what_it_does() -> None:
    text = "steps:\n  a: {map: '[1, 2]', do: {run: 'true'}}"
    check = in_doubt(text, "a[1]")
    assert check(SCRIPT) == SCRIPT
    assert "a[1]" in refused(check, 7)


def test_the_call_of_an_agent_has_the_type_of_its_tool() -> None:
    text = """
    models:
      default: {provider: scripted, replies: [{text: hello}]}
    tools:
      order: {shell: {argv: [order]}, output: {number: integer}}
      plain: {http: {url: "https://x.example/", method: POST}}
    steps:
      a: {agent: {tools: [order, plain]}, prompt: go}
    """
    content = [
        {"type": "tool_use", "id": f"t{n}", "name": name, "input": {}} for n, name in enumerate(("order", "plain"))
    ]
    turn = (
        Draft("started", "a/turn1", {"attempt": 1, "hash": "", "effect": "read"}),
        Draft(
            "done", "a/turn1", {"attempt": 1, "reply": {"content": content, "stop": "tool_use"}, "cost": 0, "tokens": 0}
        ),
    )
    order = in_doubt(text, "a/turn1/tool0", *turn)
    assert order({"number": 7}) == {"number": 7}
    assert "/number" in refused(order, {"number": "seven"})
    plain = in_doubt(text, "a/turn1/tool1", *turn)
    assert plain({"status": 200, "headers": {}, "body": "x"})["status"] == 200
    assert '"status" is a required property' in refused(plain, {"body": "x"})


def test_what_says_nothing_of_its_result_may_have_given_anything() -> None:
    check = in_doubt("steps:\n  a: {python: 'json:loads', with: {s: ''}, output: any}", "a")
    assert check([1, {"x": None}]) == [1, {"x": None}]
