"""What only database servers can do to a store: rights, limits, settings, and what they count."""

from __future__ import annotations

import json
import random
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from orchestrator.clock import SystemClock
from orchestrator.journal.errors import (
    BadData,
    NoDatabase,
    SchemaIncomplete,
    SchemaNewer,
    StoreFull,
    StoreNotWritable,
    StoreRefused,
    StoreUnavailable,
    TablesNotAllowed,
)
from orchestrator.journal.store import Projection
from orchestrator.stores import StoreSettings, open_store
from tests.contract.build import after, first, held, mail, new_run
from tests.databases import locked, made, tell
from tests.services import or_skip, own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orchestrator.journal.store import Store
    from orchestrator.stores.server import ServerStore
    from tests.services import Service

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(params=["postgres", "mysql"])
def base_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def fresh_url(base_url: str) -> Iterator[str]:
    with made(base_url) as url:
        yield url


@pytest.fixture
def role(fresh_url: str) -> Iterator[str]:
    """The URL of a role that may connect, and nothing else."""
    name, where = f"orch_{secrets.token_hex(4)}", urlsplit(fresh_url)
    database = where.path.strip("/")
    if fresh_url.startswith("postgres"):
        made, gone = f"CREATE ROLE {name} LOGIN", [f"DROP OWNED BY {name}", f"DROP ROLE {name}"]
        tell(fresh_url, made, f"GRANT CONNECT ON DATABASE {database} TO {name}")
    else:
        gone = [f"DROP USER {name}@'127.0.0.1'"]
        tell(fresh_url, f"CREATE USER {name}@'127.0.0.1'", f"GRANT SELECT ON {database}.* TO {name}@'127.0.0.1'")
    try:
        yield urlunsplit(where._replace(netloc=f"{name}@{where.hostname}:{where.port}"))
    finally:
        tell(fresh_url, *gone)


async def opened(url: str, **more: object) -> Store:
    store = open_store(url, **more)  # pyright: ignore[reportArgumentType]
    await store.open()
    return store


# --- rights and tables ---


def statements(script: str) -> list[str]:
    lines = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    return [part.strip() for part in lines.split(";") if part.strip()]


async def test_a_role_that_may_make_no_tables_is_told_what_to_do(role: str, fresh_url: str) -> None:
    store = open_store(role)
    with pytest.raises(TablesNotAllowed) as caught:
        await store.open()
    assert "orch db ddl" in str(caught.value.hint)


def test_the_script_makes_the_tables_and_may_be_run_twice(fresh_url: str) -> None:
    import anyio

    script = open_store(fresh_url.replace("mysql://", "mariadb://")).ddl()
    tell(fresh_url, *statements(script), *statements(script))

    async def check() -> None:
        store = open_store(fresh_url)
        await store.open(create=False)
        assert await store.check() == []
        assert await store.migrate() == []
        await held(store, "r1")
        await store.aclose()

    anyio.run(check)


async def test_a_role_that_may_only_read(role: str, fresh_url: str) -> None:
    owner = await opened(fresh_url)
    await owner.commit([first("r1")])
    if fresh_url.startswith("postgres"):
        session = await owner._connect()  # pyright: ignore[reportAttributeAccessIssue]
        await session.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {urlsplit(role).username}")
        await session.aclose()
    reader = await opened(role)
    assert (await reader.get_run("r1")).head == 1
    with pytest.raises(StoreNotWritable):
        await reader.commit([first("r2")])
    await reader.aclose()
    await owner.aclose()


async def test_no_tables_and_none_to_be_made(fresh_url: str) -> None:
    store = open_store(fresh_url)
    with pytest.raises(NoDatabase):
        await store.open(create=False)


async def test_a_table_that_is_there_already_stops_no_migration(fresh_url: str) -> None:
    store = await opened(fresh_url)
    async with store.pool.session() as session:
        await session.run("DELETE FROM schema_version WHERE version = 2")
    await store.aclose()
    store = open_store(fresh_url)
    await store.open(create=False, older=True)
    assert await store.migrate() == [2]
    assert await store.check() == []
    await store.aclose()


