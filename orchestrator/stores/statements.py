"""Every statement, written once. A dialect says in which words a database differs; parameters are ``?`` here.

Rows are locked by their UPDATE or by ``FOR UPDATE``; where a database has no row locks, its transaction holds them all.
Nothing here ignores a conflict, and nothing merges into a row of ``journal``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.frozen import frozen
from orchestrator.journal.errors import BadTablePrefix
from orchestrator.journal.records import Row
from orchestrator.journal.store import ENDED, NO_PROGRESS, RUN_COLUMNS, RunFilter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLES = ("runs", "journal", "blobs", "inbox", "drivers", "schema_version", "memory")
INBOX_COLUMNS = ("run_id", "request_id", "kind", "path", "body", '"by"', "at", "consumed_seq")
FACT_COLUMNS = ("scope", '"key"', '"text"', "at", "by_run")
DRIVER_COLUMNS = ("owner", "host", "boot_id", "pid_ns", "pid", "started", "lease_until", "renewed_at")
_PREFIX_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


_UPSERT_FACT = (
    'ON CONFLICT (scope, "key") DO UPDATE SET "text" = excluded."text", at = excluded.at, by_run = excluded.by_run'
)


@frozen(kw_only=True)
class Dialect:
    """In which words a database differs. ``max_parameters`` of one statement; ``for_update`` locks the rows of a
    SELECT; ``now`` is the time in microseconds and takes one parameter (NULL is the database's own clock, where it has
    one); ``table_options`` end each CREATE TABLE; ``upsert_blob`` and ``upsert_fact`` end the INSERT of what may
    be there; ``preamble`` begins a script; ``collation`` is that of all texts;
    ``vacuum`` gives back the room of a table.
    """

    name: str
    types: Mapping[str, str]
    for_update: str
    max_parameters: int
    now: str = "?"
    table_options: str = ""
    inline_indexes: bool = False
    upsert_blob: str = ""
    upsert_fact: str = _UPSERT_FACT
    preamble: tuple[str, ...] = ()
    collation: str = ""
    vacuum: str = ""


SQLITE = Dialect(
    name="sqlite",
    types={"id": "TEXT", "text": "TEXT", "int": "INTEGER", "bytes": "BLOB", "clustered": "WITHOUT ROWID"},
    for_update="",
    max_parameters=32766,  # SQLite 3.32 and later
)

POSTGRES = Dialect(
    name="postgres",
    types={"id": 'TEXT COLLATE "C"', "text": 'TEXT COLLATE "C"', "int": "BIGINT", "bytes": "BYTEA", "clustered": ""},
    for_update="FOR UPDATE OF r",
    max_parameters=32767,
    # Once in a statement, so that an index serves what is compared with it.
    now="(SELECT COALESCE(?::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))",
    upsert_blob="ON CONFLICT (hash, part) DO UPDATE SET touched_at = excluded.touched_at",
    vacuum="VACUUM (ANALYZE)",
)


MYSQL_MODE = "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"


def mysql_dialect(collation: str, note: str = "") -> Dialect:
    """MariaDB or MySQL. ``collation`` is the binary one that pads nothing, whose name differs between the two; ``note``
    begins a script.
    """
    exact = f"CHARACTER SET utf8mb4 COLLATE {collation}"
    return Dialect(
        name="mysql",
        # Two ids fit the 3,072 bytes of a key.
        types={
            "id": f"VARCHAR(380) {exact}",
            "text": f"LONGTEXT {exact}",
            "int": "BIGINT",
            "bytes": "LONGBLOB",
            "clustered": "",
        },
        for_update="FOR UPDATE",
        max_parameters=65535,
        now="COALESCE(?, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)))",
        table_options=f"ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT {exact}",
        inline_indexes=True,
        collation=collation,
        vacuum="OPTIMIZE TABLE",
        upsert_blob="ON DUPLICATE KEY UPDATE touched_at = VALUES(touched_at)",
        upsert_fact='ON DUPLICATE KEY UPDATE "text" = VALUES("text"), at = VALUES(at), by_run = VALUES(by_run)',
        preamble=(f"{note}SET SESSION sql_mode = '{MYSQL_MODE}'",),
    )


MARIADB = mysql_dialect("utf8mb4_nopad_bin")
MYSQL = mysql_dialect("utf8mb4_0900_bin", "-- For MySQL; a mariadb:// URL gives the script for MariaDB.\n")


def checked_prefix(prefix: str) -> str:
    """``prefix`` where it is empty or a table prefix. Raises ``BadTablePrefix``."""
    fits = len(prefix) <= 31 and set(prefix) <= _PREFIX_LETTERS and (not prefix or prefix[0].isalpha())
    if not fits:
        raise BadTablePrefix(prefix)
    return prefix


class Statements:
    """The statements of one dialect over tables with one prefix."""

    def __init__(self, dialect: Dialect, prefix: str = "") -> None:
        self.dialect = dialect
        self.prefix = checked_prefix(prefix)
        self._words = {
            "{runs}": "SELECT {run}, d.lease_until, {now} FROM {p}runs r LEFT JOIN {p}drivers d ON d.owner = r.owner",
            "{run}": ", ".join(f"r.{name}" for name in RUN_COLUMNS),
            "{row}": ", ".join('"blob"' if name == "blob" else name for name in Row._fields),  # a type's name elsewhere
            "{inbox}": ", ".join(f"i.{name}" for name in INBOX_COLUMNS),
            "{driver}": ", ".join(DRIVER_COLUMNS),
            "{ended}": ", ".join(f"'{status}'" for status in sorted(ENDED)),
            "{no_progress}": f"'{NO_PROGRESS}'",
            "{one_row}": _marks(len(Row._fields)),
            "{for_update}": dialect.for_update,
            "{now}": dialect.now,
            "{p}": self.prefix,
        }
        text = self._text

        self.insert_run = text("INSERT INTO {p}runs ({columns}) VALUES {marks}", *_listed(RUN_COLUMNS))
        self.run = text("{runs} WHERE r.run_id = ?")
        self.lock_run = text("{runs} WHERE r.run_id = ? {for_update}")
        self.find_runs = text(
            "{runs} WHERE r.run_id >= ? AND r.run_id < ? ORDER BY r.created_at DESC, r.run_id DESC LIMIT ?"
        )
        self.due = text(
            "SELECT r.run_id FROM {p}runs r LEFT JOIN {p}drivers d ON d.owner = r.owner WHERE "
            "(r.status = 'queued' AND (r.wake_at IS NULL OR r.wake_at <= {now})) OR "
            "(r.status IN ('waiting', 'paused') AND r.wake_at <= {now} AND COALESCE(r.reason, '') <> {no_progress}) OR "
            "(r.status = 'running' AND (d.owner IS NULL OR d.lease_until <= {now})) "
            "ORDER BY r.created_at, r.run_id LIMIT ?"
        )
        self.wake = text("UPDATE {p}runs SET wake_at = {now} WHERE run_id = ? AND status NOT IN ({ended})")
        self.disown = text("UPDATE {p}runs SET owner = NULL WHERE owner = ?")

        self.journal = text("SELECT {row} FROM {p}journal WHERE run_id = ? AND seq BETWEEN ? AND ? ORDER BY seq")
        self.row_of = text("SELECT {row} FROM {p}journal WHERE run_id = ? AND nonce = ?")
        self.sum_at = text("SELECT sum FROM {p}journal WHERE run_id = ? AND seq = ?")

        self.touch_blob = text("UPDATE {p}blobs SET touched_at = {now} WHERE hash = ?")
        self.insert_blob = text("INSERT INTO {p}blobs (hash, part, size, body, touched_at) VALUES (?, ?, ?, ?, {now})")
        self.blob = text("SELECT body FROM {p}blobs WHERE hash = ? ORDER BY part")

        self.insert_inbox = text("INSERT INTO {p}inbox ({columns}) VALUES {marks}", *_listed(INBOX_COLUMNS))
        self.inbox_row = text("SELECT {inbox} FROM {p}inbox i WHERE i.run_id = ? AND i.request_id = ?")
        self.pending = text(
            "SELECT {inbox} FROM {p}inbox i WHERE i.run_id = ? AND i.consumed_seq IS NULL ORDER BY i.at, i.request_id"
        )
        self.pending_for = text(
            "SELECT {inbox} FROM {p}runs r JOIN {p}inbox i ON i.run_id = r.run_id "
            "WHERE r.owner = ? AND i.consumed_seq IS NULL ORDER BY i.at, i.request_id"
        )
        self.consume = text(
            "UPDATE {p}inbox SET consumed_seq = ? WHERE run_id = ? AND request_id = ? AND consumed_seq IS NULL"
        )

        self.driver = text("SELECT {driver} FROM {p}drivers WHERE owner = ?")
        self.insert_driver = text("INSERT INTO {p}drivers ({driver}) VALUES (?, ?, ?, ?, ?, ?, {now} + ?, {now})")
        self.renew = text("UPDATE {p}drivers SET lease_until = {now} + ?, renewed_at = {now} WHERE owner = ?")
        self.delete_driver = text("DELETE FROM {p}drivers WHERE owner = ?")
        self.forget_drivers = text(
            "DELETE FROM {p}drivers WHERE lease_until < {now} - ? AND "
            "NOT EXISTS (SELECT 1 FROM {p}runs r WHERE r.owner = {p}drivers.owner)"
        )

        self.status = text("SELECT status FROM {p}runs WHERE run_id = ?")
        self.delete_run = text("DELETE FROM {p}runs WHERE run_id = ?")
        self.delete_rows = text("DELETE FROM {p}journal WHERE run_id = ? AND seq BETWEEN ? AND ?")
        self.delete_inbox = text("DELETE FROM {p}inbox WHERE run_id = ?")
        self.old_blobs = text("SELECT hash, SUM(LENGTH(body)) FROM {p}blobs WHERE touched_at < {now} - ? GROUP BY hash")
        # Pages of what may name a blob. Not by a comparison of rows, for which not every database uses the key.
        self.bodies = text(
            'SELECT run_id, seq, body, "blob" FROM {p}journal '
            "WHERE run_id >= ? AND (run_id > ? OR seq > ?) ORDER BY run_id, seq LIMIT ?"
        )
        self.mail = text(
            "SELECT run_id, request_id, body FROM {p}inbox "
            "WHERE run_id >= ? AND (run_id > ? OR request_id > ?) ORDER BY run_id, request_id LIMIT ?"
        )

        self.insert_fact = text("INSERT INTO {p}memory ({columns}) VALUES {marks}", *_listed(FACT_COLUMNS))
        self.facts = text(
            'SELECT {columns} FROM {p}memory WHERE scope = ? AND "key" > ? ORDER BY "key" LIMIT ?',
            ", ".join(FACT_COLUMNS),
        )

        self.versions = text("SELECT version, checksum FROM {p}schema_version ORDER BY version")
        self.insert_version = text("INSERT INTO {p}schema_version (version, checksum, at) VALUES (?, ?, ?)")

        self.advance = lru_cache(256)(self._advance)
        self.insert_rows = lru_cache(64)(self._insert_rows)

    def _text(self, template: str, columns: str = "", marks: str = "") -> str:
        text = template.replace("{columns}", columns).replace("{marks}", marks)
        for word, meaning in self._words.items():
            text = text.replace(word, meaning)
        return text.rstrip()

    def _advance(self, columns: tuple[str, ...]) -> str:
        """Sets columns of a run's row where head and epoch are as expected: the fence. Last come run, head, epoch."""
        settings = ", ".join(f"{name} = ?" for name in columns)
        return self._text("UPDATE {p}runs SET {columns} WHERE run_id = ? AND head = ? AND epoch = ?", settings)

    def _insert_rows(self, count: int) -> str:
        """Inserts ``count`` rows of the journal."""
        return self._text("INSERT INTO {p}journal ({row}) VALUES {columns}", ", ".join(["{one_row}"] * count))

    @property
    def max_rows(self) -> int:
        """How many rows of the journal one statement takes."""
        return self.dialect.max_parameters // len(Row._fields)

    def settle(self, count: int) -> str:
        """Run and nonce of the rows with these ``count`` pairs of run and seq."""
        pairs = " OR ".join(["(run_id = ? AND seq = ?)"] * count)
        return self._text("SELECT run_id, nonce FROM {p}journal WHERE {columns}", pairs)

    def blobs(self, count: int) -> str:
        """Hash and body of the parts of these ``count`` blobs, in order."""
        return self._text(
            "SELECT hash, body FROM {p}blobs WHERE hash IN {marks} ORDER BY hash, part", "", _marks(count)
        )

    def held_blobs(self, count: int) -> str:
        """Which of these ``count`` blobs are there."""
        return self._text("SELECT DISTINCT hash FROM {p}blobs WHERE hash IN {marks}", "", _marks(count))

    def delete_blobs(self, count: int) -> str:
        """Takes away those of these ``count`` blobs that nobody has touched since. First come the time and the age."""
        return self._text("DELETE FROM {p}blobs WHERE touched_at < {now} - ? AND hash IN {marks}", "", _marks(count))

    def list_runs(
        self, chosen: RunFilter, *, after: tuple[int, str] | None = None, limit: int | None = None
    ) -> tuple[str, list[Any]]:
        """Runs, newest first, that match in all but labels, and the parameters that say so.

        ``after`` is the creation and the id of the last run of the page before; ``limit`` the size of a page.
        """
        conditions: list[str] = []
        values: list[Any] = []
        if chosen.status:
            conditions.append(f"r.status IN {_marks(len(chosen.status))}")
            values += chosen.status
        for condition, value in (
            ("r.name = ?", chosen.name),
            ("r.created_at >= ?", chosen.since),
            ("r.finished_at < ?", chosen.ended_before),
            ("r.parent_id = ?", chosen.parent_id),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if after is not None:
            conditions.append("(r.created_at < ? OR (r.created_at = ? AND r.run_id < ?))")
            values += (after[0], *after)
        where = " AND ".join(conditions or ["1 = 1"])
        text = self._text("{runs} WHERE {columns} ORDER BY r.created_at DESC, r.run_id DESC", where)
        return (text, values) if limit is None else (f"{text} LIMIT ?", [*values, limit])

    def render(self, template: str, *, idempotent: bool = False) -> list[str]:
        """The statements of a migration: prefix and types filled in, comments left out. ``idempotent`` ones make what
        is not there.
        """
        lines = [line for line in template.splitlines() if not line.lstrip().startswith("--")]
        text = "\n".join(lines).replace("{prefix}", self.prefix)
        for name, word in self.dialect.types.items():
            text = text.replace(f"{{{name}}}", word)
        out = [part.strip() for part in text.split(";") if part.strip()]
        if self.dialect.inline_indexes:
            out = _inlined(out)
        out = [f"{part} {self.dialect.table_options}".rstrip() if _makes_table(part) else part for part in out]
        return [_CREATE.sub(r"CREATE \1 IF NOT EXISTS", part) for part in out] if idempotent else out


_CREATE = re.compile(r"\ACREATE (TABLE|INDEX)")
_INDEX = re.compile(r"CREATE INDEX (\w+) ON (\w+) (\(.*\))")


def _makes_table(statement: str) -> bool:
    return statement.startswith("CREATE TABLE")


def _inlined(statements: Sequence[str]) -> list[str]:
    """The same tables with their indexes in them, where no statement makes an index unless it is there."""
    out: list[str] = []
    for statement in statements:
        found = _INDEX.fullmatch(statement)
        if found is None:
            out.append(statement)
            continue
        place = next((n for n, text in enumerate(out) if text.startswith(f"CREATE TABLE {found[2]} ")), None)
        if place is None:  # the table came with an earlier migration
            out.append(statement)
            continue
        body, _, end = out[place].rpartition("\n)")
        out[place] = f"{body},\n    KEY {found[1]} {found[3]}\n){end}"
    return out


def _marks(count: int) -> str:
    return f"({', '.join('?' * count)})"


def _listed(columns: Sequence[str]) -> tuple[str, str]:
    """What an INSERT of these columns names, and its marks."""
    return ", ".join(columns), _marks(len(columns))
