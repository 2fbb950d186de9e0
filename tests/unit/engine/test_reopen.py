"""What a resume of a run that ended badly does again, and what it never does."""

from __future__ import annotations

import pytest

from orchestrator.expr.values import Const, Expression, MapOf
from orchestrator.graph.nodes import Join, Node, OnDoubt, Retry, SetConfig
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.test_decide import agent, group, map_, set_, switch
from tests.unit.engine.world import World, answer_plus, call, calls_reply, graph, text_reply, tool


class Again:
    """A run in which the paths of ``bad`` fail until it is taken up again."""

    def __init__(self, *nodes, bad=(), answer=None, **more):
        self.bad = set(bad)
        self.other = answer or answer_plus
        self.world = World(graph(*nodes, **more), answer=self.answer).play()
        self.first = [path for path, _ in self.world.performed]

    def answer(self, intent):
        return Failed("nasty", "no") if intent.path in self.bad else self.other(intent)

    def resume(self, *still_bad):
        self.bad = set(still_bad)
        self.world.performed.clear()
        self.world.reopen()
        self.world.play()
        assert self.world.verify() is None
        return self

    @property
    def performed(self):
        return [path for path, _ in self.world.performed]

    @property
    def end(self):
        return self.world.end


def test_items_that_failed_are_done_again_and_no_others():
    node = map_("m", "range(5)", call("", {"x": "item"}, id="m/do", effect="idempotent"), concurrency=Const(5))
    run = Again(node, bad=["m[1]"], outputs={"m": "steps.m.output"})
    done = set(run.first) - {"m[1]"}
    run.resume()
    assert set(run.performed) == {f"m[{i}]" for i in range(5)} - done
    assert run.end["outputs"] == {"m": [1, 2, 3, 4, 5]}


def test_items_of_a_settled_map_that_is_done_stand():
    node = map_("m", "range(3)", call("", {"x": "item"}, id="m/do"), join=Join(mode="settled"))
    run = Again(
        node, call("z", needs=("m",)), bad=["m[1]", "z"], outputs={"f": "steps.m.failed", "m": "steps.m.output"}
    )
    run.resume()
    assert run.performed == ["z"]
    assert run.end["outputs"] == {"f": 1, "m": [1, None, 3]}


def test_items_of_a_settled_map_that_had_too_few_are_done_again():
    node = map_("m", "range(3)", call("", {"x": "item"}, id="m/do"), join=Join(mode="settled", min_success=Const(3)))
    run = Again(node, bad=["m[1]"], outputs={"m": "steps.m.output"})
    assert run.end["error"]["code"] == "too_few"
    run.resume()
    assert run.performed == ["m[1]"]
    assert run.end["outputs"] == {"m": [1, 2, 3]}


def test_groups_in_maps_go_on_where_they_stood():
    do = group("", call("one", {"x": "item"}), call("two", {"x": "steps.one.output"}, needs=("one",)))
    run = Again(map_("m", "range(2)", do, concurrency=Const(1)), bad=["m[0]/two"], outputs={"m": "steps.m.output"})
    assert run.first == ["m[0]/one", "m[0]/two"]
    run.resume()
    assert run.performed == ["m[0]/two", "m[1]/one", "m[1]/two"]
    assert run.end["outputs"] == {"m": [{"one": 1, "two": 2}, {"one": 2, "two": 3}]}


def test_what_a_fallback_dealt_with_stands_with_all_inside():
    inner = group("g", call("ok", {"x": 1}), call("bad", needs=("ok",)), on_error="step", fallback=set_("", x=7))
    run = Again(
        inner, call("z", needs=("g",)), bad=["g/bad", "z"], outputs={"g": "steps.g.output", "f": "steps.g.failed"}
    )
    run.resume()
    assert run.performed == ["z"]
    assert run.end["outputs"] == {"g": {"x": 7}, "f": 1}


def test_what_continues_stands():
    run = Again(
        call("a", on_error="continue"), call("z", needs=("a",)), bad=["a", "z"], outputs={"a": "steps.a.error.code"}
    )
    run.resume()
    assert run.performed == ["z"]
    assert run.end["outputs"] == {"a": "nasty"}


def test_a_timeout_that_was_dealt_with_stands():
    node = group("g", call("slow"), timeout=Const(5), on_error="step", fallback=set_("", x=1))
    world = World(graph(node, call("z")), answer=lambda i: Failed("nasty", "no"))
    world.decider.timers.clear()
    world.say(Draft("fired", "g", {"timer": "timeout"}))
    world.play()
    world.answer = answer_plus
    world.performed.clear()
    world.reopen()
    world.play()
    assert (world.end["status"], world.performed) == ("done", [("z", 2)])


def test_a_fallback_that_failed_begins_from_nothing_after_its_step():
    fallback = group("", call("one"), call("two", needs=("one",)))
    node = call("a", {"x": 1}, on_error="step", fallback=fallback)
    run = Again(node, bad=["a", "a/@error/two"])
    assert run.first == ["a", "a/@error/one", "a/@error/two"]
    run.resume("a")
    assert run.performed == ["a", "a/@error/one", "a/@error/two"]
    assert run.end["status"] == "done"


