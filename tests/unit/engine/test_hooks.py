"""What a hook may change of its event, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.hooks import BadHook, Point, changes

MODEL: dict[str, Any] = {
    "agent": "a",
    "path": "p",
    "request": {"system": "s", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
}
REPLY: dict[str, Any] = {"agent": "a", "path": "p", "response": {"content": [{"type": "text", "text": "x"}]}}
TOOL: dict[str, Any] = {"agent": None, "path": "p", "tool": "t", "args": {"x": 1}}


def asked(**request: Any) -> dict[str, Any]:
    return MODEL | {"request": MODEL["request"] | request}


def test_what_is_the_same_or_nothing_changes_nothing():
    assert changes("before_model", MODEL, None) == {}
    assert changes("before_model", MODEL, asked()) == {}
    assert changes("before_tool", TOOL, {}) == {}


def test_a_change_goes_by_its_name():
    said = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}]
    assert changes("before_model", MODEL, asked(system="t", messages=said)) == {
        "request.system": "t",
        "request.messages": said,
    }
    assert changes("before_tool", TOOL, {"args": {}, "result": None}) == {"args": {}, "result": None}
    assert changes("after_tool", TOOL | {"result": 1}, {"result": [2]}) == {"result": [2]}


@pytest.mark.parametrize(
    ("point", "event", "said", "problem"),
    [
        ("before_model", MODEL, [1], "not list"),
        ("before_model", MODEL, {"agent": "b"}, "cannot change `agent`"),
        ("before_model", MODEL, asked(system=1), "must stay text"),
        ("before_model", MODEL, asked(messages={}), "must stay a list"),
        ("before_model", MODEL, asked(messages=["x"]), "holds what is no message"),
        ("before_model", MODEL, asked(messages=[{"role": "user", "content": "x"}]), "holds what is no message"),
        ("before_model", MODEL, asked(messages=[{"role": "user", "content": ["x"]}]), "holds what is no object"),
        ("after_model", REPLY, {"response": {"content": [{"type": "tool_use"}]}}, "without the text `id`"),
        ("after_model", REPLY, {"response": {"content": [{"text": "x"}]}}, "an object that is no block"),
        ("before_tool", TOOL, {"args": 1}, "must stay an object"),
    ],
)
def test_what_is_no_event_or_not_its_to_change_is_refused(
    point: Point, event: dict[str, Any], said: Any, problem: str
) -> None:
    with pytest.raises(BadHook, match=problem):
        changes(point, event, said)
