"""What stands in a graph: its nodes, and the models that its agents call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, CallConfig, GroupConfig, MapConfig, SwitchConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.graph.nodes import AgentDef, Block, Graph, ModelDef, Node, ToolDef


def walk(graph: Graph) -> Iterator[tuple[Node, Node | None, dict[str, str]]]:
    """Every node, each with the node around it and its siblings' ids by name."""
    yield from _block(graph.root, None)
    if graph.on_failure is not None:
        yield from _node(graph.on_failure, None, {})


def _block(block: Block, around: Node | None) -> Iterator[tuple[Node, Node | None, dict[str, str]]]:
    siblings = {name: node.id for name, node in block.by_name.items()}
    for node in (*block.nodes, *block.finally_):
        yield from _node(node, around, siblings)


def _node(
    node: Node, around: Node | None, siblings: dict[str, str]
) -> Iterator[tuple[Node, Node | None, dict[str, str]]]:
    yield node, around, siblings
    match node.config:
        case GroupConfig(block=block):
            yield from _block(block, node)
        case MapConfig(do=do):
            yield from _node(do, node, {})
        case SwitchConfig(cases=cases, otherwise=otherwise):
            for inner in (*cases.values(), *([otherwise] if otherwise else [])):
                yield from _node(inner, node, {})
        case _:
            pass
    if node.fallback is not None:
        yield from _node(node.fallback, node, {})


def models_of(graph: Graph) -> dict[str, ModelDef]:
    """The models that agents of the graph call, by name; of a fallback, those that it stands for."""
    found: dict[str, ModelDef] = {}
    for agent in agents_of(graph):
        summing = () if agent.context is None or agent.context.model is None else (agent.context.model,)
        made = () if agent.spawn is None else agent.spawn.models
        for named in (agent.model, *summing, *made):
            for model in named.chain or (named,):
                found.setdefault(model.name, model)
    return found


def agents_of(graph: Graph) -> list[AgentDef]:
    """Every agent of the graph: those of steps, and those that they can come to."""
    configs = [node.config for node, _, _ in walk(graph)]
    return [*(config.agent for config in configs if isinstance(config, AgentConfig)), *graph.agents.values()]


def tools_of(graph: Graph) -> list[ToolDef]:
    """Every tool that a step or an agent of the graph may call."""
    found = [node.config.tool for node, _, _ in walk(graph) if isinstance(node.config, CallConfig)]
    for agent in agents_of(graph):
        found += (*agent.tools, *(agent.spawn.tools if agent.spawn is not None else ()))
    return found


def constant_settings(model: ModelDef) -> dict[str, Any]:
    """A model's settings that are known before a run; True for each that is computed."""
    return {name: value.value if isinstance(value, Const) else True for name, value in model.settings.items()}


def scripted_models(graph: Graph) -> list[str]:
    """Names of the models that answer from rules, and call no API."""
    return sorted(
        name for name, model in models_of(graph).items() if constant_settings(model).get("provider") == "scripted"
    )