@pytest.mark.parametrize("wrong", ["table", "column", "newer", "older version row"])
async def test_tables_that_do_not_fit(fresh_url: str, wrong: str) -> None:
    store = await opened(fresh_url)
    async with store.pool.session() as session:
        match wrong:
            case "table":
                await session.run("DROP TABLE inbox")
            case "column":
                await session.run("ALTER TABLE runs DROP COLUMN claims")
            case "newer":
                await session.run("INSERT INTO schema_version (version, checksum, at) VALUES (99, 'x', 0)")
            case _:
                await session.run("UPDATE schema_version SET checksum = 'x'")
    if wrong == "older version row":
        assert any("other statements" in line for line in await store.check())
    elif wrong != "newer":
        assert any("is missing" in line for line in await store.check())
    await store.aclose()
    if wrong != "older version row":
        with pytest.raises(SchemaNewer if wrong == "newer" else SchemaIncomplete):
            await open_store(fresh_url).open()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_nothing_is_sent_in_the_clear_where_the_url_asks_for_tls(own_server: Service, mode: str) -> None:
    with pytest.raises(StoreRefused, match="offers no TLS"):
        await open_store(f"{own_server.url}?sslmode={mode}").open()


# --- values ---

HARD = ["a\\b", "it's", 'a"b', "a\nb\r\tc", "é√🜁\U0010ffff", "%s ? $1 {x} :y", "trailing ", "\x1a\x7f\u2028", "--;/*"]


@pytest.mark.parametrize("text", HARD)
async def test_any_text_comes_back_as_it_was(fresh_url: str, text: str) -> None:
    store = await opened(fresh_url)
    new = new_run("r" + text.strip(), labels={text: text})
    begun = first(
        new.run_id, new=new, projection=Projection(reason=text, error={"message": text}), bodies=[{"x": text}]
    )
    await store.commit([begun])
    run = await store.get_run(new.run_id)
    assert (run.labels, run.reason, run.error) == ({text: text}, text, {"message": text})
    assert (await store.load(new.run_id))[0].body == {"x": text}
    await store.send(mail(new.run_id, text, by=text, answer=text))
    (row,) = await store.pending(new.run_id)
    assert (row.request_id, row.by, row.body) == (text, text, {"answer": text})
    await store.aclose()


async def test_keys_are_compared_to_the_last_bit(fresh_url: str) -> None:
    store = await opened(fresh_url)
    names = ["r", "R", "r ", "é", "e\u0301", "e"]
    await store.commit([first(name) for name in names])
    assert {run.run_id for run in await store.list_runs()} == set(names)
    await store.aclose()


async def test_bytes_of_all_kinds_survive(fresh_url: str) -> None:
    store = await opened(fresh_url)
    chance = random.Random(3)
    contents = [bytes(range(256)), b"\\'\"\0\x1a" * 99, *(chance.randbytes(chance.randrange(5000)) for _ in range(20))]
    names = await store.put_blobs(contents)
    assert [await store.get_blob(name) for name in names] == contents
    await store.aclose()


async def test_a_row_that_the_server_cannot_take_in_one_piece_is_refused_by_name(fresh_url: str) -> None:
    """17 MiB are over MariaDB's packet; PostgreSQL knows none, and takes them. No writer sends such a row."""
    store = await opened(fresh_url)
    begun = await held(store, "r1")
    row = begun.rows[0]._replace(seq=2, body=b"p" * (17 * 1024 * 1024))
    big = replace(after(begun, ["done"]), rows=(row,))
    if fresh_url.startswith("postgres"):
        await store.commit([big])
        assert (await store.rows("r1"))[1] == row
    else:
        with pytest.raises(BadData, match="max_allowed_packet"):
            await store.commit([big])
        assert len(await store.rows("r1")) == 1
    await store.aclose()


async def test_a_commit_of_any_size_is_taken(fresh_url: str) -> None:
    store = await opened(fresh_url)
    begun = await held(store, "r1")
    many = [after(begun, ["done"] * 800, bodies=[{"x": json.dumps({"n": n}) + "y" * 30_000} for n in range(800)])]
    await store.commit(many)
    assert (await store.get_run("r1")).head == 801
    await store.aclose()


# --- no room ---

