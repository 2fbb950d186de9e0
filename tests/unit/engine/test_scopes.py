"""Scopes that end, are stopped, or run out of time, in all the places where that can happen at once."""

from __future__ import annotations

import pytest

from orchestrator.engine.scope import Scope, SecretsView
from orchestrator.engine.steps.common import Wrong, micros
from orchestrator.expr.values import Const, Expression
from orchestrator.graph.nodes import Join, OnDoubt
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done, Failed, Lost
from tests.unit.engine.test_decide import agent, group, map_, set_, switch
from tests.unit.engine.world import World, answer_plus, call, calls_reply, graph, text_reply, tool


def start(world, *paths):
    for path in paths:
        world.start(world.decider.permitted[path])


def end(world, *paths):
    for path in paths:
        world.end_of(world.decider.in_flight[path])


def fire(world, path):
    del world.decider.timers[path]
    world.say(Draft("fired", path, {"timer": "timeout"}))


def cut(world, *paths):
    for path in paths:
        world.decider.cancels.remove(path)
        world.say(Draft("cancelled", path, {"attempt": 1}))


def failing(*paths, code="nasty"):
    return lambda intent: Failed(code, "no") if intent.path in paths else answer_plus(intent)


NESTED = (
    group("g", call("in"), call("after", needs=("in",)), finally_=(call("tidy", {"x": 5}),)),
    call("bad"),
)


@pytest.mark.parametrize("crash", [False, True])
def test_a_groups_finally_runs_when_its_parent_is_stopped_and_after_a_crash(crash):
    world = World(graph(*NESTED), answer=failing("bad"))
    start(world, "g/in", "bad")
    end(world, "bad")
    assert world.decider.cancels == ["g/in"]
    if crash:
        world.crash()
    else:
        cut(world, "g/in")
    assert list(world.decider.permitted) == ["g/tidy"]
    world.play()
    assert (world.end["status"], world.state.steps["g/tidy"].output) == ("failed", 6)
    assert "g/after" not in world.state.steps
    assert world.verify() is None


@pytest.mark.parametrize("crash", [False, True])
def test_a_group_that_had_not_begun_when_its_parent_was_stopped_has_no_finally(crash):
    late = group("late", call("in"), finally_=(call("tidy"),), needs=("slow",))
    world = World(graph(call("slow"), call("bad"), late), answer=failing("bad"))
    start(world, "slow", "bad")
    end(world, "bad", "slow")
    if crash:
        world.crash(-1 % len(world.records))
    world.play()
    assert world.state.steps["slow"].status == "done"
    assert not [path for path in world.state.steps if path.startswith("late")]
    assert world.verify() is None


@pytest.mark.parametrize("crash", [False, True])
def test_items_under_way_tidy_up_when_another_one_fails_their_map(crash):
    do = group("", call("in", {"x": "item"}), finally_=(call("tidy"),))
    world = World(graph(map_("m", "range(9)", do, concurrency=Const(3))), answer=failing("m[1]/in"))
    start(world, "m[0]/in", "m[1]/in")
    end(world, "m[1]/in")
    start(world, "m[1]/tidy")
    end(world, "m[1]/tidy")
    if crash:
        world.crash()
    else:
        cut(world, "m[0]/in")
    assert sorted(world.decider.permitted) == ["m[0]/tidy", "m[2]/tidy"]
    world.play()
    assert world.end["error"]["step"] == "m[1]/in"
    assert "m[3]/in" not in world.state.steps
    assert world.verify() is None


