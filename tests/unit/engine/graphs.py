"""Random graphs, and worlds that treat them roughly: any order of ends, crashes, timers, cancels.

How an effect ends is a function of its path and of how often it has failed, so that two worlds of one graph have to
come to the same outputs, whatever happens in between.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from orchestrator.engine import outcomes
from orchestrator.engine.decide import Decider
from orchestrator.engine.steps.agent import reading_turn
from orchestrator.expr.values import Const, Expression, MapOf
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    Block,
    ContextDef,
    FailConfig,
    GroupConfig,
    HooksDef,
    Join,
    MapConfig,
    ModelDef,
    Node,
    OnDoubt,
    Retry,
    SetConfig,
    SwitchConfig,
    ToolDef,
)  # fmt: skip
from orchestrator.journal.records import Draft
from orchestrator.journal.state import fold
from orchestrator.tools.protocol import Done, Failed, Lost
from tests.unit.engine.world import RUN, World, call, calls_reply, graph, text_reply, tool

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from orchestrator.engine.activation import Act, Intent
    from orchestrator.graph.nodes import Graph

NUMBER = {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
ENDS = frozenset({"done", "failed", "skipped", "cancelled"})


class Maker:
    """Makes one graph. ``rng`` is any source of choices (Hypothesis's shrinks)."""

    def __init__(
        self, rng: random.Random, *, doubts: tuple[str, ...] = ("retry", "reconcile"), keeps: bool = True
    ) -> None:
        self.rng = rng
        self.doubts = doubts
        self.keeps: dict[str, Any] = {"notes": True, "todo": "shared", "share": ("b",)} if keeps else {}
        self.count = 0

    def graph(self) -> Graph:
        nodes = self.nodes([], depth=0)
        finally_ = self.nodes([node.name for node in nodes], depth=2, most=2) if self.chance(3) else ()
        outputs = {node.name: f"steps.{node.name}.output" for node in nodes}
        outputs |= {f"{node.name}_s": f"steps.{node.name}.status" for node in nodes}
        more: dict[str, Any] = {}
        if self.chance(3):
            more["on_failure"] = self.node("@failure", [], depth=2, named=False)
        return graph(*nodes, finally_=tuple(finally_), outputs=outputs, **more)

    def chance(self, of: int) -> bool:
        return self.rng.randrange(of) == 0

    def nodes(self, outer: list[str], *, depth: int, most: int = 4) -> tuple[Node, ...]:
        found: list[Node] = []
        for _ in range(self.rng.randrange(1, most + 1)):
            self.count += 1
            own = [node.name for node in found]
            name = f"s{self.count}"
            found.append(self.node(name, own, depth=depth, outer=outer))
        return tuple(found)

    def node(self, name: str, own: list[str], *, depth: int, outer: list[str] = [], named: bool = True) -> Node:  # noqa: B006
        """A step that may refer to those in ``own`` (its siblings, which it then needs) and ``outer``."""
        used = [each for each in own if self.chance(2)]
        more: dict[str, Any] = {}
        if self.chance(5):
            more["condition"] = self.rng.choice(["true", "false", *[f"{self.ref(used)} % 2 == 0" for _ in range(2)]])
        if self.chance(3):
            more["on_error"] = self.rng.choice(["continue", "step"])
            if more["on_error"] == "step":
                more["fallback"] = self.node(f"{name}/@error", [], depth=depth + 1, named=False)
        kinds = ["call", "call", "call", "set", "agent", "fail"]
        if depth < 2:
            kinds += ["group", "group", "map", "map", "switch"]
        kind = self.rng.choice(kinds)
        if kind in ("group", "map", "agent", "switch") and self.chance(4):
            more["timeout"] = Const(5)
        made = getattr(self, f"_{kind}")(name, used, depth, more)
        needs = tuple(sorted(used)) if named else ()
        return Node(name=name if named else "", id=name, needs=needs, **made, **more)

    def ref(self, used: list[str]) -> str:
        if not used:
            return str(self.rng.randrange(5))
        name = self.rng.choice(used)
        number = f"default(steps.{name}.output, 1)"
        return number if self.chance(2) else f"steps.{name}.output"

    def number(self, used: list[str]) -> str:
        """An expression that gives something of any type."""
        return self.ref(used)

    def _call(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del depth
        effect = self.rng.choice(["read", "idempotent", "write"])
        mode: Any = self.rng.choice(self.doubts)
        doubt = OnDoubt(mode=mode, tool=tool("read") if mode == "reconcile" else None)
        if self.chance(3) and (effect != "write"):
            more["retry"] = Retry(attempts=Const(self.rng.randrange(1, 4)), delay=10)
        made = call(name, {"x": self.number(used)}, on=ToolDef(name="t", kind="python", effect=effect, on_doubt=doubt))
        return {"kind": "python", "config": made.config}

    def _set(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del name, depth, more
        return {"kind": "set", "config": SetConfig(values=MapOf({"v": Expression(self.number(used))}))}

    def _fail(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del name, used, depth
        more.setdefault("condition", "false")
        return {"kind": "fail", "config": FailConfig(message=Const("on purpose"))}

    def _agent(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del depth, more
        own: dict[str, Any] = dict(self.keeps)
        if self.chance(3):
            strategy: Any = self.rng.choice(["summarize", "drop"])
            own["context"] = ContextDef(max_tokens=self.rng.choice([300, 400, 1_000]), keep=2, strategy=strategy)
        if self.chance(3):
            own["hooks"] = HooksDef(before_model="m:f", before_tool="m:g" if self.chance(2) else None)
        definition = AgentDef(
            name=name, model=ModelDef(name="m", settings={"provider": Const("scripted")}),
            tools=(tool(self.rng.choice(["read", "idempotent"]), input=NUMBER),), parallel_tools=self.chance(2), turns=Const(self.rng.randrange(1, 5)),
            **own,
        )  # fmt: skip
        return {"kind": "agent", "config": AgentConfig(agent=definition, prompt=Expression(self.number(used)))}

    def _group(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del name, more
        nodes = self.nodes(used, depth=depth + 1, most=3)
        finally_ = self.nodes([], depth=2, most=1) if self.chance(3) else ()
        outputs = MapOf({"v": Expression(f"steps.{nodes[-1].name}.output")}) if self.chance(2) else None
        config = GroupConfig(block=Block(nodes=nodes, finally_=finally_), outputs=outputs, join=self._join())
        return {"kind": "steps", "config": config}

    def _join(self) -> Join:
        if self.chance(2):
            return Join()
        return Join(mode="settled", min_success=Const(self.rng.randrange(1, 3)) if self.chance(3) else None)

    def _map(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del more, used
        do = self.node(f"{name}/do", [], depth=depth + 1, named=False)
        key = self.rng.choice([None, None, "'k' + string(item)"])
        config = MapConfig(
            over=f"range({self.rng.randrange(5)})", do=do, key=key, concurrency=Const(self.rng.randrange(1, 4)), join=self._join()
        )  # fmt: skip
        return {"kind": "map", "config": config}

    def _switch(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        del more
        cases = {"1": self.node(f"{name}/@case:1", [], depth=depth + 1, named=False)}
        otherwise = self.node(f"{name}/@default", [], depth=depth + 1, named=False) if self.chance(2) else None
        return {"kind": "switch", "config": SwitchConfig(on=self.ref(used), cases=cases, otherwise=otherwise)}


def fate(path: str, failures: int, of: int) -> int:
    """A number that only path and failures decide."""
    return int.from_bytes(sha256(f"{path} {failures}".encode()).digest()[:4], "big") % of


def kept_call(path: str, chosen: int) -> tuple[str, dict[str, Any]]:
    """A call of what agents keep, that only path and choice decide."""
    key = f"k{chosen % 3}"
    return (
        ("note", {"text": path}),
        ("note", {}),
        ("todo", {"add": [path, "again"]}),
        ("todo", {"done": 2}),
        ("board_get", {"board": "b"}),
        ("board_set", {"board": "b", "key": key, "value": {"by": path}}),
        ("board_set", {"board": "b", "key": key, "value": chosen, "expected": None}),
        ("board_set", {"board": "b", "key": key, "value": None}),
    )[chosen // 3 % 8]


class Rough(World):
    """Ends come in any order, stopped effects may end well all the same, and time may run out."""

    def __init__(self, graph: Graph, *, seed: int, rough: bool = False, bad: int = 5) -> None:
        self.rough = rough
        self.bad = bad
        self.done_paths: set[str] = set()
        super().__init__(graph, answer=self.respond, seed=seed)

    def respond(self, intent: Intent) -> Any:
        step = self.state.steps[intent.path]
        chosen = fate(intent.path, step.failures, 1000)
        bad = self.bad <= 1000 and chosen % self.bad == 0
        if intent.act.role == "hook":
            found = ({}, {}, {"args": {"x": 7}}, {"result": 9})[chosen // 7 % 4] if "tool" in intent.path else {}
            return Failed("hook_error", "no") if bad else Done(found)
        if intent.kind == "model":
            if self.bad > 1000:
                return text_reply("well")
            if bad:
                return Failed(("unavailable", "auth")[chosen // 7 % 2], "no")
            if chosen % 3:
                return text_reply(
                    "x" * (chosen % 5 * 150 + 1),
                    stop=("end_turn", "max_tokens", "pause_turn", "end_turn")[chosen // 11 % 4],
                )
            calls = [(("t", "nope")[(chosen + i) % 5 == 0], {"x": i}) for i in range(chosen // 13 % 3 + 1)]
            config = intent.act.node.config
            if isinstance(config, AgentConfig) and config.agent.share:
                calls += [kept_call(intent.path, chosen + 7 * i) for i in range(chosen // 17 % 7)]
            return calls_reply(*calls)
        if "@reconcile" in intent.path:
            return Done(None)
        if bad:
            outcome = (Failed("tool_error", "no"), Failed("nasty", "no"), Lost("timeout", "late"))[chosen // 7 % 3]
            return outcome if intent.effect != "write" or isinstance(outcome, Failed) else Failed("tool_error", "no")
        return Done(chosen % 4)

    def tick(self) -> bool:
        if self.end is not None:
            return False
        for path in [path for path in self.decider.cancels if path not in self.decider.in_flight]:
            self.decider.cancels.remove(path)
        choices: list[tuple[Callable[[Any], None], Any]] = []
        choices += [(self.start, intent) for intent in self.decider.permitted.values()]
        choices += [(self.end_of, intent) for intent in self.decider.in_flight.values()]
        choices += [(self.cut, path) for path in self.decider.cancels] * 2
        if self.rough and self.rng.randrange(4) == 0:
            choices += [(self.fire, path) for path in self.decider.timers]
        if self.rough and self.rng.randrange(60) == 0 and self.state.cancel is None:
            choices += [(self.cancel, None)] * self.decider.cancellable
        if self.rough and self.rng.randrange(8) == 0:
            choices += [(self.speak, act) for act in self.decider.acts.values() if reading_turn(act) is not None]
        if not choices:
            return False
        do, what = self.rng.choice(choices)
        do(what)
        return True

    def cut(self, path: str) -> None:
        intent = self.decider.in_flight[path]
        self.decider.cancels.remove(path)
        self.say(outcomes.cancelled(intent, began=True))

    def fire(self, path: str) -> None:
        del self.decider.timers[path]
        self.say(Draft("fired", path, {"timer": "timeout"}))

    def cancel(self, _: None) -> None:
        self.say(Draft("cancel_requested", "", {}))

    def speak(self, act: Act) -> None:
        body = {"kind": "message", "by": "me", "text": f"at {len(self.records)}", "turn": reading_turn(act)}
        self.say(Draft("received", act.path, body))

    def permits(self) -> set[tuple[Any, ...]]:
        return {(i.path, i.attempt, i.hash, i.key, i.not_before) for i in self.decider.permitted.values()}

    def twin(self) -> tuple[set[tuple[Any, ...]], list[Draft]]:
        """What a decider built from the records permits, and what it still decides."""
        decider = Decider(self.graph, fold(self.records), RUN)
        drafts = decider.decide()
        return {(i.path, i.attempt, i.hash, i.key, i.not_before) for i in decider.permitted.values()}, drafts

    def nudge(self) -> None:
        """Have all that is under way looked at again: that decides nothing."""
        before = self.permits()
        for act in list(self.decider.acts.values()):
            self.decider.look_again(act)
            self.decider.look_later(act)
        assert self.decider.decide() == []
        assert self.permits() == before

    def resolve(self, path: str, said: dict[str, Any]) -> None:
        """A person says what became of a step in doubt."""
        self.say(Draft("resolved", path, said))
