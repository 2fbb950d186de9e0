from __future__ import annotations

import hashlib

import pytest

from orchestrator.agents.conversation import Conversation, ToolCall, as_text, preview
from orchestrator.jsonish import canonical


def reply(*blocks, stop="end_turn"):
    return {"content": list(blocks), "stop": stop}


def text(said):
    return {"type": "text", "text": said}


def use(call_id, name="t", **more):
    return {"type": "tool_use", "id": call_id, "name": name, **more}


def test_what_is_said_stands_in_order_and_blocks_stand_as_they_came():
    thought = {"type": "thinking", "thinking": "é\u2028", "signature": "s==", "extra": 1.5}
    talk = Conversation()
    talk.add_user("Go.")
    talk.add_reply(reply(thought, text("a"), use("c1", input={"x": 1}), text("b"), stop="tool_use"))
    talk.add_results([("c1", {"y": 2}, False)])
    assert talk.messages == [
        {"role": "user", "content": [text("Go.")]},
        {"role": "assistant", "content": [thought, text("a"), use("c1", input={"x": 1}), text("b")]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": '{"y":2}'}]},
    ]
    assert talk.messages[1]["content"][0] is thought
    assert (talk.turn, talk.stop, talk.last) == (1, "tool_use", "ab")


def test_calls_are_those_of_the_last_reply_until_they_are_answered():
    talk = Conversation()
    talk.add_reply(reply(use("c1", input={"x": 1}), use("c2", "u"), stop="tool_use"))
    assert talk.calls == (ToolCall("c1", "t", {"x": 1}), ToolCall("c2", "u", None))
    talk.add_results([("c1", "", False), ("c2", "no", True)])
    assert talk.calls == ()
    assert talk.results == ["", "no"]
    assert [block.get("is_error") for block in talk.messages[-1]["content"]] == [None, True]
    assert [block["content"] for block in talk.messages[-1]["content"]] == [" ", "no"]
    talk.add_reply(reply(text("x")))
    assert (talk.results, talk.turn) == ([], 2)


def test_an_empty_prompt_is_still_a_message():
    talk = Conversation()
    talk.add_user("")
    assert talk.messages == [{"role": "user", "content": [text(" ")]}]


def test_the_hash_covers_every_byte_and_every_boundary():
    def digest(*said):
        talk = Conversation()
        for each in said:
            talk.add_user(each)
        return talk.digest

    assert digest("a", "b") == digest("a", "b") != digest("ab")
    assert len({digest(), digest("a"), digest("a", "a"), digest("b")}) == 4
    talk = Conversation()
    before = talk.digest
    talk.add_user("a")
    assert before == hashlib.sha256().hexdigest() != talk.digest == digest("a")
    assert talk.size == len(canonical(talk.messages[0]))


@pytest.mark.parametrize(
    ("output", "said"), [("x", "x"), ("", ""), (1, "1"), (None, "null"), ({"b": [1.5]}, '{"b":[1.5]}')]
)
def test_a_result_reads_as_text_or_as_json(output, said):
    assert as_text(output) == said


def test_a_preview_says_how_to_go_on():
    said = preview("head", size=9_000, result_id="turn1/tool0")
    assert said.startswith("head\n[")
    assert "9000 characters" in said
    assert "id 'turn1/tool0', offset 4" in said
