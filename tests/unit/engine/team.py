"""Runs of agents that reach each other, in a world without time or I/O: a pipeline as text, and who says what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.agents.messages import Reply
from orchestrator.compiler.plans import Planned, compile_plan
from orchestrator.engine import planning
from orchestrator.engine.planning import Plan
from orchestrator.engine.steps.reach import agent_of, agents_around, steps_left
from orchestrator.graph.nodes import graph_from_json, to_json
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done
from tests.unit.compiler.helpers import graph_of
from tests.unit.engine.world import World, calls_reply, text_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.activation import Intent

MODELS = """
models:
  default: {provider: scripted, replies: [{text: x}]}
"""
Says = "Callable[[str, int, Any, Intent], Any]"


def says(script: dict[str, list[Any]]) -> Says:
    """What each agent says, turn by turn: text, or calls. Its last line is for all turns after."""

    def reply(agent: str, turn: int, _talk: Any, _intent: Intent) -> Any:
        lines = script[agent]
        return lines[min(turn, len(lines)) - 1]

    return reply


class Team(World):
    """A world in which agents speak. ``said`` are the requests: agent, path, system and messages."""

    def __init__(self, text: str, reply: Any, *, inputs: dict[str, Any] | None = None, seed: int = 0) -> None:
        self.reply = says(reply) if isinstance(reply, dict) else reply
        self.said: list[tuple[str, str, str, list[Any]]] = []
        # A resume has the stored graph.
        graph = graph_from_json(to_json(graph_of(MODELS + text)))
        given = {one.name: one.default for one in graph.inputs} | (inputs or {})
        super().__init__(graph, answer=self._answer, inputs=given, seed=seed)

    def _answer(self, intent: Intent) -> Any:
        if intent.kind != "model":
            return Done(f"{intent.tool} {intent.request.get('args', '')}")
        owner: Any = intent.act.owner
        talk, agent = owner.data, agent_of(owner)
        self.said.append((agent.name, intent.path, talk.system, list(talk.conversation.messages)))
        turn = talk.conversation.turn - talk.control.since + 1
        found = self.reply(agent.name, turn, talk, intent)
        if isinstance(found, str):
            return text_reply(found)
        return found if isinstance(found, Reply) else calls_reply(*found)

    def start(self, intent: Intent) -> None:
        body: dict[str, Any] = {"attempt": intent.attempt, "logical": intent.logical, "hash": intent.hash}
        body |= {"effect": intent.effect, "what": intent.kind} | ({"key": intent.key} if intent.key else {})
        account, *within = [each.path for each in intent.act.account.chain()]
        body |= ({"account": account} if account else {}) | ({"within": within[:-1]} if within[:-1] else {})
        self.say(Draft("started", intent.path, body))

    def end_of(self, intent: Intent) -> None:
        if intent.kind != "plan":
            super().end_of(intent)
            return
        self.performed.append((intent.path, intent.attempt))
        agent = agent_of(next(agents_around(intent.act)))
        left = steps_left(self.decider, intent.act)
        found = compile_plan(agent, self.graph, intent.request, most=left, folder="/nowhere")
        plan = Plan(found.node, found.steps) if isinstance(found, Planned) else Plan(problems=tuple(found.problems))
        self.say(planning.recorded(self.decider, intent, plan, at=self.clock))

    def error(self, path: str) -> dict[str, Any]:
        found = self.state.steps[path].error
        assert found is not None
        return found

    @property
    def made(self) -> list[str]:
        """The agents that were made at run time, by path."""
        return [r.path for r in self.records if r.kind == "expanded" and "model" in r.body.get("agent", ())]


def prefixes(make: Callable[[], Team], *, every: int = 1) -> None:
    """Kill a run after each record: it ends as it would have, and nothing that has ended is done again."""
    whole = make().play()
    assert whole.end is not None
    assert whole.verify() is None
    for keep in range(1, len(whole.records), every):
        world = make().play()
        world.performed.clear()
        world.crash(keep)
        ended = {r.path for r in world.records if r.kind in ("done", "failed", "expanded")}
        world.play()
        assert world.end == whole.end, keep
        assert not {path for path, _ in world.performed} & ended, keep
        assert world.verify() is None, keep
