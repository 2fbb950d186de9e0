"""What agents keep, as the decider has it: decided in the journal's order, and the same when it is built anew."""

from __future__ import annotations

import pytest

from orchestrator.agents.keeping import VALUE_BYTES
from orchestrator.engine.decide import Decider
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, AgentDef, ModelDef, Node, SkillDef
from orchestrator.journal.state import fold
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.world import RUN, World, calls_reply, graph, text_reply, tool

MODEL = ModelDef(name="m", settings={"provider": Const("scripted")})
SKILL = SkillDef(name="bake", description="Bakes", text="Knead.")


def agent(name, needs=(), **keeps):
    definition = AgentDef(name=name, model=MODEL, **keeps)
    return Node(name=name, id=name, kind="agent", needs=needs, config=AgentConfig(agent=definition, prompt=Const("go")))


def says(turns):
    """Answers of models by path; whoever has nothing more to say ends."""
    return lambda intent: turns.get(intent.path, text_reply("end")) if intent.kind == "model" else Done(None)


def played(turns, *nodes, **more):
    world = World(graph(*nodes), answer=says(turns), **more).play()
    assert world.end is not None
    assert world.verify() is None
    return world


def outputs(world, turn):
    """Outputs of a turn's calls in order; the code of one that failed."""
    found = []
    while (step := world.state.steps.get(f"{turn}/tool{len(found)}")) is not None:
        found.append(step.output if step.status == "done" else (step.error or {})["code"])
    return found


def test_notes_are_one_agents_own():
    turns = {
        "a/turn1": calls_reply(("note", {"text": "one"}), ("note", {"text": "two"}), ("note", {})),
        "a/turn2": calls_reply(("note", {})),
        "b/turn1": calls_reply(("note", {})),
    }
    world = played(turns, agent("a", notes=True), agent("b", needs=("a",), notes=True))
    assert outputs(world, "a/turn1") == [["one"], ["one", "two"], ["one", "two"]]
    assert outputs(world, "a/turn2") == [["one", "two"]]
    assert outputs(world, "b/turn1") == [[]]


def test_a_list_is_an_agents_own_or_the_runs():
    turns = {
        "a/turn1": calls_reply(("todo", {"add": ["x", "y"]}), ("todo", {"done": 2})),
        "b/turn1": calls_reply(("todo", {"add": "z"})),
        "c/turn1": calls_reply(("todo", {}), ("todo", {"done": 7})),
    }
    nodes = [agent("a", todo="shared"), agent("b", needs=("a",), todo="own"), agent("c", needs=("b",), todo="shared")]
    world = played(turns, *nodes)
    whole = [{"id": 1, "text": "x", "done": False}, {"id": 2, "text": "y", "done": True}]
    assert outputs(world, "a/turn1")[1] == whole
    assert outputs(world, "b/turn1") == [[{"id": 1, "text": "z", "done": False}]]
    assert outputs(world, "c/turn1") == [whole, "invalid_input"]


def test_of_two_that_take_one_key_one_gets_it():
    take = ("board_set", {"board": "b", "key": "k", "value": "mine", "expected": None})
    winners = set()
    for seed in range(12):
        turns = {"x/turn1": calls_reply(take, take), "y/turn1": calls_reply(take)}
        world = played(turns, agent("x", share=("b",)), agent("y", share=("b",)), seed=seed)
        won = [path for path in ("x/turn1", "y/turn1") if outputs(world, path)[0]["ok"]]
        assert len(won) == 1
        assert outputs(world, "x/turn1")[1] == {"ok": False, "value": "mine"}
        winners.add(won[0])
    assert winners == {"x/turn1", "y/turn1"}


def test_only_boards_that_are_shared_can_be_reached():
    turns = {
        "a/turn1": calls_reply(
            ("board_set", {"board": "b", "key": "k", "value": 1}), ("board_get", {"board": "c"}), ("note", {})
        )
    }
    world = played(turns, agent("a", share=("b",)))
    assert outputs(world, "a/turn1") == [{"ok": True, "value": 1}, "invalid_input", "unknown_tool"]


