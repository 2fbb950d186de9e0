"""A pipeline file -> a checked document, its places, and what else is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.availability import not_available
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors
from orchestrator.spec.fields import OPENING, FilePart, TemplatePart
from orchestrator.spec.load import load, read_part, reason
from orchestrator.spec.shape import document_of, models_of

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from orchestrator.spec.document import Document
    from orchestrator.spec.fields import Model
    from orchestrator.spec.load import Loaded


@dataclass(frozen=True, slots=True)
class Spec:
    """A pipeline as written. ``diagnostics`` are warnings, and errors that leave the document whole.

    The compiler adds its own, so that all problems of a file are said at once.
    """

    document: Document
    loaded: Loaded
    diagnostics: tuple[Diagnostic, ...]


def read_spec(source: str | os.PathLike[str] | bytes, *, name: str | None = None, folder: Path | None = None) -> Spec:
    """Read a file, ``-`` for standard input, or bytes, with its imports and the texts that it names.

    Raises SpecErrors, with all problems, where no document can be made of it.
    """
    return spec_of(load(source, name=name, folder=folder))


def spec_of(loaded: Loaded) -> Spec:
    """The checked document of a file that was read. Raises SpecErrors, with all problems, where there is none."""
    document, problems = document_of(loaded)
    if document is None:
        raise SpecErrors([*loaded.warnings, *problems], texts=loaded.texts)
    models = list(models_of(document))
    problems += not_available(models, loaded)
    problems += _read_parts(models, loaded)
    return Spec(document, loaded, (*loaded.warnings, *problems))


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