def test_a_cancel_reaches_into_maps_of_groups_of_agents():
    talk = agent("talk", tool())
    do = group("", talk, call("in", {"x": "item"}, effect="write"))
    answer = lambda i: calls_reply(("t", {})) if i.kind == "model" else answer_plus(i)  # noqa: E731
    world = World(graph(map_("m", "range(4)", do, concurrency=Const(2)), finally_=(call("f"),)), answer=answer)
    start(world, "m[0]/talk/turn1", "m[0]/in", "m[1]/talk/turn1", "m[1]/in")
    end(world, "m[0]/talk/turn1")
    start(world, "m[0]/talk/turn1/tool0")
    world.say(Draft("cancel_requested", "", {}))
    flying = {"m[0]/talk/turn1/tool0", "m[0]/in", "m[1]/talk/turn1", "m[1]/in"}
    assert set(world.decider.cancels) == set(world.decider.in_flight) == flying
    assert world.decider.permitted == {}
    cut(world, *flying - {"m[1]/in"})
    assert world.end is None
    end(world, "m[1]/in")  # ends well, all the same
    assert list(world.decider.permitted) == ["f"]
    world.play()
    assert world.end == {"status": "cancelled"}
    assert world.verify() is None


@pytest.mark.parametrize("crash", [False, True])
def test_a_cancel_stops_on_failure_and_leaves_finally(crash):
    failure = group("@f", call("one"), call("two", needs=("one",)))
    world = World(graph(call("bad"), on_failure=failure, finally_=(call("f"),)), answer=failing("bad"))
    start(world, "bad")
    end(world, "bad")
    start(world, "@failure/one")
    assert world.decider.cancellable
    world.say(Draft("cancel_requested", "", {}))
    if crash:
        world.crash()
    else:
        cut(world, "@failure/one")
    assert list(world.decider.permitted) == ["f"]
    assert not world.decider.cancellable
    world.play()
    assert world.end == {"status": "cancelled"}
    assert world.verify() is None


def test_a_cancel_before_on_failure_has_begun_passes_it_over():
    world = World(graph(call("bad"), call("slow"), on_failure=call("@f", id="@failure")), answer=failing("bad"))
    start(world, "bad", "slow")
    end(world, "bad")
    world.say(Draft("cancel_requested", "", {}))
    cut(world, "slow")
    assert world.end == {"status": "cancelled"}


@pytest.mark.parametrize("first", ["timeout", "failure"])
@pytest.mark.parametrize("crash", [False, True])
def test_a_scope_that_is_stopped_while_a_timeout_takes_it_down_begins_no_fallback(first, crash):
    node = group("g", call("in"), timeout=Const(5), on_error="step", fallback=call("", id="fb"))
    world = World(graph(node, call("bad")), answer=failing("bad"))
    start(world, "g/in", "bad")
    if first == "timeout":
        fire(world, "g")
    end(world, "bad")
    if first == "failure":
        fire(world, "g")
    if crash:
        world.crash()
    else:
        cut(world, "g/in")
    world.play()
    assert world.end["error"]["step"] == "bad"
    assert "g/@error" not in world.state.steps
    assert world.verify() is None


def test_a_fallback_has_no_timer_of_its_step():
    node = group("g", call("in"), timeout=Const(5), on_error="step", fallback=call("", {"x": 1}, id="fb"))
    world = World(graph(node, outputs={"g": "steps.g.output"}), answer=failing("g/in"))
    start(world, "g/in")
    end(world, "g/in")
    assert world.decider.timers == {}
    world.play()
    assert world.end["outputs"] == {"g": 2}


@pytest.mark.parametrize("crash", [False, True])
def test_a_fallback_is_stopped_with_its_scope(crash):
    fallback = group("", call("one"), call("two", needs=("one",)), finally_=(call("tidy"),))
    nodes = (call("a", on_error="step", fallback=fallback), call("bad"))
    world = World(graph(*nodes), answer=failing("a", "bad"))
    start(world, "a", "bad")
    end(world, "a")
    start(world, "a/@error/one")
    end(world, "bad")
    if crash:
        world.crash()
    else:
        cut(world, "a/@error/one")
    assert list(world.decider.permitted) == ["a/@error/tidy"]
    world.play()
    assert world.end["error"]["step"] == "bad"
    assert [record.kind for record in world.ends("a")] == ["failed"]
    assert world.verify() is None


