"""A world without time or I/O: it answers what the decider permits, in any order, and keeps the records.

``World.play`` runs a graph to its end; ``World.crash`` throws the decider away and builds it anew from the records.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from orchestrator.agents.messages import Reply, Usage
from orchestrator.engine import outcomes
from orchestrator.engine.decide import Decider, RunInfo
from orchestrator.engine.reopen import reopened
from orchestrator.engine.verify import verify
from orchestrator.expr.values import Const, Expression, MapOf
from orchestrator.graph.nodes import Block, CallConfig, Graph, Node, ToolDef
from orchestrator.journal.records import Draft, Record
from orchestrator.journal.state import RunState, fold
from orchestrator.tools.protocol import Done, Failed, Lost, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.activation import Intent

RUN = RunInfo("run-1")
SECOND = 1_000_000


def tool(effect: Any = "read", **more: Any) -> ToolDef:
    return ToolDef(name="t", kind="python", effect=effect, **more)


def call(name: str, args: dict[str, Any] | None = None, *, effect: Any = "read", on: Any = None, **more: Any) -> Node:
    """A python step; texts among ``args`` are expressions."""
    fields = {key: Expression(value) if isinstance(value, str) else Const(value) for key, value in (args or {}).items()}
    config = CallConfig(tool=on or tool(effect), args=MapOf(fields))
    return Node(name=name, id=more.pop("id", name), kind="python", config=config, **more)


def graph(*nodes: Node, outputs: dict[str, str] | None = None, **more: Any) -> Graph:
    finally_ = more.pop("finally_", ())
    found = {name: Expression(source) for name, source in (outputs or {}).items()}
    return Graph(name="g", root=Block(nodes=tuple(nodes), finally_=finally_), outputs=found, **more)


def answer_plus(intent: Intent) -> Outcome:
    """What most tools of these tests do: add one to ``x``."""
    return Done(intent.request["args"].get("x", 0) + 1)


class World:
    """One run in memory. ``answer`` says how an effect ends; a reply for a model call."""

    def __init__(
        self,
        graph: Graph,
        *,
        answer: Callable[[Intent], Any] = answer_plus,
        inputs: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.answer = answer
        self.rng = random.Random(seed)
        self.clock = SECOND
        self.records: list[Record] = []
        self.performed: list[tuple[str, int]] = []
        body = {"name": "g", "inputs": inputs or {}, "folder": "/run", "seed": "s", "files": "/files"}
        self._record("run_started", "", body, epoch=1)
        self.epoch = 1
        self._build()

    @property
    def state(self) -> RunState:
        return self.decider.state

    @property
    def end(self) -> dict[str, Any] | None:
        return self.state.finished

    def _record(
        self, kind: Any, path: str, body: dict[str, Any], *, epoch: int | None = None, at: int | None = None
    ) -> None:
        seq = len(self.records) + 1
        self.records.append(Record(seq, epoch or self.epoch, kind, path, body, self.clock if at is None else at))

    def _build(self) -> None:
        self.decider = Decider(self.graph, fold(self.records), RUN)
        self._decide()

    def _decide(self) -> None:
        for draft in self.decider.decide():
            self._record(draft.kind, draft.path, draft.body, at=self.state.at)

    def say(self, draft: Draft) -> None:
        """A record of the world's, and what is decided on it."""
        self.clock += SECOND // 10
        self.decider.apply(draft, at=self.clock)
        self._record(draft.kind, draft.path, draft.body)
        self._decide()

    def crash(self, keep: int | None = None) -> None:
        """Lose all that is not recorded (and all after ``keep`` records), and claim the run."""
        if keep is not None:
            del self.records[keep:]
        self.epoch += 1
        self._record("claimed", "", {"owner": "next"})
        self._build()

    def reopen(self) -> None:
        """Resume a run that ended badly."""
        self.epoch += 1
        self._record("claimed", "", {"owner": "next"})
        self._record("resumed", "", dict(reopened(self.graph, self.state)))
        self._build()

    def start(self, intent: Intent) -> None:
        body = {"attempt": intent.attempt, "logical": intent.logical, "hash": intent.hash, "effect": intent.effect}
        self.say(Draft("started", intent.path, body | {"key": intent.key} if intent.key else body))

    def end_of(self, intent: Intent) -> None:
        """Perform what is in flight."""
        self.performed.append((intent.path, intent.attempt))
        attempts = self.decider.attempts_of(intent.act)
        step = self.state.steps[intent.path]
        found = self.answer(intent)
        if isinstance(found, (Done, Failed, Lost)):
            draft = outcomes.ended(intent, found, step=step, attempts=attempts, at=self.clock, kept={})
        else:
            draft = outcomes.replied(intent, found, cost=5)
        self.say(draft)

    def tick(self) -> bool:
        """Do one thing that may be done, chosen by the seed; False where there is nothing."""
        for path in self.decider.cancels:
            intent = self.decider.in_flight.get(path)
            if intent is not None:
                self.decider.cancels.remove(path)
                self.say(outcomes.cancelled(intent, began=False))
                return True
        choices = [(self.start, intent) for intent in self.decider.permitted.values()]
        choices += [(self.end_of, intent) for intent in self.decider.in_flight.values()]
        if self.end is not None or not choices:
            return False
        do, intent = self.rng.choice(choices)
        do(intent)
        return True

    def play(self) -> World:
        while self.tick():
            pass
        return self

    def ends(self, path: str) -> list[Record]:
        return [r for r in self.records if r.path == path and r.kind in ("done", "failed", "skipped", "cancelled")]

    def verify(self) -> str | None:
        found = verify(self.graph, self.records, run_id=RUN.run_id)
        return None if found is None else str(found)


def text_reply(text: str, **more: Any) -> Reply:
    return Reply([{"type": "text", "text": text}], more.pop("stop", "end_turn"), Usage(1, 1), **more)


def calls_reply(*calls: tuple[str, dict[str, Any]], stop: Any = "tool_use") -> Reply:
    blocks = [{"type": "tool_use", "id": f"c{i}", "name": name, "input": args} for i, (name, args) in enumerate(calls)]
    return Reply(blocks, stop, Usage(1, 1))