def test_a_fallback_that_was_cut_goes_on_without_its_step():
    fallback = group("", call("one"), call("two", needs=("one",)))
    nodes = (call("a", on_error="step", fallback=fallback), call("z"))
    world = World(graph(*nodes), answer=lambda i: Failed("nasty", "no") if i.path in ("a", "z") else answer_plus(i))
    for path in ("a", "a/@error/one", "z"):
        world.start(world.decider.permitted[path])
        world.end_of(world.decider.in_flight[path])
    assert world.end["status"] == "failed"
    world.answer = answer_plus
    world.performed.clear()
    world.reopen()
    world.play()
    assert sorted(path for path, _ in world.performed) == ["a/@error/two", "z"]
    assert world.end["status"] == "done"


def test_finally_and_on_failure_begin_from_nothing_under_new_keys():
    keys = {}

    def answer(intent):
        keys.setdefault(intent.path, []).append(intent.key)
        return answer_plus(intent)

    inner = group("g", call("bad"), finally_=(call("gf", effect="idempotent"),))
    run = Again(
        inner, bad=["g/bad"], answer=answer, finally_=(call("f", effect="idempotent"),),
        on_failure=call("@f", id="@failure", effect="idempotent"),
    )  # fmt: skip
    assert run.first == ["g/bad", "g/gf", "@failure", "f"]
    run.resume("g/bad")
    assert run.performed == run.first
    assert all(len(set(found)) == 2 for found in keys.values())
    run.resume()
    assert run.performed == ["g/bad", "g/gf", "f"]


def test_a_list_that_has_changed_is_expanded_anew_and_done_items_keep_their_keys():
    lists = {"a": Failed("nasty", "no")}
    nodes = (
        group(
            "g", call("a"),
            map_("m", "default(steps.a.output, ['p', 'q'])", call("", {"x": "1"}, id="m/do"), key="item", needs=("a",)),
            join=Join(mode="settled", min_success=Const(2)),
        ),
    )  # fmt: skip

    def answer(intent):
        return (
            lists["a"]
            if intent.path == "g/a"
            else Failed("no", "no")
            if "'q'" in repr(intent.path) or "[q]" in intent.path
            else Done(1)
        )

    world = World(graph(*nodes, outputs={"m": "steps.g.output"}), answer=answer).play()
    assert world.end["error"]["code"] == "too_few"
    lists["a"] = Done(["r", "p", "s"])
    world.performed.clear()
    world.reopen()
    world.play()
    assert world.end["outputs"] == {"m": {"a": ["r", "p", "s"], "m": [1, 1, 1]}}
    assert sorted(path for path, _ in world.performed) == ["g/a", "g/m[r]", "g/m[s]"]


def test_a_case_that_failed_is_taken_up_in_the_same_case():
    run = Again(switch("s", "'a'", {"a": call("", {"x": 1}, id="c")}), bad=["s/@case"], outputs={"s": "steps.s.output"})
    run.resume()
    assert (run.performed, run.end["outputs"]) == (["s/@case"], {"s": 2})
    assert sum(record.kind == "expanded" for record in run.world.records) == 1


def test_a_switch_without_a_case_decides_again():
    run = Again(switch("s", "'z'", {"a": call("", id="c")}))
    run.resume()
    assert run.end["error"]["code"] == "no_case"


@pytest.mark.parametrize("mode", ["ask", "reconcile"])
def test_a_write_that_was_cut_off_is_in_doubt_when_the_run_is_taken_up(mode):
    doubt = OnDoubt(mode=mode, tool=tool("read") if mode == "reconcile" else None)
    world = World(graph(call("w", on=tool("write", on_doubt=doubt)), call("z")), answer=lambda i: Failed("nasty", "no"))
    world.start(world.decider.permitted["w"])
    world.start(world.decider.permitted["z"])
    world.end_of(world.decider.in_flight["z"])
    world.say(Draft("cancelled", "w", {"attempt": 1, "in_doubt": True}))
    assert world.end["status"] == "failed"
    world.answer = lambda i: Done("it happened") if "@reconcile" in i.path else answer_plus(i)
    world.reopen()
    world.play()
    if mode == "ask":
        assert world.state.steps["w"].status == "waiting"
        world.say(Draft("resolved", "w", {"result": "it happened"}))
    assert ("w", 2) not in world.performed
    assert world.state.steps["w"].output == "it happened"
    assert world.end["status"] == "done"
    assert world.verify() is None


def test_an_idempotent_call_that_was_cut_off_keeps_its_key():
    world = World(graph(call("i", effect="idempotent"), call("z")), answer=lambda i: Failed("nasty", "no"))
    key = world.decider.permitted["i"].key
    world.start(world.decider.permitted["i"])
    world.start(world.decider.permitted["z"])
    world.end_of(world.decider.in_flight["z"])
    world.say(Draft("cancelled", "i", {"attempt": 1}))
    world.reopen()
    assert (world.decider.permitted["i"].key, world.decider.permitted["i"].attempt) == (key, 2)


# Agents