def test_a_fallback_that_ends_after_its_scope_was_stopped_changes_nothing():
    nodes = (call("a", on_error="step", fallback=call("", id="fb")), call("bad"))
    world = World(graph(*nodes), answer=failing("a", "bad"))
    start(world, "a", "bad")
    end(world, "a")
    start(world, "a/@error")
    end(world, "bad", "a/@error")
    assert [record.kind for record in world.ends("a")] == ["failed"]
    assert world.end["error"]["step"] == "bad"
    assert world.verify() is None


def test_nested_fallbacks_stand_in_for_one_another():
    inner = call("", {"x": 41}, id="f2")
    fallback = call("", id="f1", on_error="step", fallback=inner)
    world = World(
        graph(call("a", on_error="step", fallback=fallback), outputs={"a": "steps.a.output", "e": "steps.a.error"}),
        answer=failing("a", "a/@error"),
    ).play()
    assert world.end["outputs"] == {"a": 42, "e": None}
    assert world.verify() is None


@pytest.mark.parametrize("where", ["case", "fallback"])
def test_a_case_or_a_fallback_that_continues_lets_the_run_go_on(where):
    bad = call("", id="b", on_error="continue")
    node = switch("s", "'a'", {"a": bad}) if where == "case" else call("s", on_error="step", fallback=bad)
    world = World(
        graph(
            node,
            call("z", {"x": "default(steps.s.output, 6)"}, needs=("s",)),
            outputs={"z": "steps.z.output", "s": "steps.s.status"},
        ),
        answer=lambda i: answer_plus(i) if i.path == "z" else Failed("nasty", "no"),
    ).play()
    assert world.end == {"status": "done", "outputs": {"z": 7, "s": "failed"}}
    assert world.verify() is None


def test_a_step_that_continues_and_fails_in_a_stopped_scope_is_not_its_error():
    world = World(graph(call("c", on_error="continue"), call("z", timeout=None)), answer=failing("c", "z"))
    start(world, "c", "z")
    world.say(Draft("cancel_requested", "", {}))
    end(world, "c")
    assert world.records[-1].body["handled"] == "continue"
    cut(world, "z")
    assert world.end == {"status": "cancelled"}


def test_a_map_decides_its_end_once_however_often_it_is_looked_at():
    node = map_(
        "m",
        "range(2)",
        call("", id="do"),
        on_error="step",
        fallback=call("", condition="false", id="fb"),
        concurrency=Const(2),
    )
    world = World(graph(node), answer=lambda i: Failed("nasty", "no"))
    start(world, "m[0]", "m[1]")
    end(world, "m[0]", "m[1]")
    assert [(r.kind, r.body.get("handled"), r.body.get("by")) for r in world.ends("m")] == [
        ("failed", "step", None),
        ("failed", None, "fallback"),
    ]
    assert world.verify() is None


# Doubt


def doubts(*names, **more):
    return [call(name, {"x": 1}, on=tool("write"), **more) for name in names]


def test_two_doubts_at_once_wait_each_for_its_own_word():
    world = World(graph(*doubts("a", "b"), call("z", {"x": "steps.a.output + steps.b.output"}, needs=("a", "b"))))
    start(world, "a", "b")
    world.crash()
    assert {path for path, step in world.state.steps.items() if step.waiting} == {"a", "b"}
    world.say(Draft("resolved", "b", {"result": 10}))
    assert not world.tick()
    world.crash()
    assert [step.path for step in world.state.steps.values() if step.waiting] == ["a"]
    world.say(Draft("resolved", "a", {"retry": True}))
    world.play()
    assert (world.end["status"], world.state.steps["z"].output) == ("done", 13)
    assert world.performed == [("a", 2), ("z", 1)]
    assert world.verify() is None


def test_a_cancel_while_waiting_in_doubt_ends_the_run():
    world = World(graph(*doubts("a", "b"), finally_=(call("f"),)))
    start(world, "a", "b")
    world.crash()
    world.say(Draft("cancel_requested", "", {}))
    world.play()
    assert world.end == {"status": "cancelled"}
    assert world.performed == [("f", 1)]
    assert world.verify() is None


