"""The decider: order, scopes, ends, doubt; and that one built from any prefix stands where the living one stood."""

from __future__ import annotations

import pytest

from orchestrator.expr.values import Const, Expression, MapOf
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    Block,
    FailConfig,
    GroupConfig,
    Join,
    MapConfig,
    ModelDef,
    Node,
    OnDoubt,
    Retry,
    SetConfig,
    SwitchConfig,
)  # fmt: skip
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done, Failed, Lost
from tests.unit.engine.world import World, answer_plus, call, calls_reply, graph, text_reply, tool


def set_(name, needs=(), **fields):
    values = {k: Expression(v) if isinstance(v, str) else Const(v) for k, v in fields.items()}
    return Node(name=name, id=name, kind="set", needs=needs, config=SetConfig(values=MapOf(values)))


def group(name, *nodes, outputs=None, join=None, finally_=(), **more):
    config = GroupConfig(block=Block(nodes=nodes, finally_=finally_), outputs=outputs, join=join or Join())
    return Node(name=name, id=name, kind="steps", config=config, **more)


def map_(name, over, do, **more):
    node = {
        key: more.pop(key) for key in ("needs", "on_error", "fallback", "timeout", "output", "condition") if key in more
    }
    return Node(name=name, id=name, kind="map", config=MapConfig(over=over, do=do, **more), **node)


def switch(name, on, cases, otherwise=None, **more):
    return Node(name=name, id=name, kind="switch", config=SwitchConfig(on=on, cases=cases, otherwise=otherwise), **more)


def agent(name, *tools, output=None, parallel=True, turns=24, **more):
    definition = AgentDef(
        name=name, model=ModelDef(name="m", settings={"provider": Const("scripted")}), tools=tools, output=output,
        turns=Const(turns), parallel_tools=parallel, instructions=Const("be good"),
    )  # fmt: skip
    return Node(name=name, id=name, kind="agent", config=AgentConfig(agent=definition, prompt=Const("go")), **more)


def bad(code="tool_error", **more):
    return lambda intent: Failed(code, "no", **more)


WRITE_ASK = tool("write")

TURNS = {
    "talk/turn1": calls_reply(("t", {"x": 1}), ("t", {"x": 5}), ("nope", {})),
    "talk/turn2": calls_reply(("t", {"x": "bad"})),
    "talk/turn3": text_reply("bye"),
}


def busy_answer(intent):
    if intent.kind == "model":
        return TURNS[intent.path]
    if intent.path == "flaky" and intent.attempt < 3:
        return Failed("tool_error", "not yet")
    if intent.path == "broken":
        return Failed("nasty", "never", status=418, detail={"why": 1})
    if intent.path.startswith("some[1]"):
        return Failed("tool_error", "no")
    return Done(intent.request["args"].get("x", 0) + 1)


BUSY = graph(
    call("a", {"x": 1}),
    call("b", {"x": "steps.a.output"}, needs=("a",)),
    set_("c", needs=("b",), x="steps.b.output", late="now()", id="uuid()"),
    call("no", {"x": 1}, condition="steps.a.output > 5", needs=("a",)),
    call("gone", {"x": "steps.no.output"}, needs=("no",)),
    call("instead", {"x": "default(steps.no.output, 40)"}, needs=("no",)),
    map_("all", "range(7)", call("", {"x": "item"}, id="all/do"), concurrency=Const(3)),
    map_(
        "some", "['p', 'q', 'r']",
        group("", call("one", {"x": "index"}), call("two", {"x": "steps.one.output"}, needs=("one",)), outputs=MapOf({"v": Expression("steps.two.output")})),
        key="item", as_="item", join=Join(mode="settled"),
    ),
    call("flaky", retry=Retry(attempts=Const(3), delay=10)),
    call("broken", on_error="step", fallback=call("", {"x": "size(error.code)"}, id="broken/@error")),
    switch("route", "steps.b.output > 2", {"true": call("", {"x": 10}, id="r1"), "false": call("", {"x": 20}, id="r2")}, needs=("b",)),
    agent("talk", tool(input={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})),
    finally_=(call("bye", {"x": 100}), call("bye2", {"x": "steps.bye.output"}, needs=("bye",))),
    outputs={
        "c": "steps.c.output.x", "instead": "steps.instead.output", "gone": "steps.gone.output", "all": "steps.all.output",
        "some": "steps.some.output", "ok": "steps.some.ok", "failed": "steps.some.failed", "flaky": "steps.flaky.output",
        "broken": "steps.broken.output", "route": "steps.route.output", "talk": "steps.talk.output", "bye": "steps.bye2.output",
        "status": "steps.gone.status", "keys": "steps.some.items.map(i, i.key)",
    },
)  # fmt: skip

