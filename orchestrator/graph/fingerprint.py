"""Hashes of a graph and of its nodes: what decides which results an edited file may reuse.

Left out of every hash, so that two checkouts of one pipeline agree: where things stand (``at``, ``sources``, the
absolute folders that a python tool is searched in) and what only people read (the descriptions of steps and of the
pipeline). Descriptions of agents, tools and inputs count: models see them. The hash of a graph is therefore *not* the
hash of the bytes in which it is stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import (
    PLAIN,
    Block,
    Config,
    Graph,
    GroupConfig,
    MapConfig,
    Node,
    SetConfig,
    SwitchConfig,
    to_json,
)
from orchestrator.jsonish import hash_of

_NOWHERE = frozenset({"at", "sources"})
_FOR_PEOPLE = frozenset({"Node", "Graph"})
_NO_NODE = Node(name="", id="", kind="set", config=SetConfig(values=Const(None)))


def graph_hash(graph: Graph) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return hash_of(_portable(to_json(graph)))


def definition_hash(node: Node) -> str:
    """SHA-256 of the node's own text after resolution: without its name, place, order and inner nodes."""
    fallback = None if node.fallback is None else _NO_NODE
    own = replace(node, name="", id="", needs=(), definition="", config=_own(node.config), fallback=fallback)
    return hash_of(_portable(to_json(own)))


def _own(config: Config) -> Config:
    match config:
        case GroupConfig():
            return replace(config, block=Block(nodes=()))
        case MapConfig():
            return replace(config, do=_NO_NODE)
        case SwitchConfig():
            otherwise = None if config.otherwise is None else _NO_NODE
            return replace(config, cases=dict.fromkeys(config.cases, _NO_NODE), otherwise=otherwise)
        case _:
            return config


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
    return out