@pytest.mark.parametrize("said", [{"result": 1}, {"retry": True}, {"fail": True}])
def test_a_word_on_a_step_whose_scope_was_stopped_changes_nothing(said):
    node = group("g", *doubts("w"), call("slow"), timeout=Const(5), on_error="continue")
    world = World(graph(node, call("other"), outputs={"g": "steps.g.error.code"}))
    start(world, "g/w", "g/slow", "other")
    world.crash()
    assert world.state.steps["g/w"].status == "waiting"
    world.start(world.decider.permitted["g/slow"])
    fire(world, "g")
    world.say(Draft("resolved", "g/w", said))
    world.play()
    assert world.end == {"status": "done", "outputs": {"g": "timeout"}}
    assert not [path for path, _ in world.performed if path == "g/w"]
    assert world.verify() is None


def test_a_write_that_is_lost_while_its_scope_is_stopped_asks_nobody():
    world = World(
        graph(*doubts("w"), call("bad")),
        answer=lambda i: Lost("timeout", "late") if i.path == "w" else Failed("x", "y"),
    )
    start(world, "w", "bad")
    end(world, "bad", "w")
    assert world.end["status"] == "failed"
    assert world.verify() is None


def test_a_reconciling_tool_is_stopped_with_its_scope():
    doubt = OnDoubt(mode="reconcile", tool=tool("read"), args=Const({"x": 9}))
    world = World(graph(call("w", on=tool("write", on_doubt=doubt)), call("bad")), answer=failing("bad"))
    start(world, "w")
    world.crash()
    start(world, "w/@reconcile1", "bad")
    assert world.decider.in_flight["w/@reconcile1"].request["args"] == {"x": 9}
    end(world, "bad")
    assert world.decider.cancels == ["w/@reconcile1"]
    cut(world, "w/@reconcile1")
    assert world.end["status"] == "failed"


# Small things


def test_scopes_without_steps_end_at_once():
    world = World(graph(group("g"), outputs={"g": "steps.g.output"}))
    assert world.end == {"status": "done", "outputs": {"g": {}}}


def test_finally_may_need_what_stood_before_it():
    world = World(graph(call("a", {"x": 1}), finally_=(call("f", {"x": "steps.a.output"}, needs=("a",)),))).play()
    assert world.state.steps["f"].output == 3


def test_a_group_may_give_one_value_of_its_own():
    world = World(
        graph(group("g", call("a"), outputs=Expression("steps.a.output + 1")), outputs={"g": "steps.g.output"})
    )
    assert world.play().end["outputs"] == {"g": 2}


def test_a_map_over_what_is_absent_is_skipped_and_has_no_items():
    world = World(
        graph(
            call("n", condition="false"), map_("m", "steps.n.output", call("", id="m/do"), needs=("n",)),
            outputs={"s": "steps.m.status", "i": "steps.m.items", "ok": "steps.m.ok"},
        )
    ).play()  # fmt: skip
    assert world.end["outputs"] == {"s": "skipped", "i": [], "ok": 0}


def test_a_condition_that_is_neither_fails_the_step():
    assert World(graph(call("a", condition="1 + 1"))).end["error"]["code"] == "expression"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, 5),
        ("1h30m", 5_400_000_000),
        ("10ms", 10_000),
        ("1.5s", 1_500_000),
        ("2d", 172_800_000_000),
        ("1m", 60_000_000),
    ],
)
def test_durations(value, found):
    assert micros(value) == found


@pytest.mark.parametrize("value", [0, -1, True, "", "5", "5 s", "1x", None, 1.5])
def test_what_is_no_duration_is_said(value):
    with pytest.raises(Wrong, match="a duration is text such as 1h30m"):
        micros(value)