EXPECTED = {
    "c": 3, "instead": 41, "gone": None, "all": [1, 2, 3, 4, 5, 6, 7], "some": [{"v": 2}, {"v": 3}, {"v": 4}], "ok": 3,
    "failed": 0, "flaky": 1, "broken": 6, "route": 11, "talk": "bye", "bye": 102, "status": "skipped", "keys": ["p", "q", "r"],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_ends_gives_the_same_outputs(seed):
    world = World(BUSY, answer=busy_answer, seed=seed).play()
    assert world.end == {"status": "done", "outputs": EXPECTED}
    assert world.verify() is None


@pytest.mark.parametrize("seed", range(3))
def test_a_run_cut_at_any_record_goes_on_and_ends_the_same(seed):
    whole = World(BUSY, answer=busy_answer, seed=seed).play()
    for keep in range(1, len(whole.records)):
        world = World(BUSY, answer=busy_answer, seed=seed + keep)
        world.records = list(whole.records[:keep])
        world.crash()
        done = {r.path for r in whole.records[:keep] if r.kind == "done"}
        world.play()
        assert world.end == {"status": "done", "outputs": EXPECTED}, keep
        assert world.verify() is None, keep
        assert not done & {path for path, _ in world.performed}, keep
        for path in {r.path for r in world.records}:
            attempts = [r.body.get("attempt") for r in world.ends(path)]
            assert len(attempts) == len(set(attempts)), (keep, path)


def test_a_rebuilt_decider_permits_what_the_living_one_did():
    world = World(BUSY, answer=busy_answer, seed=4)
    while world.tick():
        records = list(world.records)
        permitted = {(i.path, i.attempt, i.hash, i.key) for i in world.decider.permitted.values()}
        twin = World(BUSY, answer=busy_answer)
        twin.records = records
        twin._build()
        assert twin.records == records
        assert {(i.path, i.attempt, i.hash, i.key) for i in twin.decider.permitted.values()} - permitted == set()
        assert permitted <= {(i.path, i.attempt, i.hash, i.key) for i in twin.decider.permitted.values()}


def test_the_first_failure_cancels_the_rest_and_fails():
    nodes = (
        call("bad"),
        call("slow", {"x": 1}, effect="write"),
        call("after", {"x": "steps.bad.output"}, needs=("bad",)),
    )
    world = World(graph(*nodes), answer=bad())
    for intent in list(world.decider.permitted.values()):
        world.start(intent)
    world.end_of(world.decider.in_flight["bad"])
    assert world.decider.cancels == ["slow"]
    world.play()
    assert world.end["status"] == "failed"
    assert world.end["error"] == {"code": "tool_error", "message": "no", "status": None, "detail": None, "step": "bad"}
    assert [r.kind for r in world.ends("slow")] == ["cancelled"]
    assert world.ends("after") == []
    assert world.verify() is None


def test_what_fails_after_the_first_failure_is_not_the_error():
    world = World(graph(call("b"), call("a")), answer=bad())
    for intent in list(world.decider.permitted.values()):
        world.start(intent)
    world.end_of(world.decider.in_flight["a"])
    world.end_of(world.decider.in_flight["b"])
    assert world.end["error"]["step"] == "a"


def test_continue_lets_the_others_go_on():
    nodes = (call("bad", on_error="continue"), call("next", {"x": "default(steps.bad.output, 5)"}, needs=("bad",)))
    world = World(
        graph(*nodes, outputs={"n": "steps.next.output", "e": "steps.bad.error.code"}),
        answer=lambda i: Failed("nasty", "no") if i.path == "bad" else answer_plus(i),
    ).play()
    assert world.end == {"status": "done", "outputs": {"n": 6, "e": "nasty"}}


def test_on_failure_and_finally_see_the_error_and_the_end():
    world = World(
        graph(
            call("bad"),
            on_failure=call("@f", {"x": "size(error.code)"}, id="@failure"),
            finally_=(set_("last", e="error.step", s="run.status", bad="steps.bad.status"),),
        ),
        answer=lambda i: Failed("abc", "no") if i.path == "bad" else answer_plus(i),
    ).play()
    assert world.end["status"] == "failed"
    assert world.state.steps["@failure"].output == 4
    assert world.state.steps["last"].output == {"e": "bad", "s": "failed", "bad": "failed"}
    assert world.verify() is None


def test_a_fallback_of_a_group_sees_its_inner_steps():
    inner = group(
        "g",
        call("ok", {"x": 1}),
        call("bad", needs=("ok",)),
        on_error="step",
        fallback=set_("", x="steps.ok.output", step="error.step"),
    )
    world = World(
        graph(inner, outputs={"g": "steps.g.output"}),
        answer=lambda i: Failed("abc", "no") if i.path == "g/bad" else answer_plus(i),
    ).play()
    assert world.end == {"status": "done", "outputs": {"g": {"x": 2, "step": "g/bad"}}}
    assert world.verify() is None


def test_a_fallback_that_fails_fails_the_step():
    world = World(graph(call("bad", on_error="step", fallback=call("", id="bad/@error"))), answer=bad()).play()
    assert world.end["error"]["step"] == "bad/@error"
    assert world.verify() is None


def test_a_settled_group_counts_and_may_ask_for_more():
    inner = (call("ok"), call("bad"))
    answer = lambda i: Failed("abc", "no") if i.path == "g/bad" else answer_plus(i)  # noqa: E731
    world = World(
        graph(group("g", *inner, join=Join(mode="settled")), outputs={"ok": "steps.g.ok", "bad": "steps.g.failed"}),
        answer=answer,
    ).play()
    assert world.end == {"status": "done", "outputs": {"ok": 1, "bad": 1}}
    world = World(graph(group("g", *inner, join=Join(mode="settled", min_success=Const(2)))), answer=answer).play()
    assert world.end["error"]["code"] == "too_few"


def test_a_map_fails_with_its_first_failure_and_stops_the_others():
    world = World(graph(map_("m", "range(9)", call("", {"x": "item"}, id="m/do"), concurrency=Const(3))), answer=bad())
    for intent in list(world.decider.permitted.values()):
        world.start(intent)
    assert list(world.decider.in_flight) == ["m[0]", "m[1]", "m[2]"]
    world.end_of(world.decider.in_flight["m[1]"])
    assert world.decider.cancels == ["m[0]", "m[2]"]
    world.play()
    assert world.end["error"]["step"] == "m[1]"
    assert world.state.steps["m"].error["step"] == "m[1]"
    assert "m[3]" not in world.state.steps


@pytest.mark.parametrize(
    ("over", "more", "code"),
    [
        ("['a', 'a']", {"key": "item"}, "duplicate_key"),
        ("[true]", {"key": "item"}, "expression"),
        ("range(5)", {"max_items": Const(4)}, "too_many_items"),
        ("'text'", {}, "expression"),
        ("range(5)", {"concurrency": Const(0)}, "invalid_input"),
    ],
)
def test_a_map_that_cannot_begin_fails(over, more, code):
    world = World(graph(map_("m", over, call("", id="m/do"), **more))).play()
    assert world.end["error"]["code"] == code


def test_a_map_of_nothing_is_an_empty_list():
    assert World(graph(map_("m", "[]", call("", id="m/do")), outputs={"m": "steps.m.output"})).play().end[
        "outputs"
    ] == {"m": []}


def test_in_doubt_reads_and_keyed_calls_are_made_again_under_the_same_key():
    world = World(graph(call("r", effect="read"), call("i", effect="idempotent")))
    keys = {i.path: i.key for i in world.decider.permitted.values()}
    for intent in list(world.decider.permitted.values()):
        world.start(intent)
    world.crash()
    again = world.decider.permitted
    assert {path: (i.attempt, i.key) for path, i in again.items()} == {"r": (2, ""), "i": (2, keys["i"])}
    world.play()
    assert world.end["status"] == "done"
    assert world.verify() is None


def doubtful(mode="ask", **more):
    world = World(
        graph(
            call("w", {"x": 3}, on=tool("write", on_doubt=OnDoubt(mode=mode, **more))), outputs={"w": "steps.w.output"}
        )
    )
    world.start(world.decider.permitted["w"])
    world.crash()
    return world


def test_a_write_in_doubt_asks_and_takes_the_result_that_it_is_told():
    world = doubtful()
    assert world.state.steps["w"].status == "waiting"
    assert not world.tick()
    world.crash()
    assert world.state.steps["w"].status == "waiting"
    world.say(Draft("resolved", "w", {"result": 99}))
    assert world.end == {"status": "done", "outputs": {"w": 99}}
    assert world.verify() is None


@pytest.mark.parametrize(("said", "status"), [({"retry": True}, "done"), ({"fail": True}, "failed")])
def test_a_write_in_doubt_does_what_it_is_told(said, status):
    world = doubtful()
    world.say(Draft("resolved", "w", said))
    world.crash()
    world.play()
    assert world.end["status"] == status


def test_a_write_in_doubt_may_be_declared_to_retry_or_fail():
    assert doubtful("retry").play().end["status"] == "done"
    assert doubtful("fail").play().end["error"]["code"] == "in_doubt"


@pytest.mark.parametrize(("told", "performed"), [(None, True), (7, False)])
def test_a_reconciling_tool_tells(told, performed):
    teller = tool("read", description="teller")
    world = doubtful("reconcile", tool=teller)
    world.answer = lambda i: Done(told) if "@reconcile" in i.path else answer_plus(i)
    world.play()
    assert world.end == {"status": "done", "outputs": {"w": 4 if performed else 7}}
    assert (("w", 2) in world.performed) is performed
    assert world.verify() is None


def test_a_reconciling_tool_that_fails_leaves_the_question_to_a_person():
    world = doubtful("reconcile", tool=tool("read"))
    world.answer = bad()
    world.play()
    assert world.state.steps["w"].status == "waiting"


def test_a_lost_write_in_the_same_process_is_in_doubt_and_a_lost_read_is_not():
    world = World(
        graph(call("w", effect="write"), call("r", retry=Retry(attempts=Const(2)))),
        answer=lambda i: Lost("timeout", "late"),
    ).play()
    assert world.state.steps["w"].status == "waiting"
    assert [r.body["code"] for r in world.ends("r")] == ["timeout", "timeout"]


def test_a_new_key_only_where_no_effect_is_proven():
    keys = []

    def answer(intent):
        keys.append(intent.key)
        return Failed("unavailable", "no", no_effect=len(keys) == 2)

    World(graph(call("i", effect="idempotent", retry=Retry(attempts=Const(3)))), answer=answer).play()
    assert keys[0] == keys[1] != keys[2]


def test_retry_looks_at_classes_and_statuses():
    def attempts(outcome, *on):
        world = World(graph(call("i", retry=Retry(attempts=Const(3), on=on))), answer=lambda i: outcome).play()
        return len(world.performed)

    assert attempts(Failed("tool_error", "no")) == 3
    assert attempts(Failed("tool_error", "no"), "timeout") == 1
    assert attempts(Failed("tool_error", "no", status=503), 503) == 3
    assert attempts(Failed("refused", "no")) == 1


def test_cancel_ends_what_runs_and_the_run():
    world = World(graph(call("a"), group("g", call("b")), finally_=(call("f"),)))
    world.start(world.decider.permitted["a"])
    world.start(world.decider.permitted["g/b"])
    world.say(Draft("cancel_requested", "", {"reason": "enough"}))
    world.play()
    assert world.end == {"status": "cancelled"}
    assert world.state.steps["f"].status == "done"
    assert world.verify() is None


@pytest.mark.parametrize("crash", [False, True])
def test_a_timer_that_fires_takes_a_group_down(crash):
    world = World(
        graph(
            group("g", call("a"), call("b"), timeout=Const(5), on_error="continue"), outputs={"e": "steps.g.error.code"}
        )
    )
    assert list(world.decider.timers) == ["g"]
    world.start(world.decider.permitted["g/a"])
    world.decider.timers.clear()
    world.say(Draft("fired", "g", {"timer": "timeout"}))
    if crash:
        world.crash()
    world.play()
    assert world.end == {"status": "done", "outputs": {"e": "timeout"}}
    assert world.verify() is None


def test_fail_fails_its_scope():
    node = Node(
        name="f",
        id="f",
        kind="fail",
        config=FailConfig(message=Const("bad"), code=Const("c"), status=Const(4), detail=Const([1])),
    )
    assert World(graph(node)).end["error"] == {"code": "c", "message": "bad", "status": 4, "detail": [1], "step": "f"}


def test_a_switch_without_a_case_skips_or_fails():
    assert World(graph(switch("s", "'z'", {"a": call("", id="c")}))).play().end["error"]["code"] == "no_case"
    world = World(
        graph(switch("s", "steps.n.output", {"a": call("", id="c")}, needs=("n",)), call("n", condition="false"))
    ).play()
    assert world.state.steps["s"].status == "skipped"
    world = World(graph(switch("s", "'a'", {"a": call("", id="c", condition="false")}))).play()
    assert world.state.steps["s"].status == "skipped"
    world = World(graph(switch("s", "'z'", {}, call("", id="c"))), answer=bad()).play()
    assert world.end["error"]["step"] == "s/@case"


def test_an_output_that_does_not_fit_its_type_fails_the_step():
    node = Node(
        name="s", id="s", kind="set", config=SetConfig(values=MapOf({"x": Const(1)})), output={"type": "string"}
    )
    assert World(graph(node)).end["error"]["code"] == "invalid_output"
    node = call("c", output={"type": "string"})
    assert World(graph(node)).play().end["error"]["code"] == "invalid_output"


def test_an_expression_that_fails_fails_the_step_and_one_in_outputs_the_run():
    world = World(graph(call("a", {"x": "[1][3]"})))
    assert world.end["error"]["step"] == "a"
    world = World(graph(call("a", condition="1 / 0 == 1")))
    assert world.end["status"] == "failed"
    world = World(graph(set_("a", x=1), outputs={"o": "[1][steps.a.output.x]"}))
    assert world.end["error"]["step"] == "outputs.o"


def test_arguments_are_checked_before_the_call():
    on = tool(input={"type": "object", "properties": {"x": {"type": "string"}}})
    world = World(graph(call("a", {"x": 1}, on=on)))
    assert world.end["error"]["code"] == "invalid_input"
    assert world.performed == []


def test_fixed_arguments_win_and_the_tools_own_text_sees_null_for_what_was_left_out():
    on = tool(
        input={"type": "object", "properties": {"x": {}, "y": {}}}, fixed=MapOf({"x": Const(41)}),
        config={"ref": Expression("args.y == null ? 'none' : 'some'")}, dir=Const("sub"), timeout=Const(9),
    )  # fmt: skip
    world = World(graph(call("a", {"x": 1}, on=on)))
    intent = world.decider.permitted["a"]
    assert intent.request == {"args": {"x": 41}, "ref": "none", "dir": "sub"}
    assert intent.timeout == 9


# Agents


def test_an_agent_goes_from_turn_to_turn_and_bad_calls_go_back_to_it():
    world = World(BUSY, answer=busy_answer).play()
    state = world.state
    assert state.steps["talk/turn1/tool2"].error["code"] == "unknown_tool"
    assert state.steps["talk/turn2/tool0"].error["code"] == "invalid_input"
    assert state.settled == 15
    assert state.tokens == 6


def test_calls_one_at_a_time_where_an_agent_wants_that():
    replies = {"g/turn1": calls_reply(("t", {}), ("t", {})), "g/turn2": text_reply("x")}
    answer = lambda i: replies[i.path] if i.kind == "model" else Done(1)  # noqa: E731
    world = World(graph(agent("g", tool(), parallel=False)), answer=answer)
    most = 0
    while world.tick():
        most = max(most, len(world.decider.in_flight) + len(world.decider.permitted))
    assert most == 1
    assert world.end["status"] == "done"


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([text_reply("x", stop="max_tokens")], "max_tokens"),
        ([text_reply("x", stop="refusal")], "refusal"),
        ([calls_reply(("t", {}), stop="end_turn")], "invalid_reply"),
        ([text_reply("x", stop="pause_turn"), text_reply("x", stop="context")], "context"),
        ([calls_reply(("t", {}))] * 3, "turn_limit"),
        ([Failed("auth", "no key", status=401)], "auth"),
    ],
)
def test_a_turn_that_does_not_end_well_fails_the_step(replies, code):
    left = list(replies)
    world = World(
        graph(agent("g", tool(), turns=3)), answer=lambda i: left.pop(0) if i.kind == "model" else Done(1)
    ).play()
    assert world.end["error"]["code"] == code
    assert world.verify() is None