ANY = {"type": "object"}
REPLIES = {
    "g/turn1": calls_reply(("t", {"x": 1}), ("t", {"x": 2})),
    "g/turn2": calls_reply(("t", {"x": 3})),
    "g/turn3": text_reply("well"),
}


def talk(intent):
    return REPLIES[intent.path] if intent.kind == "model" else answer_plus(intent)


def test_an_agent_goes_on_at_the_call_that_failed_and_repeats_no_tool():
    run = Again(
        agent("g", tool(input=ANY)), bad=["g/turn3", "g/turn1/tool1"], answer=talk, outputs={"g": "steps.g.output"}
    )
    assert run.first[-1] == "g/turn3"
    run.resume()
    assert (run.performed, run.end["outputs"]) == (["g/turn3"], {"g": "well"})
    # The tool that failed in the first turn has failed: the model has read that, and gone on.
    assert run.world.state.steps["g/turn1/tool1"].status == "failed"


@pytest.mark.parametrize("stop", ["max_tokens", "refusal"])
def test_a_turn_that_the_agent_failed_on_is_asked_for_again(stop):
    said = [text_reply("", stop=stop), text_reply("well")]
    run = Again(agent("g"), answer=lambda i: said.pop(0), outputs={"g": "steps.g.output"})
    assert run.end["error"]["code"] == stop
    run.resume()
    assert (run.performed, run.end["outputs"]) == (["g/turn1"], {"g": "well"})


def test_at_the_limit_of_turns_no_tool_runs_twice():
    run = Again(agent("g", tool(input=ANY), turns=1), answer=talk)
    run.resume()
    assert (run.performed, run.end["error"]["code"]) == ([], "turn_limit")


@pytest.mark.parametrize(("effect", "again"), [("read", ["g/turn1/tool1"]), ("write", [])])
def test_tools_that_were_cut_off_go_on_as_their_effect_allows(effect, again):
    world = World(
        graph(agent("g", tool(effect, input=ANY)), call("z")),
        answer=lambda i: talk(i) if i.path != "z" else Failed("x", "y"),
    )
    world.start(world.decider.permitted["g/turn1"])
    world.end_of(world.decider.in_flight["g/turn1"])
    for path in ("g/turn1/tool0", "g/turn1/tool1", "z"):
        world.start(world.decider.permitted[path])
    world.end_of(world.decider.in_flight["g/turn1/tool0"])
    world.end_of(world.decider.in_flight["z"])
    world.say(Draft("cancelled", "g/turn1/tool1", {"attempt": 1} | ({"in_doubt": True} if effect == "write" else {})))
    assert world.end["status"] == "failed"
    world.answer = lambda i: talk(i)
    world.performed.clear()
    world.reopen()
    world.play()
    assert [path for path, _ in world.performed if "tool" in path and "turn1" in path] == again
    assert (world.state.steps["g/turn1/tool1"].status == "waiting") is (effect == "write")


def test_an_agent_that_timed_out_in_a_turn_asks_again():
    world = World(
        graph(agent("g", timeout=Const(5)), outputs={"g": "steps.g.output"}), answer=lambda i: text_reply("well")
    )
    world.start(world.decider.permitted["g/turn1"])
    world.decider.timers.clear()
    world.say(Draft("fired", "g", {"timer": "timeout"}))
    world.say(Draft("cancelled", "g/turn1", {"attempt": 1, "cost": None, "tokens": 0}))
    assert world.end["error"]["code"] == "timeout"
    world.clock += 10**9
    world.reopen()
    assert world.decider.timers == {"g": world.clock + 5}
    world.play()
    assert world.end["outputs"] == {"g": "well"}


def test_a_cancelled_run_is_taken_up_where_it_was():
    nodes = (
        call("a"),
        call("b", {"x": "steps.a.output"}, needs=("a",)),
        group("g", call("c", {"x": "steps.b.output"}), needs=("b",)),
    )
    world = World(graph(*nodes, outputs={"g": "steps.g.output.c"}))
    world.start(world.decider.permitted["a"])
    world.end_of(world.decider.in_flight["a"])
    world.say(Draft("cancel_requested", "", {}))
    assert world.end == {"status": "cancelled"}
    world.performed.clear()
    world.reopen()
    world.play()
    assert (world.performed, world.end) == ([("b", 1), ("g/c", 1)], {"status": "done", "outputs": {"g": 3}})
    assert world.verify() is None


def test_retries_are_counted_anew():
    node = call("a", retry=Retry(attempts=Const(2)))
    world = World(graph(node), answer=lambda i: Failed("timeout", "no")).play()
    world.reopen()
    world.play()
    assert [attempt for _, attempt in world.performed] == [1, 2, 3, 4]


def test_set_steps_that_failed_are_computed_again():
    node = Node(
        name="s",
        id="s",
        kind="set",
        needs=("a",),
        config=SetConfig(values=MapOf({"x": Expression("10 / steps.a.output")})),
    )
    world = World(graph(call("a"), node), answer=lambda i: Done(0)).play()
    world.reopen()
    world.play()
    assert world.end["status"] == "failed"
    assert world.performed == [("a", 1)]
