from __future__ import annotations

import pytest

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.agents.conversation import Conversation
from orchestrator.agents.messages import ToolSpec
from orchestrator.agents.turns import CallModel, CallTools, Finish, Stop, frame_of, next_turn, offers_of
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentDef, ModelDef, ToolDef
from orchestrator.spec.types import check_value

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
USE = {"type": "tool_use", "id": "c", "name": "t", "input": {}}


def talk(*said, stop="end_turn"):
    """A conversation whose last reply is made of texts and blocks."""
    found = Conversation()
    found.add_user("Go.")
    if said:
        blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in said]
        found.add_reply({"content": blocks, "stop": stop})
    return found


def after(conversation, *, output=None, turns=24):
    return next_turn(conversation=conversation, output=output, turns=turns)


def test_it_begins_with_a_call_and_ends_with_the_last_text():
    assert after(talk()) == CallModel()
    assert after(talk("a", "b")) == Finish("ab")
    assert after(talk("a", stop="stop_sequence")) == Finish("a")


def test_tools_run_and_their_results_are_sent():
    conversation = talk("Let me see.", USE, stop="tool_use")
    assert after(conversation) == CallTools(conversation.calls)
    conversation.add_results([("c", 1, False)])
    assert after(conversation) == CallModel()


def test_a_paused_turn_is_sent_again_within_the_limit():
    assert after(talk("a", stop="pause_turn")) == CallModel()
    assert after(talk("a", stop="pause_turn"), turns=1).code == "turn_limit"


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "context"])
@pytest.mark.parametrize("said", [("a",), ("a", USE), (USE,)])
def test_a_turn_that_did_not_end_by_itself_fails_and_calls_nothing(stop, said):
    assert isinstance(found := after(talk(*said, stop=stop)), Stop)
    assert found.code == stop


@pytest.mark.parametrize("stop", ["end_turn", "stop_sequence"])
def test_calls_beside_another_end_are_no_calls(stop):
    assert after(talk("a", USE, stop=stop)).code == "invalid_reply"


def test_the_limit_is_of_model_calls():
    conversation = talk(USE, stop="tool_use")
    conversation.add_results([("c", 1, False)])
    assert after(conversation, turns=1) == Stop("turn_limit", "no end after 1 turns", {"detail": {"turns": 1}})


@pytest.mark.parametrize("said", ['{"n": 1}', ' {"n": 1}\n', '```json\n{"n": 1}\n```', '```\n{"n": 1}```'])
def test_output_is_json_of_its_type(said):
    assert after(talk(said), output=NUMBER) == Finish({"n": 1})


def test_escapes_in_output_make_no_reference_to_a_secret():
    said = r'{"\u0000secret:KEY\u0000": "\u0000secret:KEY\u0000"}'
    assert after(talk(said), output={"type": "object"}) == Finish({"\ufffdsecret:KEY\ufffd": "\ufffdsecret:KEY\ufffd"})


@pytest.mark.parametrize(("said", "problem"), [("well", "not JSON"), ('{"n": "x"}', "n"), ("``````", "not JSON")])
def test_output_that_does_not_fit_is_mended_twice_at_most(said, problem):
    conversation = talk(said)
    action = after(conversation, output=NUMBER)
    assert isinstance(action, CallModel)
    assert problem in action.repair
    assert after(conversation, output=NUMBER, turns=1).code == "turn_limit"
    conversation.repairs = 2
    stopped = after(conversation, output=NUMBER)
    assert isinstance(stopped, Stop)
    assert stopped.code == "invalid_output"
    assert stopped.more["detail"]["problems"]


def agent(*tools, operations=None):
    model = ModelDef(name="m", settings={"model": Const("x")})
    return AgentDef(name="a", model=model, tools=tools, operations=operations or {})


FILES = ToolDef(name="src", kind="files", operations={"read": "read", "grep": "read", "write": "idempotent"})


def test_an_agent_without_tools_is_offered_none():
    assert offers_of(agent()) == {}


def test_tools_go_by_their_wire_name_and_results_can_be_read_on():
    plain = ToolDef(name="gh.issue", kind="http", description="Opens one.", input=NUMBER)
    bare = ToolDef(name="now", kind="python")
    offers = offers_of(agent(plain, bare))
    assert list(offers) == ["gh__issue", "now", "read_result"]
    assert offers["gh__issue"].spec == ToolSpec("gh__issue", "Opens one.", NUMBER)
    assert offers["gh__issue"].tool is plain
    assert offers["now"].spec.description == "now"
    assert check_value(offers["now"].spec.schema, {}) == []
    assert check_value(offers["now"].spec.schema, {"x": 1}) != []
    assert (offers["read_result"].tool, offers["read_result"].kind) == (None, "read_result")


def test_a_files_tool_is_one_offer_per_operation_that_the_agent_has():
    assert list(offers_of(agent(FILES))) == ["src__read", "src__grep", "src__write", "read_result"]
    offers = offers_of(agent(FILES, operations={"src": ("grep",)}))
    assert list(offers) == ["src__grep", "read_result"]
    assert offers["src__grep"].operation == "grep"
    assert offers["src__grep"].spec.schema == FILE_OPERATIONS["grep"].input


def test_a_frame_is_all_of_a_request_but_its_messages_and_its_key():
    spec = ToolSpec("t", "d", NUMBER)
    base = frame_of(settings={"model": "m", "api_key": "k"}, system="s", tools=[spec], output=NUMBER)
    assert base == frame_of(settings={"model": "m"}, system="s", tools=[spec], output=NUMBER)
    others = [
        frame_of(settings={"model": "n"}, system="s", tools=[spec], output=NUMBER),
        frame_of(settings={"model": "m"}, system="", tools=[spec], output=NUMBER),
        frame_of(settings={"model": "m"}, system="s", tools=[], output=NUMBER),
        frame_of(settings={"model": "m"}, system="s", tools=[spec], output=None),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 5
    assert base.size > others[1].size > others[2].size
