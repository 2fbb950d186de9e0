"""Prepared blocks of MariaDB: a transaction in one statement, and what is known where one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.journal.errors import Conflict, StoreFailed, StoreUnavailable, Unknown
from orchestrator.stores import mysql_wire, open_store
from orchestrator.stores.mysql_values import execution
from tests.contract.build import after, first, held
from tests.databases import database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with database("mysql") as found:
        yield found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    opened: Any = open_store(url)
    await opened.open()
    async with opened.pool.session() as session:
        mariadb = session.mariadb
        await session.run("DELETE FROM runs")
        await session.run("DELETE FROM journal")
    if not mariadb:
        pytest.skip("MySQL has no blocks")
    yield opened
    assert opened.pool.lent == 0
    await opened.aclose()


async def ended(store: Any, inner: str) -> None:
    async with store.pool.session() as session:
        number = await session.prepared(f"BEGIN NOT ATOMIC START TRANSACTION; {inner}; END")
        try:
            await session.commit_block(execution(number, []))
        finally:
            assert (await session.all("SELECT @@in_transaction"))[0][0] == 0


def signal(code: int) -> str:
    return f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}"


MOVED = "UPDATE runs SET wake_at = 77"


@pytest.mark.parametrize(
    ("code", "before", "after_"),
    [
        (1317, StoreUnavailable, Unknown),  # stopped
        (1969, StoreUnavailable, Unknown),  # out of time
        (1180, StoreFailed, Unknown),  # an error of COMMIT
        (mysql_wire.NO_VALUE, Conflict, Conflict),  # the fence, which comes before COMMIT alone
    ],
)
async def test_a_block_that_fails_is_in_doubt_only_once_it_may_be_committed(
    store: Any, code: int, before: type[Exception], after_: type[Exception]
) -> None:
    await store.commit([first("r1")])
    with pytest.raises(before) as caught:
        await ended(store, f"{MOVED}; {signal(code)}; COMMIT")
    assert not isinstance(caught.value, Unknown)
    assert (await store.get_run("r1")).wake_at is None
    with pytest.raises(after_):
        await ended(store, f"{MOVED}; COMMIT; {signal(code)}")
    assert (await store.get_run("r1")).wake_at == 77


async def test_a_statement_that_the_server_has_forgotten_is_prepared_again(store: Any) -> None:
    begun = await held(store, "r1")
    once = after(begun, ["done"])
    await store.commit([once])
    async with store.pool.session() as session:
        await session.run("ALTER TABLE journal COMMENT 'changed'")
    more = after(once, ["done"])
    await store.commit([more])
    async with store.pool.session() as session:
        for text, number in session._prepared.items():
            session._prepared[text] = number + 100_000
    last = after(more, ["done"])
    with pytest.raises(Unknown):
        await store.commit([last])
    assert await store.settle([("r1", last.first)]) == {"r1": None}
    await store.commit([last])
    assert (await store.get_run("r1")).head == 4


@pytest.mark.parametrize("count", range(7))
async def test_any_number_of_rows_is_fenced(store: Any, count: int) -> None:
    begun = await held(store, "r1")
    more = after(begun, ["done"] * count)
    await store.commit([more])
    assert len(await store.rows("r1")) == 1 + count
    last = after(more, ["done"] * count)
    async with store.pool.session() as session:
        await session.run("UPDATE runs SET epoch = epoch + 1")
    with pytest.raises(Conflict):
        await store.commit([last])
    assert len(await store.rows("r1")) == 1 + count


async def test_no_more_statements_are_kept_than_there_is_room_for(store: Any) -> None:
    begun = await held(store, "r1")
    async with store.pool.session() as session:
        for n in range(mysql_wire.KEPT):
            await session.prepared(f"DO {n}")
        assert await session.prepared("DO 'more'") is None
        assert await session.prepared("DO 0") is not None
    await store.commit([after(begun, ["done"])])
    assert (await store.get_run("r1")).head == 2
