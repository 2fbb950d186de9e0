"""Hashes of a graph and of its nodes: what decides which results an edited file may reuse.

Left out of every hash, so that two checkouts of one pipeline agree: where things stand (``at``, ``sources``, the
absolute folders that a python tool is searched in) and what only people read (the descriptions of steps and of the
pipeline). Descriptions of agents, tools and inputs count: models see them. The hash of a graph is therefore *not* the
hash of the bytes in which it is stored.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import (
    PLAIN,
    AgentConfig,
    AgentDef,
    Block,
    CallConfig,
    Config,
    Graph,
    GroupConfig,
    MapConfig,
    ModelDef,
    Node,
    SetConfig,
    SwitchConfig,
    ToolDef,
    graph_from_json,
    to_json,
)
from orchestrator.graph.reach import reached
from orchestrator.jsonish import canonical, digest, hash_of, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOWHERE = frozenset({"at", "sources"})
_FOR_PEOPLE = frozenset({"Node", "Graph"})
_NO_MODEL = ModelDef(name="", settings={})
_NO_TOOL = ToolDef(name="", kind="")
_NO_NODE = Node(name="", id="", kind="set", config=SetConfig(values=Const(None)))


class Stored(NamedTuple):
    """How a run keeps its graph: the canonical bytes, their SHA-256 (their name among the blobs), and the graph's hash;
    both as 64 hex digits."""

    body: bytes
    name: str
    hash: str


def graph_hash(graph: Graph) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return graph.stored.hash


def stored(graph: Graph) -> Stored:
    """The bytes and hashes of a graph, made anew: ``Graph.stored`` remembers them."""
    data = to_json(graph)
    body = canonical(data)
    return Stored(body, digest(body), hash_of(_portable(data)))


def restored(kept: Stored) -> Graph:
    """The graph of what was kept, which it knows without making it again. ValueError where the bytes are not those."""
    if digest(kept.body) != kept.name:
        raise ValueError("these are not the bytes that were kept")
    graph = graph_from_json(loads(kept.body))
    vars(graph)["stored"] = kept
    return graph


class Definitions:
    """Hashes of nodes. What many nodes share, tools and models, is hashed once."""

    def __init__(self) -> None:
        # The thing is kept with its hash: while it lives, no other thing has its id.
        self._known: dict[int, tuple[ToolDef | ModelDef | AgentDef, str]] = {}
        self._reached: dict[frozenset[str], str] = {}

    def hash(self, node: Node, agents: Mapping[str, AgentDef] = MappingProxyType({})) -> str:
        """SHA-256 of the node's own text after resolution: without its name, place, order, budgets and inner nodes:
        what it may spend changes no result. Of an agent, those that it can come to are a part; ``agents`` are all."""
        fallback = None if node.fallback is None else _NO_NODE
        own = replace(
            node, name="", id="", needs=(), definition="", budget=None, config=_own(node.config), fallback=fallback
        )
        shared = [self._shared(thing) for thing in _shared(node.config)]
        if isinstance(node.config, AgentConfig):
            shared += self._reach(node.config.agent, agents)
        return hash_of([_portable(to_json(own)), *shared])

    def _reach(self, agent: AgentDef, agents: Mapping[str, AgentDef]) -> list[str]:
        """The hash of all that an agent comes to, which those with the same first ones share."""
        first = frozenset({*agent.delegates, *agent.handoffs})
        if first and first not in self._reached:
            self._reached[first] = hash_of([self._shared(one) for one in reached([agent], agents).values()])
        return [self._reached[first]] if first else []

    def _shared(self, thing: ToolDef | ModelDef | AgentDef) -> str:
        found = self._known.get(id(thing))
        if found is None:
            own = _unbudgeted(thing) if isinstance(thing, AgentDef) else thing
            found = self._known[id(thing)] = (thing, hash_of(_portable(to_json(own))))
        return found[1]


def _shared(config: Config) -> tuple[ToolDef | ModelDef, ...]:
    match config:
        case AgentConfig(agent=agent):
            return (agent.model, *agent.tools)
        case CallConfig(tool=tool):
            return (tool,)
        case _:
            return ()


def _own(config: Config) -> Config:
    match config:
        case AgentConfig(agent=agent):
            return replace(config, agent=replace(_unbudgeted(agent), model=_NO_MODEL, tools=()))
        case CallConfig():
            return replace(config, tool=_NO_TOOL)
        case GroupConfig():
            return replace(config, block=Block(nodes=()))
        case MapConfig():
            return replace(config, do=_NO_NODE)
        case SwitchConfig():
            otherwise = None if config.otherwise is None else _NO_NODE
            return replace(config, cases=dict.fromkeys(config.cases, _NO_NODE), otherwise=otherwise)
        case _:
            return config


def _unbudgeted(agent: AgentDef) -> AgentDef:
    return replace(
        agent,
        budget=None,
        delegates={name: replace(one, budget=None) for name, one in agent.delegates.items()},
        spawn=agent.spawn and replace(agent.spawn, budget=None),
        plan=agent.plan and replace(agent.plan, budget=None),
    )


def _portable(data: Any) -> Any:
    """The JSON form without what differs between two checkouts, or is there for people alone."""
    if isinstance(data, list):
        return [_portable(item) for item in cast("list[Any]", data)]
    if not isinstance(data, dict) or "v" in data:
        return data
    found = cast("dict[str, Any]", data)
    if "d" in found:
        return {key: _portable(item) for key, item in found["d"].items()}
    name = found["is"]
    out = {
        key: item if key in PLAIN else _portable(item)
        for key, item in found.items()
        if key not in _NOWHERE and not (key == "description" and name in _FOR_PEOPLE)
    }
    if name == "ToolDef" and out["kind"] == "python":
        out.get("config", {}).pop("search", None)
    if name == "HooksDef":
        out.pop("search", None)
    return out
