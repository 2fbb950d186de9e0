"""What may go from a store, and the statements that take it away: the same for every SQL store.

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
    from orchestrator.stores.statements import Statements

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


class UpkeepStatements:
    """The statements of ``Statements`` that only upkeep needs."""

    def __init__(self, sql: Statements) -> None:
        p, now = sql.prefix, sql.dialect.now
        old = f"touched_at < {now} - ?"
        self.status = f"SELECT status FROM {p}runs WHERE run_id = ?"
        self.delete_rows = f"DELETE FROM {p}journal WHERE run_id = ? AND seq BETWEEN ? AND ?"
        self.delete_inbox = f"DELETE FROM {p}inbox WHERE run_id = ?"
        self.delete_run = f"DELETE FROM {p}runs WHERE run_id = ?"
        self.old_blobs = f"SELECT hash, SUM(LENGTH(body)) FROM {p}blobs WHERE {old} GROUP BY hash"
        # Not a comparison of rows, for which not every database uses the key.
        self.bodies = (
            f'SELECT run_id, seq, body, "blob" FROM {p}journal '
            "WHERE run_id >= ? AND (run_id > ? OR seq > ?) ORDER BY run_id, seq LIMIT ?"
        )
        self.mail = (
            f"SELECT run_id, request_id, body FROM {p}inbox "
            "WHERE run_id >= ? AND (run_id > ? OR request_id > ?) ORDER BY run_id, request_id LIMIT ?"
        )
        self._held = f"SELECT DISTINCT hash FROM {p}blobs WHERE hash IN "
        self._delete_blobs = f"DELETE FROM {p}blobs WHERE {old} AND hash IN "

    def held(self, count: int) -> str:
        """Which of these ``count`` blobs are there."""
        return self._held + _marks(count)

    def delete_blobs(self, count: int) -> str:
        """Takes away those of these ``count`` blobs that nobody has touched in the meantime. First come the time and
        the age.
        """
        return self._delete_blobs + _marks(count)


def _marks(count: int) -> str:
    return f"({', '.join('?' * count)})"
