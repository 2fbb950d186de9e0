"""The tables of an SQL store: made, checked and brought up to date."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

from orchestrator.journal.errors import (
    NoDatabase,
    SchemaIncomplete,
    SchemaNewer,
    SchemaOlder,
    StoreFailed,
    StoreNotWritable,
)
from orchestrator.stores.migrations import LATEST, all_migrations
from orchestrator.stores.statements import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.stores.connection import Connection
    from orchestrator.stores.statements import Statements

_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*)\)", re.DOTALL)


def provision(db: Connection, sql: Statements, now: int, *, upgrade: bool = False) -> list[int]:
    """Make the tables where there are none; with ``upgrade`` apply what is missing, too. The versions applied.

    Looks again under the write lock, so that any number of processes may do it at once.
    """
    if version(db, sql) >= (LATEST if upgrade else 1):
        return []
    with db.transaction():
        found = version(db, sql)
        if found and not upgrade:
            return []
        if not found and (there := tables(db, sql)):
            raise SchemaIncomplete(
                db.shown, missing=[f"table {sql.prefix}{name}" for name in TABLES if name not in there]
            )
        missing = all_migrations()[found:]
        for migration in missing:
            for statement in sql.render(migration.template, idempotent=True):
                db.execute(statement)
            db.execute(sql.insert_version, (migration.version, migration.checksum, now))
        return [migration.version for migration in missing]


def version(db: Connection, sql: Statements) -> int:
    """The version of the tables; 0 where there are none."""
    if "schema_version" not in tables(db, sql):
        return 0
    return max((number for number, _ in db.all(sql.versions)), default=0)


def tables(db: Connection, sql: Statements) -> set[str]:
    """Those of our tables that are there, without their prefix."""
    found = {name for (name,) in db.all("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {name for name in TABLES if sql.prefix + name in found}


def require(db: Connection, sql: Statements) -> None:
    """Raise unless the tables are all there, in the version that this program knows."""
    there = tables(db, sql)
    if not there:
        # A process that was killed before its first transaction leaves an empty file behind.
        raise NoDatabase(db.shown)
    found = version(db, sql)
    if found > LATEST:
        raise SchemaNewer(db.shown, found=found, known=LATEST)
    if 0 < found < LATEST:
        raise SchemaOlder(db.shown, found=found, known=LATEST)
    missing = [f"table {sql.prefix}{name}" for name in TABLES if name not in there]
    if missing:
        raise SchemaIncomplete(db.shown, missing=missing)
    if not found:
        raise SchemaIncomplete(db.shown, missing=[f"the version in {sql.prefix}schema_version"])


def problems(db: Connection, sql: Statements) -> list[str]:
    """What is wrong with the database, one sentence each."""
    out: list[str] = []
    checksums = {migration.version: migration.checksum for migration in all_migrations()}
    for number, checksum in db.all(sql.versions):
        if checksums.get(number) != checksum:
            out.append(f"schema version {number} was made by other statements than this program's")
    for name, columns in expected_columns(sql).items():
        found = {column for _, column, *_ in db.all(f"PRAGMA table_info({name})")}
        out += [f"table {name} lacks the column {column}" for column in columns if column not in found]
    for (line,) in db.all("PRAGMA integrity_check(20)"):
        if line != "ok":
            out.append(f"SQLite's integrity check: {line}")
    if db.one("PRAGMA journal_mode")[0] != "wal":
        out.append("journal_mode is not WAL")
    return out


def vacuum(db: Connection) -> None:
    """Give the free pages of the file back to the disk, and empty the log beside it."""
    db.script("PRAGMA incremental_vacuum")  # executed as a query, it frees a single page
    db.all("PRAGMA wal_checkpoint(TRUNCATE)")


def back_up(db: Connection, target: Path) -> None:
    """A copy of the database as it is now, in a new file of owner's rights, or none. Nobody waits for it."""
    try:
        target.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise StoreNotWritable(str(target), reason=error.strerror or str(error)) from error
    copy = sqlite3.connect(target)
    try:
        db.raw.backup(copy)
    except sqlite3.Error as error:
        target.unlink()
        raise StoreFailed(str(target), reason=str(error)) from error
    finally:
        copy.close()


def expected_columns(sql: Statements) -> dict[str, list[str]]:
    """The columns that each table must have, by its full name."""
    out: dict[str, list[str]] = {}
    for migration in all_migrations():
        for statement in sql.render(migration.template):
            if found := _TABLE.match(statement):
                lines = [line.strip() for line in found[2].splitlines() if line.strip()]
                out[found[1]] = [
                    line.split()[0].strip('"') for line in lines if not line.startswith(("PRIMARY", "KEY "))
                ]
    return out


def ddl(sql: Statements) -> str:
    """All statements that make the tables, and note their versions."""
    out: list[str] = []
    for migration in all_migrations():
        out += [f"{statement};" for statement in sql.render(migration.template)]
        noted = sql.insert_version.replace("?, ?, ?", f"{migration.version}, '{migration.checksum}', 0")
        out.append(f"{noted};")
    return "\n".join(out) + "\n"
