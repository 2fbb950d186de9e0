"""The tables of a database server: whether they are there, what they lack, and the script that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.journal.errors import NoDatabase, SchemaIncomplete, SchemaNewer, SchemaOlder
from orchestrator.stores.migrations import LATEST, all_migrations
from orchestrator.stores.schema import expected_columns
from orchestrator.stores.statements import TABLES

if TYPE_CHECKING:
    from orchestrator.stores.pool import Session
    from orchestrator.stores.statements import Statements

_COLUMNS = {
    "postgres": "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped "
    "AND c.relname = ANY(?::text[])",
    "mysql": "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND table_name IN (?, ?, ?, ?, ?, ?, ?)",
}


async def columns(session: Session, sql: Statements) -> dict[str, set[str]]:
    """The columns of those of our tables that are there, by the tables' full names."""
    names = [sql.prefix + name for name in TABLES]
    out: dict[str, set[str]] = {}
    values = [names] if sql.dialect.name == "postgres" else names
    for table, column in await session.all(_COLUMNS[sql.dialect.name], values):
        out.setdefault(table, set()).add(column)
    return out


async def version(session: Session, sql: Statements) -> int:
    """The version of the tables, 0 where there are none."""
    if f"{sql.prefix}schema_version" not in await columns(session, sql):
        return 0
    return max((number for number, _ in await session.all(sql.versions)), default=0)


async def ready(session: Session, sql: Statements) -> bool:
    """True where every table stands there as this program knows it."""
    there = await columns(session, sql)
    expected = expected_columns(sql)
    whole = all(set(needed) <= there.get(table, set()) for table, needed in expected.items())
    return whole and max((number for number, _ in await session.all(sql.versions)), default=0) == LATEST


async def require(session: Session, sql: Statements, shown: str) -> None:
    """Raise unless the tables are all there, in the version that this program knows."""
    there = await columns(session, sql)
    if not there:
        raise NoDatabase(shown)
    if f"{sql.prefix}schema_version" in there:
        found = await version(session, sql)
        if found > LATEST:
            raise SchemaNewer(shown, found=found, known=LATEST)
        if 0 < found < LATEST:
            raise SchemaOlder(shown, found=found, known=LATEST)
    if missing := lacking(there, sql):
        raise SchemaIncomplete(shown, missing=missing)
    if not await version(session, sql):
        raise SchemaIncomplete(shown, missing=[f"the version in {sql.prefix}schema_version"])


def lacking(there: dict[str, set[str]], sql: Statements) -> list[str]:
    """Tables and columns that should be there and are not."""
    out: list[str] = []
    for table, needed in expected_columns(sql).items():
        if table not in there:
            out.append(f"table {table}")
        else:
            out += [f"column {table}.{name}" for name in needed if name not in there[table]]
    return out


async def problems(session: Session, sql: Statements) -> list[str]:
    """What is wrong with the tables, one sentence each."""
    there = await columns(session, sql)
    out = [f"{what} is missing" for what in lacking(there, sql)]
    checksums = {migration.version: migration.checksum for migration in all_migrations()}
    if f"{sql.prefix}schema_version" in there:
        for number, checksum in await session.all(sql.versions):
            if checksums.get(number) != checksum:
                out.append(f"schema version {number} was made by other statements than this program's")
    return out


def ddl(sql: Statements) -> str:
    """All statements that make the tables and note their versions; run twice, they change nothing more."""
    out = list(sql.dialect.preamble)
    for migration in all_migrations():
        out += sql.render(migration.template, idempotent=True)
        noted = f"{migration.version}, '{migration.checksum}', 0"
        table = f"{sql.prefix}schema_version"
        out.append(
            f"INSERT INTO {table} (version, checksum, at) SELECT {noted} "  # noqa: S608  the names are ours
            f"WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE version = {migration.version})"
        )
    return "".join(f"{statement};\n" for statement in out)
