"""Documents -> frozen graphs. One compiler serves ``validate`` and ``run``: what it lets through, a run takes.

It reads as its passes: ``check(lower(resolve(spec)))``. A user's mistake is a diagnostic, never an exception, and all
mistakes of a file are found at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.compiler.checks import check
from orchestrator.compiler.lower import lower
from orchestrator.compiler.report import Report
from orchestrator.compiler.resolve import resolve
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, has_errors, in_order
from orchestrator.spec.read import read_spec

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.compiler.resolve import Inspect
    from orchestrator.graph.nodes import Graph
    from orchestrator.spec.read import Spec

__all__ = ["Compiled", "compile_file", "compile_spec"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """``graph`` is None where an error is among the diagnostics, which are in the order of their places.

    ``texts`` maps the names of files, as marks have them, to their texts, for ``diagnostics.render``.
    """

    graph: Graph | None
    diagnostics: tuple[Diagnostic, ...]
    texts: Mapping[str, str]


def compile_spec(spec: Spec, *, swap: Mapping[str, str] | None = None, inspect: Inspect | None = None) -> Compiled:
    """The graph of a spec, with all that is wrong with it.

    ``swap`` lets the model of the second name answer for the first. ``inspect`` says what is known of a python function
    (``orchestrator.tools.inspection.inspect_function``); without it, functions are not looked at.
    """
    report = Report(spec.loaded)
    lowered = check(lower(resolve(spec.document, report, swap=swap or {}, inspect=inspect)))
    diagnostics = in_order([*spec.diagnostics, *report.found])
    graph = None if has_errors(diagnostics) else lowered.graph
    return Compiled(graph, diagnostics, spec.loaded.texts)


def compile_file(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str | None = None,
    folder: Path | None = None,
    swap: Mapping[str, str] | None = None,
    inspect: Inspect | None = None,
) -> Compiled:
    """``compile_spec`` of a file, ``-`` for standard input, or bytes; also where no document can be made of it."""
    try:
        spec = read_spec(source, name=name, folder=folder)
    except SpecErrors as error:
        return Compiled(None, error.diagnostics, error.texts)
    return compile_spec(spec, swap=swap, inspect=inspect)
