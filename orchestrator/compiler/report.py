"""Where the passes put what they find: every problem at its place, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from orchestrator.errors import did_you_mean
from orchestrator.spec.diagnostics import Diagnostic, Note, Severity, has_errors, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.spec.diagnostics import Mark
    from orchestrator.spec.load import Loaded

Path: TypeAlias = "tuple[str | int, ...]"
Span: TypeAlias = "tuple[int, int]"


class Report:
    """Diagnostics of one compilation. Paths lead into the data of the file, spans into the text at a path.

    ``used`` gathers what expressions refer to, by root and field; of a root as a whole the field is empty.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.found: list[Diagnostic] = []
        self.used: set[tuple[str, str]] = set()

    def error(
        self,
        code: str,
        message: str,
        at: Path,
        *,
        span: Span | None = None,
        key: bool = False,
        hint: str | None = None,
        notes: tuple[Note, ...] = (),
    ) -> None:
        """A problem at a value, at its ``key``, or at the ``span`` of its text."""
        self.found.append(Diagnostic(code, message, self.mark(at, span, key=key), hint, notes))

    def warn(self, code: str, message: str, at: Path, *, hint: str | None = None) -> None:
        """Something at a key that stands in no one's way."""
        self.found.append(Diagnostic(code, message, self.mark(at, key=True), hint, severity=Severity.WARNING))

    def unknown(
        self, code: str, what: str, name: str, known: Iterable[str], at: Path, *, span: Span | None = None
    ) -> None:
        """A name that stands for nothing, with the closest one that does."""
        names = list(known)
        close = did_you_mean(name, names)
        listed = f"known: {', '.join(names[:12])}" if names else f"there is no {what} here"
        self.error(
            code, f"unknown {what} `{name}`", at, span=span, hint=f"did you mean `{close}`?" if close else listed
        )

    def mark(self, at: Path, span: Span | None = None, *, key: bool = False) -> Mark:
        if span is not None:
            return self.loaded.mark_in(at, *span)
        return self.loaded.key_mark(at) if key else self.loaded.mark(at)

    def note(self, message: str, at: Path) -> Note:
        return Note(message, self.mark(at, key=True))

    @property
    def failed(self) -> bool:
        return has_errors(self.found)

    def in_order(self) -> list[Diagnostic]:
        return list(in_order(self.found))
