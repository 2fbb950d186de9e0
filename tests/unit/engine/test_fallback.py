"""Models that fall back: which one an attempt calls follows from the attempts that failed before it, and from them alone."""

from __future__ import annotations

import random

import pytest

from orchestrator.agents.messages import without_thoughts
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, AgentDef, ModelDef, Node, Retry, graph_from_json, to_json
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.world import World, calls_reply, graph, text_reply, tool

SECOND = 1_000_000


def leaf(name, **settings):
    values = {key: Const(value) for key, value in {"provider": "scripted", "model": name, **settings}.items()}
    return ModelDef(name=name, settings=values)


def chain(*names):
    return ModelDef(name="either", settings={"provider": Const("fallback")}, chain=tuple(map(leaf, names)))


def agent(*models, retry=None):
    definition = AgentDef(name="talk", model=chain(*models), tools=(tool(input={}),))
    config = AgentConfig(agent=definition, prompt=Const("go"))
    return Node(name="talk", id="talk", kind="agent", config=config, retry=retry)


def play(answers, *models, retry=None):
    """A run in which each model answers a turn with the next of its answers."""
    left = {key: list(found) for key, found in answers.items()}
    calls = []

    def answer(intent):
        if intent.kind != "model":
            return Done(1)
        calls.append((intent.path.rpartition("/")[2], intent.model.name))
        found = left[intent.model.name].pop(0)
        return Failed(found, "no") if isinstance(found, str) else found

    world = World(graph(agent(*models, retry=retry), outputs={"said": "steps.talk.output"}), answer=answer)
    return world.play(), calls


def attempts(world, path="talk/turn1"):
    return [(r.kind, r.body) for r in world.records if r.path == path]


@pytest.mark.parametrize("code", ["rate_limit", "unavailable", "timeout"])
def test_the_next_one_answers_for_one_that_is_unavailable(code):
    world, calls = play({"a": [code], "b": [text_reply("hello")]}, "a", "b")
    assert world.end["outputs"] == {"said": "hello"}
    assert calls == [("turn1", "a"), ("turn1", "b")]
    (_, first), (_, failed), (_, second), _ = attempts(world)
    assert failed["fallback"] == 1
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["hash"] != second["hash"]  # the settings of the model that is called
    assert world.verify() is None


def test_it_is_asked_at_once_and_no_retry_is_used_up():
    world, calls = play({"a": ["rate_limit"] * 3, "b": ["timeout"], "c": [text_reply("x")]}, "a", "b", "c",
                        retry=Retry(attempts=Const(1)))  # fmt: skip
    assert world.end["status"] == "done"
    assert [name for _, name in calls] == ["a", "b", "c"]
    failed = [(r.at, r.body["retry_at"]) for r in world.records if r.kind == "failed"]
    assert all(retry_at <= at for at, retry_at in failed)


@pytest.mark.parametrize("code", ["bad_request", "auth", "refusal", "context", "invalid_reply"])
def test_what_another_model_would_not_mend_fails(code):
    world, calls = play({"a": [code]}, "a", "b")
    assert (world.end["status"], world.end["error"]["code"]) == ("failed", code)
    assert calls == [("turn1", "a")]


def test_after_the_last_one_the_retry_of_the_turn_starts_from_the_first():
    world, calls = play({"a": ["rate_limit"] * 3, "b": ["unavailable"] * 3}, "a", "b")
    assert world.end["error"]["code"] == "unavailable"
    assert [name for _, name in calls] == ["a", "b"] * 3
    failed = [(r.at, r.body) for r in world.records if r.kind == "failed" and "retry_at" in r.body]
    assert [body["fallback"] for _, body in failed] == [1, 0, 1, 0, 1]
    # A second after the first round, two after the next one (failures are decided a tenth before they are written).
    waits = [body["retry_at"] - at for at, body in failed if not body["fallback"]]
    assert waits == [SECOND - SECOND // 10, 2 * SECOND - SECOND // 10]


def test_a_retry_of_the_same_model_stays_with_it():
    retry = Retry(attempts=Const(3), on=("bad_request",))
    world, calls = play({"a": ["unavailable"], "b": ["bad_request", text_reply("x")]}, "a", "b", retry=retry)
    assert world.end["status"] == "done"
    assert [name for _, name in calls] == ["a", "b", "b"]


def test_each_turn_begins_with_the_first():
    answers = {"a": ["unavailable", text_reply("done")], "b": [calls_reply(("t", {}))]}
    world, calls = play(answers, "a", "b")
    assert world.end["outputs"] == {"said": "done"}
    assert calls == [("turn1", "a"), ("turn1", "b"), ("turn2", "a")]


def test_a_run_that_is_opened_again_begins_with_the_first():
    answers = {"a": ["unavailable", text_reply("x")], "b": ["bad_request"]}
    world, calls = play(answers, "a", "b")
    assert world.end["status"] == "failed"
    world.reopen()
    world.play()
    assert world.end["status"] == "done"
    assert [name for _, name in calls] == ["a", "b", "a"]


@pytest.mark.parametrize("seed", range(25))
def test_a_crash_anywhere_calls_the_model_that_was_to_be_called(seed):
    """However often a driver ends, a turn's model is the first that has not failed in its round."""
    rng = random.Random(seed)
    down = {name: rng.randrange(3) for name in "abc"}
    failed = dict.fromkeys(down, 0)

    def answer(intent):
        name = intent.model.name
        failed[name] += 1
        return Failed("unavailable", "no") if failed[name] <= down[name] else text_reply(name)

    model = agent("a", "b", "c", retry=Retry(attempts=Const(9)))
    world = World(graph(model, outputs={"said": "steps.talk.output"}), answer=answer, seed=seed)
    while world.tick():
        if rng.randrange(3) == 0 and world.end is None:
            before = {path: intent.model.name for path, intent in world.decider.permitted.items()}
            world.crash()
            after = {path: intent.model.name for path, intent in world.decider.permitted.items()}
            assert before.items() <= after.items()
    assert world.end["status"] == "done"
    assert world.verify() is None


def test_another_hash_is_no_attempt_of_the_model_that_was_to_be_called():
    world, _ = play({"a": ["unavailable"], "b": [text_reply("x")]}, "a", "b")
    first, second = (i for i, r in enumerate(world.records) if r.kind == "started")
    world.records[second].body["hash"] = world.records[first].body["hash"]
    assert "another attempt, input or key" in (world.verify() or "")


def test_a_graph_keeps_its_chains():
    found = graph(agent("a", "b"))
    assert graph_from_json(to_json(found)) == found


def said(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def test_thoughts_of_others_are_left_out_and_calls_stay():
    asked = {"role": "user", "content": [{"type": "text", "text": "go"}]}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    text, use = {"type": "text", "text": "x"}, {"type": "tool_use", "id": "c", "name": "t", "input": {}}
    talk = [asked, said(thought, use), asked, said(thought, text), asked, said({"type": "openai_output", "items": []})]
    assert without_thoughts(talk, [True, False, True]) == [asked, said(use), asked, said(thought, text), asked]
    assert without_thoughts(talk, [False] * 3) == talk
    # The first messages are gone: what is left is counted from the end.
    assert without_thoughts(talk[3:], [False, True, False]) == [said(text), *talk[4:]]