def test_what_is_too_large_is_a_failed_call_that_says_so():
    turns = {
        "a/turn1": calls_reply(
            ("board_set", {"board": "b", "key": "k", "value": "x" * VALUE_BYTES}), ("board_get", {"board": "b"})
        )
    }
    world = played(turns, agent("a", share=("b",)))
    assert outputs(world, "a/turn1") == ["too_large", {}]
    assert str(VALUE_BYTES) in world.state.steps["a/turn1/tool0"].error["message"]


def test_a_skill_is_read_out_of_the_graph():
    world = played({"a/turn1": calls_reply(("skill", {"name": "bake"}))}, agent("a", skills=(SKILL,)))
    assert outputs(world, "a/turn1") == ["Knead."]
    assert {record.kind for record in world.records if "/tool" in record.path} == {"done"}


def test_records_say_what_was_written_and_what_was_read():
    turns = {
        "a/turn1": calls_reply(
            ("board_set", {"board": "b", "key": "k", "value": 1}),
            ("board_set", {"board": "b", "key": "k", "value": 2, "expected": 5}),
            ("board_get", {"board": "b", "key": "k"}),
            ("board_get", {"board": "b"}),
            ("note", {}),
            ("note", {"text": "x"}),
        )
    }
    world = played(turns, agent("a", share=("b",), notes=True))
    assert [record.body.get("kept") for record in world.records if "/tool" in record.path] == [
        {"board": "b", "key": "k", "set": True},
        {"board": "b", "key": "k"},
        {"board": "b", "key": "k"},
        {"board": "b"},
        None,
        {"note": "a"},
    ]


BUSY = {
    "x/turn1": calls_reply(
        ("board_set", {"board": "b", "key": "k", "value": {"n": 1}}), ("t", {}), ("todo", {"add": "p"})
    ),
    "x/turn2": calls_reply(("board_get", {"board": "b"}), ("note", {"text": "x"}), ("todo", {"done": 1})),
    "y/turn1": calls_reply(
        ("board_set", {"board": "b", "key": "k", "value": {"n": 2}, "expected": {"n": 1}}), ("todo", {"add": "q"})
    ),
    "y/turn2": calls_reply(("board_set", {"board": "b", "key": "l", "value": 3}), ("todo", {})),
}


def kept(state):
    boards = {name: (dict(board.values), board.size) for name, board in state.kept.boards.items()}
    return dict(state.kept.notes), dict(state.kept.todos), boards


@pytest.mark.parametrize("seed", range(6))
def test_a_decider_built_at_any_record_has_what_the_living_one_had(seed):
    own = {"share": ("b",), "notes": True, "todo": "shared", "tools": (tool(),)}
    nodes = [agent("x", **own), agent("y", **own)]
    world = World(graph(*nodes), answer=says(BUSY), seed=seed)
    seen = [(len(world.records), kept(world.state))]
    while world.tick():
        seen.append((len(world.records), kept(world.state)))
    for count, had in seen:
        decider = Decider(world.graph, fold(world.records[:count]), RUN)
        assert decider.decide() == []
        assert kept(decider.state) == had
    for count in range(1, len(world.records)):
        again = World(graph(*nodes), answer=says(BUSY), seed=seed + count)
        again.records = list(world.records)
        again.crash(keep=count)
        again.play()
        assert again.verify() is None
        assert again.state.kept.boards["b"].values["l"] == 3
        assert sorted(item["text"] for item in again.state.kept.todos[""]) == ["p", "q"]
        assert kept(again.state) == kept(fold(again.records))


def test_an_agent_that_begins_anew_begins_without_notes():
    turns = {"late/turn1": calls_reply(("note", {"text": "x"}), ("board_set", {"board": "b", "key": "k", "value": 1}))}
    bad = [True]

    def answer(intent):
        if intent.path == "a/turn1" and bad[0]:
            return Failed("auth", "no")
        return says(turns)(intent)

    found = graph(agent("a"), finally_=(agent("late", notes=True, share=("b",)),))
    world = World(found, answer=answer).play()
    assert world.end["status"] == "failed"
    bad[0] = False
    world.reopen()
    assert kept(world.state) == ({}, {}, {"b": ({"k": 1}, len('"k"1'))})
    world.play()
    assert world.end["status"] == "done"
    assert outputs(world, "late/turn1") == [["x"], {"ok": True, "value": 1}]
    assert world.verify() is None
