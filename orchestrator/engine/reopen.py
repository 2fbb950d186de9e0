"""What a resume of a run that ended badly takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.engine.activation import item_path, keys_of
from orchestrator.engine.steps.hook import hook_path
from orchestrator.engine.steps.listing import list_path, servers_of
from orchestrator.graph.nodes import AgentConfig, CallConfig, GroupConfig, MapConfig, SwitchConfig, node_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.engine.hooks import Point
    from orchestrator.graph.nodes import Graph, Node
    from orchestrator.journal.state import RunState, StepState


def reopened(graph: Graph, state: RunState) -> dict[str, list[str]]:
    """The body of ``resumed``. ``reopen``: the paths whose ends are taken back, all that did not end well; ``again``:
    those that begin from nothing, done or not, because they ran on an end that is taken back (``finally``,
    ``on_failure``, fallbacks).

    Steps that were done stay done, with all inside them. A skipped step is looked at again, since what it needed may be
    there now. Failures that the graph or a model dealt with (``on_error: continue``, a fallback that ended well, a
    settled map or group, a tool's error that a model has read) stand: others have built on them.
    """
    walk = _Walk(state)
    for node in graph.root.nodes:
        walk.step(node, node.name)
    walk.roots |= {"@failure", *(node.name for node in graph.root.finally_)}
    again = [path for path in state.steps if any(part in walk.roots for part in _upwards(path))]
    kept = set(again)
    return {"reopen": [path for path in walk.found if path not in kept], "again": again}


class _Walk:
    def __init__(self, state: RunState) -> None:
        self.steps = state.steps
        self.known = {part for path in state.steps for part in _upwards(path)}
        self.found: list[str] = []
        self.roots: set[str] = set()

    def step(self, node: Node, path: str) -> None:
        """Take back a step and what is inside it, as far as that did not end well."""
        step = self.steps.get(path)
        if step is not None and (step.status == "done" or (step.status == "failed" and step.handled == "continue")):
            return
        if step is not None and step.handled == "step" and not step.ended and node.fallback is not None:
            # It has failed for good, and its fallback was under way.
            self.step(node.fallback, f"{path}/@error")
            return
        self._take(path)
        self.roots.add(f"{path}/@error")
        match node.config:
            case GroupConfig(block=block):
                self.roots |= {f"{path}/{inner.name}" for inner in block.finally_}
                for inner in block.nodes:
                    self.step(inner, f"{path}/{inner.name}")
            case MapConfig(do=do):
                for key in keys_of(_expanded(step, {"count": 0})):
                    self.step(do, item_path(path, key))
            case SwitchConfig() as config:
                case = _expanded(step, {"case": None})["case"]
                inner = config.otherwise if case is None else config.cases.get(case)
                if inner is not None:
                    self.step(inner, f"{path}/@case")
            case AgentConfig(agent=agent):
                self._talk(path, step)
                for tool, names in servers_of(agent):
                    self._take(list_path(path, tool, names))
            case _:
                if isinstance(node.config, CallConfig):
                    self._take(list_path(path, node.config.tool, (node.config.operation or "",)))
                self._take(f"{path}/@reconcile{step.attempt if step else 0}")
                self._take_hooks(path, "before_tool")

    def _take(self, path: str, *, done: bool = False) -> None:
        step = self.steps.get(path)
        if step is not None and (step.status == "done") is done:
            self.found.append(path)

    def _talk(self, path: str, agent: StepState | None) -> None:
        """Of an agent, its last turn: what was said before has been answered."""
        turn = 1
        while f"{path}/turn{turn + 1}" in self.steps:
            turn += 1
        last = f"{path}/turn{turn}"
        calls = list(self._calls(last))
        self._take(last)
        before = len(self.found)
        self._take_hooks(last, "before_model")
        self._take_hooks(f"{path}/turn{turn + 1}", "before_model")
        hooked = len(self.found) > before
        if not calls and not hooked and agent is not None and agent.status == "failed" and not agent.fired:
            # The agent failed on what this turn said, and the turn called nothing: it is asked for again.
            self._take(last, done=True)
        for call in calls:
            self._call(call, self.steps.get(call))

    def _call(self, path: str, step: StepState | None) -> None:
        """A call of an agent's last turn, and what is inside it: another agent, or the steps of a plan."""
        if step is not None and step.ended and step.status in ("done", "failed"):
            return
        plan = _expanded(step, {}).get("graph")
        if plan is not None:
            self.step(node_from_json(plan), path)
            return
        self._take(path)
        for inner in self.steps:
            if inner.startswith(f"{path}/@"):
                self._take(inner)
        if f"{path}/turn1" in self.known:
            self._talk(path, step)

    def _take_hooks(self, path: str, point: Point) -> None:
        for index in range(2):
            self._take(hook_path(path, point, index))

    def _calls(self, turn: str) -> Iterator[str]:
        step = self.steps.get(turn)
        said: list[Any] = [] if step is None or step.reply is None else step.reply["content"]
        # An agent that was stopped has no record of its own, but those of what is inside it.
        yield from (call for index in range(len(said)) if (call := f"{turn}/tool{index}") in self.known)


def _expanded(step: StepState | None, default: dict[str, Any]) -> dict[str, Any]:
    return default if step is None or step.expanded is None else step.expanded


def _upwards(path: str) -> Sequence[str]:
    """The path, and those of all that it is inside of."""
    return [path, *(path[:end] for end, char in enumerate(path) if char in "/[")]
