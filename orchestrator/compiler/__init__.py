"""Documents -> frozen graphs. One compiler serves ``validate`` and ``run``: what it lets through, a run takes.

It reads as its passes: ``check(lower(resolve(spec)))``. A user's mistake is a diagnostic, never an exception, and all
mistakes of a file are found at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.compiler.checks import check
from orchestrator.compiler.lower import lower
from orchestrator.compiler.report import Report
from orchestrator.compiler.resolve import resolve
from orchestrator.frozen import frozen
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, has_errors, in_order
from orchestrator.spec.read import spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from orchestrator.compiler.resolve import Inspect
    from orchestrator.graph.nodes import Graph
    from orchestrator.spec.load import Loaded

__all__ = ["Compiled", "compile"]


@frozen
class Compiled:
    """``graph`` is None where an error is among the diagnostics, which are in the order of their places."""

    graph: Graph | None
    diagnostics: tuple[Diagnostic, ...]


def compile(  # noqa: A001 (the word of the language for it; importers rename it)
    loaded: Loaded,
    *,
    models: Mapping[str, str] | None = None,
    inspect: Inspect | None = None,
    plugins: Callable[[], Collection[str]] = frozenset,
    priced: Callable[[Mapping[str, Any]], bool] = lambda _settings: True,
) -> Compiled:
    """The graph of a file that was read, with all that is wrong with it.

    ``models`` lets the model of the second name answer for the first. ``inspect`` says what is known of a python
    function (``orchestrator.tools.inspection.inspect_function``); without it, functions are not looked at. ``plugins``
    gives the names of the model providers that installed packages offer, asked for one that is not built in. ``priced``
    says of a model's settings whether its price is known; without it, all are.
    """
    try:
        spec = spec_of(loaded)
    except SpecErrors as error:
        return Compiled(None, error.diagnostics)
    report = Report(spec.loaded, spec.doubts)
    lowered = check(
        lower(resolve(spec.document, report, swap=models or {}, inspect=inspect, plugins=plugins, priced=priced))
    )
    diagnostics = in_order([*spec.diagnostics, *report.found])
    return Compiled(None if has_errors(diagnostics) else lowered.graph, diagnostics)
