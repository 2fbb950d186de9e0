"""``orch graph``: a pipeline, or the graph of a run, as a tree, mermaid, dot or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import Session, begin, run_async

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph

FORMATS = ("tree", "mermaid", "dot", "json")


def graph(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE|RUN", help="A pipeline file, or a run.")],
    form: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="tree, mermaid, dot or json.")] = None,
) -> int:
    """Draw a pipeline or the graph of a run."""
    from orchestrator.graph import render

    session = begin(context)
    if form is not None and form not in FORMATS:
        raise BadFlag("--format", form, problem=f"expected one of {', '.join(FORMATS)}")
    found = _graph(session, source)
    match form or ("json" if session.flags.machine else "tree"):
        case "tree":
            session.screen.data_text(render.render_tree(found))
        case "mermaid":
            session.screen.data_text(render.render_mermaid(found))
        case "dot":
            session.screen.data_text(render.render_dot(found))
        case _:
            session.screen.data(graph_object(found))
    return 0


def _graph(session: Session, source: str) -> Graph:
    from orchestrator.app.pipeline import read_pipeline

    if source == "-" or Path(source).suffix in (".yaml", ".yml") or "/" in source or Path(source).is_file():
        return read_pipeline(source).graph

    async def load() -> Graph:
        from orchestrator.app.history import load_graph
        from orchestrator.app.runs import found_run

        async with found_run(source, session.config()) as found:
            return await load_graph(found.store, found.row)

    return run_async(load)


def graph_object(found: Graph) -> dict[str, Any]:
    """Nodes and edges by id: ``parent`` is the node around a node, an edge goes to what needs what it comes from."""
    from orchestrator.app.graphs import walk
    from orchestrator.graph.fingerprint import graph_hash

    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, str]] = []
    for node, around, siblings in walk(found):
        nodes.append({
            "id": node.id, "name": node.name, "kind": node.kind, "parent": around.id if around else None, "at": node.at,
            "description": node.description, "definition": node.definition,
        })  # fmt: skip
        edges += [{"from": siblings[name], "to": node.id} for name in node.needs if name in siblings]
    return {"format": "orch.graph/1", "name": found.name, "hash": graph_hash(found), "nodes": nodes, "edges": edges}


COMMANDS = {"graph": graph}
