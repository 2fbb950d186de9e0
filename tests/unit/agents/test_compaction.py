"""What is left out of a conversation that is too long."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agents.compaction import bound_of, clipped, cut_of, left_out, transcript
from orchestrator.agents.conversation import Conversation, last_text
from orchestrator.graph.nodes import ContextDef


def talk(*results: int, prompt: str = "go") -> Conversation:
    talked = Conversation()
    talked.add_user(prompt)
    for index, size in enumerate(results):
        call = {"type": "tool_use", "id": f"c{index}", "name": "t", "input": {"n": index}}
        talked.add_reply({"content": [call], "stop": "tool_use"})
        talked.add_results([(f"c{index}", "y" * size, False)])
    return talked


def context(max_tokens: int, **more: Any) -> ContextDef:
    return ContextDef(max_tokens=max_tokens, **more)


def test_the_prompt_and_the_last_messages_stay():
    talked = talk(*[1_000] * 10)
    cut = cut_of(talked, context(3_000, keep=4, strategy="drop"), frame=100)
    assert cut is not None
    assert (cut.at, cut.shrink, cut.summary) == (17, None, 0)
    talked.compact(cut.at, note="[gone]", shrink=None)
    assert [message["role"] for message in talked.messages] == [
        "user",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert talked.messages[1]["content"][0]["text"] == "[gone]"
    assert talked.size == sum(talked.sizes) <= bound_of(context(3_000), 100)
    assert len(talked.dropped[0]) == 16


def test_more_goes_where_the_last_messages_are_too_much():
    cut = cut_of(talk(*[1_000] * 10), context(1_500, keep=8, strategy="drop"), frame=100)
    assert cut is not None
    assert cut.at == 15


def test_results_that_alone_are_too_much_are_cut_and_can_be_read_on():
    talked = talk(100, 90_000)
    cut = cut_of(talked, context(2_000, strategy="drop"), frame=100)
    assert cut is not None
    assert cut.shrink is not None
    talked.compact(cut.at, note="[gone]", shrink=cut.shrink)
    assert talked.size <= bound_of(context(2_000), 100)
    assert "read_result, id 'turn2/tool0'" in talked.messages[-1]["content"][0]["content"]
    assert "90000 characters" in talked.messages[-1]["content"][0]["content"]


def test_text_that_is_too_much_cannot_be_helped():
    assert cut_of(talk(10, prompt="x" * 9_000), context(1_000), frame=10) is None
    assert cut_of(talk(prompt="x" * 9_000), context(1_000), frame=10) is None
    talked = talk(10)
    talked.add_reply({"content": [{"type": "text", "text": "x" * 9_000}], "stop": "pause_turn"})
    assert cut_of(talked, context(1_000), frame=10) is None


def test_the_hash_is_that_of_what_is_left():
    one, other = talk(10, 20, 30), talk(10, 20, 30)
    for talked in (one, other):
        talked.compact(3, note="n", shrink=None)
    assert one.digest == other.digest != talk(10, 20, 30).digest
    one.add_user("x")
    other.add_user("x")
    assert one.digest == other.digest


def test_what_stands_in_the_place_of_messages():
    assert left_out(2, 7, summary="", readable=False) == "[7 earlier messages of this conversation were left out here.]"
    assert left_out(2, 7, summary="S", readable=True).endswith("read_result, id 'context2'.]\nS")


def test_messages_as_text():
    talked = talk(3)
    talked.add_reply({"content": [{"type": "thinking", "thinking": "hm", "signature": "s"}], "stop": "end_turn"})
    assert (
        transcript(talked.messages) == 'user: go\n\nassistant calls t: {"n":0}\n\nresult: yyy\n\nassistant: [thinking]'
    )
    assert last_text(talked.messages) == "go"
    assert last_text([]) == ""


@pytest.mark.parametrize(
    ("text", "size", "clip"), [("abc", 3, "abc"), ("abcdef", 4, "ab\n[…]\nef"), ("ééé", 5, "é\n[…]\né")]
)
def test_a_text_that_is_too_long_loses_its_middle(text: str, size: int, clip: str):
    assert clipped(text, size) == clip
