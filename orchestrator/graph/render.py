"""A graph as text: a tree for terminals, mermaid for pages, dot for Graphviz. The same graph gives the same bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.frozen import frozen
from orchestrator.graph.nodes import AgentConfig, Block, CallConfig, GroupConfig, MapConfig, SwitchConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.graph.nodes import AgentDef, Graph, Node

_UNSAFE = re.compile(r"[^A-Za-z0-9 _.,:/+()=?!*-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")


def render_tree(graph: Graph) -> str:
    """Steps as a tree, each with its kind, what it calls and what it waits for."""
    lines = [_plain(graph.name)]
    _draw([*_top(graph), *_others(graph)], "", lines)
    return "\n".join(lines) + "\n"


def render_mermaid(graph: Graph) -> str:
    """A mermaid flowchart: steps with inner steps are subgraphs, needs are arrows."""
    lines = ["flowchart TD"]
    ids = _Ids()
    for item in (*_top(graph), *_others(graph)):
        _mermaid(item, ids, "  ", lines)
    lines += [f"  {ids[start]} --> {ids[end]}" for start, end in _edges(graph)]
    lines += [f"  {ids[start]} -. {how} .-> {ids[end]}" for start, end, how in _reach(graph)]
    return "\n".join(lines) + "\n"


def render_dot(graph: Graph) -> str:
    """A Graphviz digraph: steps with inner steps are clusters, needs are edges."""
    lines = [f"digraph {_dot_text(graph.name)} {{", "  compound=true;", "  node [shape=box];"]
    ids = _Ids()
    for item in (*_top(graph), *_others(graph)):
        _dot(item, ids, "  ", lines)
    lines += [f"  {ids[start]} -> {ids[end]};" for start, end in _edges(graph)]
    dashed = "style=dashed, label="
    lines += [f"  {ids[start]} -> {ids[end]} [{dashed}{_dot_text(how)}];" for start, end, how in _reach(graph)]
    return "\n".join([*lines, "}"]) + "\n"


@frozen
class _Item:
    """What is drawn as one box: ``role`` is its name, or how it hangs in the step around it (``do``, ``case high``)."""

    role: str
    node: Node | None
    inner: tuple[_Item, ...] = ()
    key: str = ""
    leads: str = ""

    @property
    def label(self) -> str:
        return f"{self.role}  {_what(self.node)}" if self.node else self.role


class _Ids(dict[str, str]):
    """Ids of boxes, in the order of their first use: no text of a user's stands in one."""

    def __missing__(self, key: str) -> str:
        self[key] = f"n{len(self)}"
        return self[key]


def _top(graph: Graph) -> Iterator[_Item]:
    yield from _block(graph.root, "")
    if graph.on_failure is not None:
        yield _item("on_failure", graph.on_failure)


def _block(block: Block, place: str) -> Iterator[_Item]:
    yield from (_item(node.name, node) for node in block.nodes)
    if block.finally_:
        inner = tuple(_item(node.name, node) for node in block.finally_)
        yield _Item("finally", None, inner, f"{place}/@finally")


def _item(role: str, node: Node) -> _Item:
    inner: list[_Item] = []
    match node.config:
        case GroupConfig(block=block):
            inner += _block(block, node.id)
        case MapConfig(do=do):
            inner.append(_item("do", do))
        case SwitchConfig(cases=cases, otherwise=otherwise):
            inner += (_item(f"case {key}", case) for key, case in cases.items())
            inner += [] if otherwise is None else [_item("default", otherwise)]
        case _:
            pass
    if node.fallback is not None:
        inner.append(_item("on_error", node.fallback))
    leads = _leads(node.config.agent) if isinstance(node.config, AgentConfig) else ""
    return _Item(role, node, tuple(inner), node.id, leads)


def _others(graph: Graph) -> Iterator[_Item]:
    """The agents that others call or pass control to, in a box of their own."""
    if graph.agents:
        inner = [_Item(name, None, (), f"@agent/{name}", _leads(agent)) for name, agent in sorted(graph.agents.items())]
        yield _Item("agents", None, tuple(inner), "@agents")


