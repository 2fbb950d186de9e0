"""Where the passes put what they find: every problem at its place, said once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import did_you_mean
from orchestrator.spec.diagnostics import Diagnostic, Note, Severity, has_errors
from orchestrator.spec.nodes import Source, find
from orchestrator.spec.prune import Doubts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.spec.diagnostics import Mark
    from orchestrator.spec.load import Loaded

Path: TypeAlias = "tuple[str | int, ...]"
Span: TypeAlias = "tuple[int, int]"

# A hostile file must not cost more to explain than to read: so many problems of one text, so many suggestions.
PER_PLACE: Final = 10
SUGGESTIONS: Final = 50
CANDIDATES: Final = 1000
EXPRESSIONS: Final = 10_000


class Report:
    """Diagnostics of one compilation. Paths lead into the data of the file, spans into the text at a path.

    ``used`` gathers what expressions refer to, by root and field; of a root as a whole the field is empty. What may
    follow from ``doubts`` alone is not said.
    """

    def __init__(self, loaded: Loaded, doubts: Doubts | None = None) -> None:
        self.loaded = loaded
        self.whole = doubts is None
        self.doubts = doubts or Doubts()
        self.found: list[Diagnostic] = []
        self.used: set[tuple[str, str]] = set()
        self.expressions = 0
        self._at: Counter[Path] = Counter()
        self._suggested = 0

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
        if self.doubts.cover(code, at):
            return
        self._at[at] += 1
        if self._at[at] <= PER_PLACE:
            self.found.append(Diagnostic(code, message, self.mark(at, span, key=key), hint, notes))

    def warn(self, code: str, message: str, at: Path, *, hint: str | None = None) -> None:
        """Something at a key that stands in no one's way."""
        self.found.append(Diagnostic(code, message, self.mark(at, key=True), hint, severity=Severity.WARNING))

    def unknown(
        self,
        code: str,
        what: str,
        name: str,
        known: Iterable[str],
        at: Path,
        *,
        span: Span | None = None,
        key: bool = False,
    ) -> None:
        """A name that stands for nothing, with the closest one that does."""
        if self.doubts.name(name):
            return
        names = list(known)
        self._suggested += 1
        close = did_you_mean(name, names[:CANDIDATES]) if self._suggested <= SUGGESTIONS else None
        listed = f"known: {', '.join(names[:12])}" if names else f"there is no {what} here"
        hint = f"did you mean `{close}`?" if close else listed
        self.error(code, f"unknown {what} `{name}`", at, span=span, key=key, hint=hint)

    def mark(self, at: Path, span: Span | None = None, *, key: bool = False) -> Mark:
        if span is not None and at[-1] == "template":
            named = self.loaded.folder_of(at) / str(find(self.loaded.root, at)[1].data)
            return Source(str(named.absolute()), self.loaded.parts[at], named.parent).mark(*span)
        if span is not None:
            return self.loaded.mark_in(at, *span)
        return self.loaded.key_mark(at) if key else self.loaded.mark(at)

    def vague(self, at: Path) -> bool:
        """Whether the step, tool, agent or part there is not what its author meant, since a field of it is not read."""
        return at in self.doubts.vague

    def note(self, message: str, at: Path) -> Note:
        return Note(message, self.mark(at, key=True))

    def room(self, count: int, at: Path) -> bool:
        """Whether so many more expressions may stand in the file; the first time that they may not, it is said."""
        before = self.expressions
        self.expressions += count
        if before <= EXPRESSIONS < self.expressions:
            self.error("E116", f"the file has over {EXPRESSIONS:,} expressions", at)
        return self.expressions <= EXPRESSIONS

    @property
    def failed(self) -> bool:
        return has_errors(self.found)
