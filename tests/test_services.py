"""The databases of the tests: found or started, and reachable with the drivers that the stores use."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def postgres() -> Iterator[services.Service]:
    with services.or_skip("postgres") as found:
        yield found


@pytest.fixture
def mysql() -> Iterator[services.Service]:
    with services.or_skip("mysql") as found:
        yield found


async def test_postgres_lets_the_tests_in(postgres: services.Service) -> None:
    import asyncpg

    connection = await asyncpg.connect(postgres.url, timeout=10)
    try:
        assert await connection.fetchval("select 41 + 1") == 42
    finally:
        await connection.close()


async def test_mysql_lets_the_tests_in(mysql: services.Service) -> None:
    import aiomysql

    url = urlsplit(mysql.url)
    connection = await aiomysql.connect(host=url.hostname, port=url.port, user=url.username, connect_timeout=10)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("select 41 + 1")
            assert await cursor.fetchone() == (42,)
    finally:
        connection.close()


def test_a_required_database_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_find", lambda *_names: None)
    monkeypatch.delenv("ORCH_TEST_POSTGRES", raising=False)
    monkeypatch.setenv("ORCH_TEST_REQUIRE", "mysql, postgres")
    with pytest.raises(pytest.fail.Exception, match="no PostgreSQL"), services.or_skip("postgres"):
        raise AssertionError("there is none")


def test_a_missing_database_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_find", lambda *_names: None)
    monkeypatch.delenv("ORCH_TEST_MYSQL", raising=False)
    monkeypatch.delenv("ORCH_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no MariaDB"), services.or_skip("mysql"):
        raise AssertionError("there is none")


def test_an_unknown_requirement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_TEST_REQUIRE", "oracle")
    with pytest.raises(ValueError, match="oracle"):
        services.required()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    account = services._Account(None, None)
    with (
        pytest.raises(services.NoService, match="did not start"),
        account.serve([str(shutil.which("false"))], tmp_path, lambda: False, at_once=signal.SIGTERM),
    ):
        raise AssertionError("it runs")
