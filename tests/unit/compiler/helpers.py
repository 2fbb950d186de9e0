"""Sources in the test -> compiled graphs and what is said of them."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

from orchestrator.compiler import Compiled
from orchestrator.compiler import compile as compile_spec
from orchestrator.spec.load import load
from orchestrator.tools.inspection import inspect_function

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.graph.nodes import Graph, Node

MODELS = """
models:
  default: {provider: anthropic, model: claude-haiku-5-5}
"""


def compiled(text: str, folder: Path | None = None, **options: Any) -> Compiled:
    """``text`` without its indentation, behind ``version: 1``."""
    source = f"version: 1\n{dedent(text)}".encode()
    return compile_spec(load(source, name="pipeline.yaml", folder=folder), inspect=inspect_function, **options)


def graph_of(text: str, folder: Path | None = None, **options: Any) -> Graph:
    """The graph of a source without errors."""
    found = compiled(text, folder, **options)
    assert found.graph is not None, [str(one) for one in found.diagnostics]
    return found.graph


def node_of(text: str, name: str = "a", folder: Path | None = None) -> Node:
    """One node at the top of a source without errors."""
    return graph_of(text, folder).root.by_name[name]


def said(text: str, folder: Path | None = None, **options: Any) -> list[tuple[str, str]]:
    """Codes and sentences of what is wrong with a source."""
    return [(one.code, one.message) for one in compiled(text, folder, **options).diagnostics]


def codes(text: str, folder: Path | None = None, **options: Any) -> list[str]:
    return [code for code, _ in said(text, folder, **options)]
