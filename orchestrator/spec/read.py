"""A pipeline file -> a checked document, its places, and what else is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.frozen import frozen
from orchestrator.spec.availability import not_available
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors
from orchestrator.spec.fields import OPENING, FilePart, TemplatePart
from orchestrator.spec.load import load, read_part, reason
from orchestrator.spec.prune import Doubts, prune
from orchestrator.spec.shape import MAX_SHOWN, diagnostics_of, document_of, models_of
from orchestrator.spec.skills import read_skills

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from orchestrator.spec.document import Document
    from orchestrator.spec.load import Loaded
    from orchestrator.spec.model import Model
    from orchestrator.spec.nodes import DataPath
    from orchestrator.spec.reader import Fault


_REBUILDS: Final = 3
"""A rule about several fields is only asked once each of them is right: so often is a file pruned again."""


@frozen
class Spec:
    """A pipeline as written. ``diagnostics`` are warnings, and errors that leave a document.

    The compiler adds its own, so that all problems of a file are said at once. Where something of the file could not
    be read, the document and ``loaded`` are without it, and ``doubts`` is what is not known therefore.
    """

    document: Document
    loaded: Loaded
    diagnostics: tuple[Diagnostic, ...]
    doubts: Doubts | None = None


def read_spec(source: str | os.PathLike[str] | bytes, *, name: str | None = None, folder: Path | None = None) -> Spec:
    """Read a file, ``-`` for standard input, or bytes, with its imports and the texts that it names.

    Raises SpecErrors, with all problems, where no whole document can be made of it.
    """
    spec = spec_of(load(source, name=name, folder=folder))
    if spec.doubts is not None:
        raise SpecErrors(spec.diagnostics, texts=spec.loaded.texts)
    return spec


def spec_of(loaded: Loaded) -> Spec:
    """The checked document of a file that was read, or of what is left of it without what is wrong.

    Raises SpecErrors, with all problems, where nothing is.
    """
    document, errors = document_of(loaded)
    problems = diagnostics_of(errors, loaded)
    pruned = None
    for left in reversed(range(_REBUILDS)):
        if document is not None or len(errors) > MAX_SHOWN:
            break
        pruned = prune(loaded, errors, pruned, coarse=not left)
        document, errors = document_of(pruned.loaded)
        lost = pruned.lost
        new = [one for one in errors if _place(one) not in lost]
        problems += diagnostics_of(new, pruned.loaded)
    if document is None:
        raise SpecErrors([*loaded.warnings, *problems], texts=loaded.texts)
    rest = loaded if pruned is None else pruned.loaded
    models = list(models_of(document))
    problems += not_available(models, rest)
    problems += _read_parts(models, rest)
    problems += read_skills(models, rest)
    return Spec(document, rest, (*loaded.warnings, *problems), None if pruned is None else pruned.doubts)


def _place(error: Fault) -> DataPath:
    return tuple(part for part in error["loc"] if not str(part).startswith("\0"))


def _read_parts(models: list[Model], loaded: Loaded) -> list[Diagnostic]:
    """Read each text that the file names, once; what cannot be read is a problem at each place that names it."""
    problems: list[Diagnostic] = []
    for model in models:
        match model:
            case FilePart() if OPENING not in model.file:
                named, path = model.file, (*model.at, "file")
            case TemplatePart():
                named, path = model.template, (*model.at, "template")
            case _:
                continue
        absolute = (loaded.folder_of(path) / named).absolute()
        try:
            text, digest = read_part(absolute)
        except (OSError, ValueError) as error:
            message = f"`{named[:200]}` cannot be read: {reason(error)}"
            problems.append(Diagnostic("E122", message, loaded.mark(path)))
            continue
        loaded.parts[path] = text
        loaded.texts[str(absolute)] = text
        loaded.sources[str(absolute)] = digest
    return problems
