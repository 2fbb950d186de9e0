"""What may go from a store: the same for every one.

A run goes with its journal and its inbox, in one transaction. A blob goes where nothing that stays names it. What names
a blob is not told from what only looks like one: any 64 hex digits in a body count, so that no new kind of record can
be forgotten here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.journal.references import names_in
from orchestrator.journal.store import ENDED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orchestrator.journal.store import RunRow

ROWS_AT_ONCE = 1_000
"""Rows in one page of a scan."""

DELETED_AT_ONCE = 10_000
"""Rows that one DELETE takes away: far within the time that a statement has."""

NAMES_AT_ONCE = 200


def is_over(run: RunRow, ended_before: int) -> bool:
    """True where the run has ended, and did so before a time in microseconds."""
    return run.ended and run.finished_at is not None and run.finished_at < ended_before


def is_ended(status: str | None) -> bool:
    """True for the status of a run that is over, and for None: a run that is not there."""
    return status is None or status in ENDED


class Marks:
    """Those of some blobs that nothing names. ``without`` are runs that count as gone; ``contents`` the blobs that hold
    bodies: what they name counts, too.
    """

    def __init__(self, candidates: Iterable[str], without: Collection[str]) -> None:
        self.unnamed = set(candidates)
        self.contents: set[str] = set()
        self._without = frozenset(without)

    def see(self, run_id: str, body: bytes | None, blob: str | None = None) -> None:
        """A row of ``journal`` or ``inbox``."""
        if run_id in self._without:
            return
        if blob is not None:
            self.contents.add(blob)
            self.unnamed.discard(blob)
        if body is not None:
            self.read(body)

    def read(self, body: bytes) -> None:
        """A body: what it names stays."""
        self.unnamed -= names_in(body)