def _leads(agent: AgentDef) -> str:
    """Where control goes from an agent, in words."""
    back = [f"{name} (and back)" if one.returns else name for name, one in sorted(agent.handoffs.items())]
    told = [
        f"calls {', '.join(sorted(agent.delegates))}" if agent.delegates else "",
        f"hands off to {', '.join(back)}" if back else "",
        "makes agents" if agent.spawn is not None else "",
        "plans" if agent.plan is not None else "",
    ]
    return "; ".join(each for each in told if each)


def _reach(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """Keys of the boxes between which control goes, and how."""
    agents = [(f"@agent/{name}", agent) for name, agent in sorted(graph.agents.items())]
    waiting = list(_top(graph))
    steps: list[tuple[str, AgentDef]] = []
    while waiting:
        item = waiting.pop(0)
        waiting = [*item.inner, *waiting]
        if item.node is not None and isinstance(item.node.config, AgentConfig):
            steps.append((item.key, item.node.config.agent))
    for key, agent in (*steps, *agents):
        yield from ((key, f"@agent/{name}", "calls") for name in sorted(agent.delegates))
        yield from ((key, f"@agent/{name}", "hands off") for name in sorted(agent.handoffs))


def _what(node: Node) -> str:
    match node.config:
        case AgentConfig(agent=agent) if agent.name:
            return f"{node.kind} {agent.name}"
        case CallConfig(tool=tool, operation=operation) if node.kind == "tool":
            return f"{node.kind} {tool.name}" + (f".{operation}" if operation else "")
        case _:
            return node.kind


def _draw(items: list[_Item], indent: str, lines: list[str]) -> None:
    for index, item in enumerate(items):
        last = index == len(items) - 1
        after = f" ← {', '.join(item.node.needs)}" if item.node and item.node.needs else ""
        after += f"  → {item.leads}" if item.leads else ""
        lines.append(f"{indent}{'└─' if last else '├─'} {_plain(item.label)}{after}")
        _draw(list(item.inner), indent + ("   " if last else "│  "), lines)


def _edges(graph: Graph) -> Iterator[tuple[str, str]]:
    """Keys of the boxes that an arrow joins, in the order in which the steps are drawn."""
    yield from _block_edges(graph.root)
    if graph.on_failure is not None:
        yield from _node_edges(graph.on_failure)


def _block_edges(block: Block) -> Iterator[tuple[str, str]]:
    for node in (*block.nodes, *block.finally_):
        yield from ((block.by_name[name].id, node.id) for name in node.needs)
        yield from _node_edges(node)


def _node_edges(node: Node) -> Iterator[tuple[str, str]]:
    match node.config:
        case GroupConfig(block=block):
            yield from _block_edges(block)
        case MapConfig(do=do):
            yield from _node_edges(do)
        case SwitchConfig(cases=cases, otherwise=otherwise):
            for case in (*cases.values(), *(() if otherwise is None else (otherwise,))):
                yield from _node_edges(case)
        case _:
            pass
    if node.fallback is not None:
        yield from _node_edges(node.fallback)


def _mermaid(item: _Item, ids: _Ids, indent: str, lines: list[str]) -> None:
    label = f'{ids[item.key]}["{_mermaid_text(item.label)}"]'
    if not item.inner:
        lines.append(f"{indent}{label}")
        return
    lines.append(f"{indent}subgraph {label}")
    for inner in item.inner:
        _mermaid(inner, ids, indent + "  ", lines)
    lines.append(f"{indent}end")


def _dot(item: _Item, ids: _Ids, indent: str, lines: list[str]) -> None:
    own = ids[item.key]
    if not item.inner:
        lines.append(f"{indent}{own} [label={_dot_text(item.label)}];")
        return
    lines.append(f"{indent}subgraph cluster_{own} {{")
    lines.append(f"{indent}  label={_dot_text(item.label)};")
    # An edge joins nodes, never clusters: a point stands for the whole one.
    lines.append(f'{indent}  {own} [shape=point, label=""];')
    for inner in item.inner:
        _dot(inner, ids, indent + "  ", lines)
    lines.append(f"{indent}}}")


def _plain(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _mermaid_text(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", _plain(text))


def _dot_text(text: str) -> str:
    escaped = _plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