def test_structured_output_is_checked_and_repaired_at_most_twice():
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    def ends(*texts):
        left = [text_reply(text) for text in texts]
        return (
            World(graph(agent("g", output=schema), outputs={"o": "steps.g.output"}), answer=lambda i: left.pop(0))
            .play()
            .end
        )

    assert ends("no json", '{"n": "x"}', '```json\n{"n": 1}\n```') == {"status": "done", "outputs": {"o": {"n": 1}}}
    assert ends("a", "b", "c")["error"]["code"] == "invalid_output"


def test_a_model_call_in_doubt_is_made_again_and_the_lost_one_stays_charged():
    world = World(graph(agent("g")), answer=lambda i: text_reply("x"))
    intent = world.decider.permitted["g/turn1"]
    world.say(
        Draft(
            "started",
            intent.path,
            {"attempt": 1, "logical": 1, "hash": intent.hash, "effect": "read", "reserve": {"usd": 50}},
        )
    )
    world.crash()
    assert world.state.lost == 50
    world.play()
    assert world.state.spend == 55
    assert world.performed == [("g/turn1", 2)]


def test_a_cut_result_is_read_on():
    replies = {
        "g/turn1": calls_reply(("t", {})),
        "g/turn2": calls_reply(("read_result", {"id": "turn1/tool0", "offset": 3}), ("read_result", {"id": "x"})),
        "g/turn3": text_reply("x"),
    }
    seen = []

    def answer(intent):
        seen.append((intent.kind, intent.request))
        return replies[intent.path] if intent.kind == "model" else Done("rest")

    world = World(graph(agent("g", tool())), answer=answer)
    while "g/turn1/tool0" not in world.decider.in_flight:
        world.tick()
    world.say(Draft("done", "g/turn1/tool0", {"attempt": 1, "output": "abc", "overflow": "h" * 64, "size": 9}))
    world.play()
    assert ("builtin", {"blob": "h" * 64, "offset": 3, "limit": 0}) in seen
    assert world.state.steps["g/turn2/tool1"].error["code"] == "invalid_input"
    assert world.end["status"] == "done"