def test_names_are_found_here_then_further_out():
    outer = Scope(None, {"x": 1})
    assert Scope(outer, {"y": 2}).env == {"x": 1, "y": 2}
    assert Scope(outer, {}).find("nothing") is None
    world = World(graph(call("a", {"x": 1}), group("g", call("b", {"x": "steps.a.output"}), needs=("a",))))
    assert world.play().state.steps["g/b"].output == 3


def test_operations_of_a_files_tool_have_effects_of_their_own():
    files = tool("write", operations={"read": "read", "write": "idempotent"})
    reader, writer = call("r", on=files), call("w", on=files)
    for node, operation in ((reader, "read"), (writer, "write")):
        object.__setattr__(node.config, "operation", operation)
    world = World(graph(reader, writer))
    found = {path: (i.effect, i.request["operation"], bool(i.key)) for path, i in world.decider.permitted.items()}
    assert found == {"r": ("read", "read", False), "w": ("idempotent", "write", True)}


def test_arguments_that_were_no_object_go_back_to_the_model():
    said = [calls_reply(("t", {"$invalid": "{oh"})), text_reply("well")]
    world = World(graph(agent("g", tool()), outputs={"g": "steps.g.output"}), answer=lambda i: said.pop(0)).play()
    assert "no JSON object: {oh" in world.state.steps["g/turn1/tool0"].error["message"]
    assert world.end["outputs"] == {"g": "well"}


def test_details_of_a_failure_go_back_to_the_model():
    said = [calls_reply(("t", {})), text_reply("well")]
    answer = lambda i: said.pop(0) if i.kind == "model" else Failed("x", "no", detail={"why": 1})  # noqa: E731
    assert World(graph(agent("g", tool())), answer=answer).play().end["status"] == "done"


def test_a_settled_map_has_its_errors_in_place():
    node = map_("m", "['a', 'b']", call("", id="do"), key="item", join=Join(mode="settled"))
    world = World(
        graph(node, outputs={"i": "steps.m.items"}), answer=lambda i: Failed("x", "y") if "[a]" in i.path else Done(1)
    )
    first, second = world.play().end["outputs"]["i"]
    assert (first["key"], first["status"], first["output"], first["error"]["code"]) == ("a", "failed", None, "x")
    assert (second["status"], second["error"]) == ("done", None)


def test_set_steps_see_what_stands_outside():
    assert (
        World(graph(set_("a", x=1), group("g", set_("b", y="steps.a.output.x")), outputs={"y": "1"})).end["status"]
        == "done"
    )


def test_a_step_that_is_being_taken_down_is_not_ended_by_looking_at_it():
    node = group("g", call("in"), finally_=(call("tidy"),), timeout=Const(5))
    world = World(graph(node))
    start(world, "g/in")
    fire(world, "g")
    cut(world, "g/in")
    start(world, "g/tidy")
    world.decider.look_later(world.decider.acts["g"])
    assert world.decider.decide() == []
    end(world, "g/tidy")
    assert world.end["error"]["code"] == "timeout"


def test_a_group_that_is_stopped_before_it_begins_has_no_trace():
    """Both are decided in one go: the first one fails, and its scope takes the second one down."""
    world = World(graph(call("a", {"x": "[1][3]"}), group("g", call("b"), condition="1 / 0 == 1")))
    assert world.end["error"]["step"] == "a"
    assert "g" not in world.state.steps


def test_secrets_are_references_and_null_where_an_optional_one_was_not_set():
    secrets = SecretsView(frozenset({"A"}))
    assert "A" in secrets.get_field("A")
    assert secrets.get_field("B") is None


def test_steps_of_finally_count_for_nothing():
    settled = Join(mode="settled", min_success=Const(2))
    node = group("g", call("a"), call("b"), finally_=(call("f"),), join=settled, on_error="continue")
    found = graph(node, outputs={"s": "steps.g.status", "ok": "steps.g.ok", "o": "steps.g.output"})
    assert World(found, answer=failing("g/b")).play().end["outputs"] == {"s": "failed", "ok": 1, "o": None}
    assert World(found).play().end["outputs"] == {"s": "done", "ok": 2, "o": {"a": 1, "b": 1}}