NO_ROOM = {
    "postgres": (
        """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$""",
        "CREATE TRIGGER full_disk BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION full_disk()",
    ),
    "mysql": (
        """CREATE TRIGGER full_disk BEFORE INSERT ON journal FOR EACH ROW
        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'Disk full'""",
    ),
}


async def told(store: Store, *statements: str) -> None:
    async with store.pool.session() as session:
        for statement in statements:
            await session.run(statement)


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_full_disk_stops_a_commit_whole_and_is_said(fresh_url: str, pieces: int) -> None:
    postgres = fresh_url.startswith("postgres")
    store = await opened(fresh_url)
    begun = [await held(store, f"r{n}") for n in range(pieces)]
    await told(store, *NO_ROOM["postgres" if postgres else "mysql"])
    batch = [after(piece, ["done"]) for piece in begun]
    with pytest.raises(StoreFull, match="no room is left"):
        await store.commit(batch)
    with pytest.raises(StoreFull):
        await store.commit([first("new")])
    assert [(await store.get_run(piece.run_id)).head for piece in begun] == [1] * pieces
    await told(store, "DROP TRIGGER full_disk ON journal" if postgres else "DROP TRIGGER full_disk")
    await store.commit(batch)
    assert [(await store.get_run(piece.run_id)).head for piece in begun] == [2] * pieces
    assert store.pool.lent == 0  # pyright: ignore[reportAttributeAccessIssue]
    await store.aclose()


# --- what the servers count ---


@pytest.fixture(params=["postgres", "mysql"], scope="module")
def own_server(request: pytest.FixtureRequest) -> Iterator[Service]:
    with or_skip(request.param, own) as found:
        yield found


@pytest.fixture
async def own_store(own_server: Service) -> AsyncIterator[ServerStore]:
    store = open_store(own_server.url, clock=SystemClock(), settings=StoreSettings(table_prefix="own_"))
    await store.open()
    yield store  # pyright: ignore[reportReturnType]
    await store.aclose()


async def counted(store: ServerStore) -> dict[str, int]:
    """How many statements the server has seen, by their first word."""
    async with store.pool.session() as session:
        if store.name.startswith("postgresql"):
            rows = await session.all("SELECT query, calls FROM pg_stat_statements")
            rows = [(str(query).split()[0], calls) for query, calls in rows if "pg_stat_statements" not in query]
        else:
            rows = await session.all("SHOW GLOBAL STATUS LIKE 'Com\\_%'".replace("\\", "\\\\"))
            rows = [(name.removeprefix("Com_").upper(), int(count)) for name, count in rows]
    out: dict[str, int] = {}
    for word, count in rows:
        out[word] = out.get(word, 0) + count
    return out


@pytest.mark.parametrize("runs", [1, 20])
async def test_a_batch_is_at_most_two_statements(own_store: ServerStore, runs: int) -> None:
    if own_store.name.startswith("postgresql"):
        async with own_store.pool.session() as session:
            await session.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    last = [await held(own_store, f"r{runs}-{n:02}") for n in range(runs)]
    before = await counted(own_store)
    for _ in range(50):
        last = [after(piece, ["done", "started"]) for piece in last]
        await own_store.commit(last)
    after_ = await counted(own_store)
    grown = {word: count - before.get(word, 0) for word, count in after_.items() if count > before.get(word, 0)}
    if own_store.name.startswith("postgresql"):
        assert grown.get("WITH") == 50, grown
        assert not {"BEGIN", "COMMIT", "UPDATE", "INSERT"} & set(grown), grown
    else:
        moved = grown.get("UPDATE", 0) + grown.get("UPDATE_MULTI", 0)
        assert (grown["BEGIN"], grown["COMMIT"], grown["INSERT"], moved) == (50, 50, 50, 50), grown


@pytest.mark.parametrize("table", ["schema_version", "runs"])
async def test_a_table_that_another_session_has_locked(fresh_url: str, table: str) -> None:
    store = open_store(fresh_url, clock=SystemClock())
    await store.open()
    if table == "schema_version":
        await store.aclose()
    async with locked(fresh_url, table):
        with pytest.raises(StoreUnavailable, match="is locked by another session") as caught:
            await (store.open() if table == "schema_version" else store.list_runs())
    assert caught.value.code == "E902"
    await store.aclose()