def test_stopping_an_agent_stops_its_turn_and_its_tools():
    for path in ("g/turn1", "g/turn1/tool0"):
        world = World(
            graph(agent("g", tool()), call("bad")),
            answer=lambda i: calls_reply(("t", {})) if i.kind == "model" else Failed("x", "y"),
        )
        while path not in world.decider.in_flight:
            name = "g/turn1" if "g/turn1" in world.decider.permitted else path
            (
                world.start(world.decider.permitted[name])
                if name in world.decider.permitted
                else world.end_of(world.decider.in_flight["g/turn1"])
            )
        world.start(world.decider.permitted["bad"])
        world.end_of(world.decider.in_flight["bad"])
        assert world.decider.cancels == [path]
        world.play()
        assert world.end["error"]["step"] == "bad"
        assert world.verify() is None


@pytest.mark.parametrize("crash", [False, True])
def test_an_item_that_waits_takes_no_place(crash):
    found = graph(
        map_("m", "range(4)", call("", {"x": "item"}, effect="write", id="m/do"), concurrency=Const(1)),
        outputs={"m": "steps.m.output"},
    )
    world = World(found)
    world.start(world.decider.permitted["m[0]"])
    world.crash()
    assert list(world.decider.permitted) == ["m[1]"]
    if crash:
        world.start(world.decider.permitted["m[1]"])
        world.crash()
        assert list(world.decider.permitted) == ["m[2]"]
        world.say(Draft("resolved", "m[1]", {"result": 2}))
    world.play()
    assert world.end is None
    world.say(Draft("resolved", "m[0]", {"result": 1}))
    world.play()
    assert world.end == {"status": "done", "outputs": {"m": [1, 2, 3, 4]}}
    assert world.verify() is None
