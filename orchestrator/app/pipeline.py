"""From a file to a graph: load, compile, and say everything that is wrong at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.compiler.resolve import Inspect
    from orchestrator.graph.nodes import Graph
    from orchestrator.spec.diagnostics import Diagnostic
    from orchestrator.spec.load import Loaded


class NoSuchFile(OrchError):
    """A file that was named on the command line is not there, or is none."""

    code: ClassVar[str] = "E005"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(
        self, name: str, *, problem: str = "there is no file", hint: str = "`orch init` makes a starter pipeline"
    ) -> None:
        super().__init__(f"{problem} {name[:400]!r}", hint=hint)


@frozen
class Pipeline:
    """A compiled file. ``path`` is None for standard input; ``store`` is what the file itself says."""

    path: Path | None
    graph: Graph
    store: str | None
    warnings: tuple[Diagnostic, ...]
    texts: Mapping[str, str]


@frozen
class Findings:
    """What is wrong with a file. ``sources``: all files that were read for it; ``pipeline``: None without a graph.

    ``fragment`` is True of a file without ``steps``, as those that others import.
    """

    name: str
    diagnostics: tuple[Diagnostic, ...]
    texts: Mapping[str, str]
    sources: Sequence[str] = ()
    pipeline: Pipeline | None = None
    fragment: bool = False


def examine(file: str, *, models: Mapping[str, str] | None = None, inspect: Inspect | None = None) -> Findings:
    """Load and compile a file, or ``-``. Raises ``NoSuchFile`` alone; ``models`` swaps some of them."""
    from orchestrator.app.prices import is_priced
    from orchestrator.compiler import compile as compile_spec
    from orchestrator.providers import offered
    from orchestrator.spec.diagnostics import SpecErrors, in_order
    from orchestrator.spec.load import load
    from orchestrator.tools.inspection import inspect_function

    path = None if file == "-" else Path(file)
    try:
        if path is not None and path.is_dir():
            raise NoSuchFile(file, problem="this is a folder:")
        if path is not None and not path.exists():
            raise NoSuchFile(file)
    except (OSError, ValueError):
        raise NoSuchFile(file) from None
    try:
        loaded = load("-" if path is None else path)
    except SpecErrors as error:
        return Findings(file, error.diagnostics, error.texts)
    compiled = compile_spec(
        loaded, models=models or {}, inspect=inspect or inspect_function, plugins=offered, priced=is_priced
    )
    texts: dict[str, str] = dict(loaded.texts)
    data: dict[str, Any] = loaded.data
    store = data.get("store")
    of_store = _store_problems(loaded)
    found = in_order([*compiled.diagnostics, *of_store])
    pipeline = None
    if compiled.graph is not None and not of_store:
        pipeline = Pipeline(path, compiled.graph, store if isinstance(store, str) else None, found, texts)
    return Findings(file, found, texts, tuple(loaded.sources), pipeline, "steps" not in data)


def _store_problems(loaded: Loaded) -> list[Diagnostic]:
    """What is wrong with the file's own store. One that holds secrets is known when the run has them."""
    store = loaded.data.get("store")
    if not isinstance(store, str) or not store or "${{" in store:
        return []
    from orchestrator.journal.errors import BadStoreUrl
    from orchestrator.spec.diagnostics import Diagnostic
    from orchestrator.stores.urls import parse_url

    mark = loaded.mark(("store",))
    try:
        parse_url(store)
    except BadStoreUrl as error:
        return [Diagnostic(error.code, error.message, mark, error.hint)]
    return []


def read_pipeline(file: str, *, models: Mapping[str, str] | None = None) -> Pipeline:
    """The graph of a file, from those compiled before if it is there. Raises ``SpecErrors`` with all problems, and
    ``NoSuchFile``.
    """
    from orchestrator.app.compiled import Entry, recall, remember

    known = None if file == "-" else recall(file, models or {})
    if known is not None:
        return Pipeline(Path(file), known.graph, known.store, (), {})
    functions: list[str] = []

    def inspect(ref: str, search: list[str]) -> dict[str, Any]:
        from orchestrator.tools.inspection import inspect_function

        found = inspect_function(ref, search)
        functions.append(str(found.get("file")))
        return found

    pipeline = _compiled(examine(file, models=models, inspect=inspect))
    if pipeline.path is not None and not pipeline.warnings:
        remember(file, models or {}, Entry(pipeline.graph, pipeline.store), functions)
    return pipeline


def _compiled(found: Findings) -> Pipeline:
    from orchestrator.spec.diagnostics import SpecErrors, has_errors

    if found.pipeline is None or has_errors(found.diagnostics):
        raise SpecErrors(found.diagnostics, texts=found.texts)
    return found.pipeline
