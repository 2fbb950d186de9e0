from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agents.messages import Usage, invalid_input


def test_usage_adds_up_without_counting_thinking_twice() -> None:
    assert Usage(1, 2, 4, 8, 16, thinking=2).total == 31


@pytest.mark.parametrize("args", [{}, {"a": 1}, {"$invalid": 5}, {"$invalid": "x", "a": 1}, None, "x", ["$invalid"]])
def test_arguments_that_are_an_object_are_not_invalid(args: Any) -> None:
    assert invalid_input(args) is None


def test_arguments_that_were_no_object_give_their_text() -> None:
    assert invalid_input({"$invalid": "{x"}) == "{x"
