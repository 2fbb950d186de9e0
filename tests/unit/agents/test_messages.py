from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agents.messages import Usage, block_problem, invalid_input


def test_usage_adds_up_without_counting_thinking_twice() -> None:
    assert Usage(1, 2, 4, 8, 16, thinking=2).total == 31


@pytest.mark.parametrize("args", [{}, {"a": 1}, {"$invalid": 5}, {"$invalid": "x", "a": 1}, None, "x", ["$invalid"]])
def test_arguments_that_are_an_object_are_not_invalid(args: Any) -> None:
    assert invalid_input(args) is None


def test_arguments_that_were_no_object_give_their_text() -> None:
    assert invalid_input({"$invalid": "{x"}) == "{x"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "text", "text": ""}, ""),
        ({"type": "tool_use", "id": "1", "name": "x"}, ""),
        ({"type": "tool_result", "tool_use_id": "1", "content": "x"}, ""),
        ({"type": "of others"}, ""),
        ("text", "what is no object"),
        ({"text": "x"}, "an object that is no block"),
        ({"type": 1}, "an object that is no block"),
        ({"type": "text"}, "a block of type text without the text `text`"),
        ({"type": "tool_use", "id": "1", "name": None}, "a block of type tool_use without the text `name`"),
        ({"type": "tool_result", "content": "x"}, "a block of type tool_result without the text `tool_use_id`"),
    ],
)
def test_blocks_that_cannot_be_read_say_why(block: Any, problem: str) -> None:
    assert block_problem(block) == problem
