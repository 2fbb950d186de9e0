"""Servers that ask for a password, and show a certificate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import anyio
import anyio.lowlevel
import pytest

from orchestrator.journal.errors import StoreRefused
from orchestrator.stores import open_store
from tests import certificates
from tests.contract.build import first
from tests.services import Guard, or_skip, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificates
    from tests.services import Service

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

PASSWORD = "open:s3same/ %@&ö√"
WRONG = "cl0sed:sesame/ %@&"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest, made: Certificates) -> Iterator[Service]:
    guard = Guard(password=PASSWORD, certificate=made.certificate, key=made.key)
    with or_skip(request.param, lambda name: own(name, guard)) as found:
        yield found


def url_of(server: Service, *, password: str | None = PASSWORD, host: str = "127.0.0.1", **options: object) -> str:
    where = urlsplit(server.url)
    who = where.username if password is None else f"{where.username}:{quote(password, safe='')}"
    query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
    return urlunsplit(where._replace(netloc=f"{who}@{host}:{where.port}", query=query))


async def encrypted(url: str) -> bool:
    """Whether what a store says goes over the wire encrypted; it has to be of use, too."""
    store = open_store(url)
    await store.open()
    try:
        async with store.pool.session() as session:
            if url.startswith("postgres"):
                found = (await session.all("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))[0][0]
            else:
                found = bool((await session.all("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))[0][1])
        assert await store.check() == []
        return found
    finally:
        await store.aclose()


async def refused(url: str) -> str:
    """How a server is refused, or refuses us; without a word of a password."""
    store = open_store(url)
    with pytest.raises(StoreRefused) as caught:
        await store.open()
    told = [f"{caught.value} {caught.value!r} {caught.value.hint} {store.name} {store!r}"]
    cause: BaseException | None = caught.value
    while cause := (cause and (cause.__cause__ or cause.__context__)):
        told.append(f"{cause} {cause!r}")
    for secret in (PASSWORD, WRONG, quote(PASSWORD, safe=""), quote(WRONG, safe=""), "s3same", "cl0sed"):
        assert secret not in " ".join(told)
    return str(caught.value)


async def test_the_right_password_opens(server: Service) -> None:
    store = open_store(url_of(server))
    await store.open()
    await store.commit([first("r1")])
    assert (await store.get_run("r1")).head == 1
    assert "s3same" not in store.name
    assert ":***@" in store.name
    assert await store.delete_runs(["r1"], ended_before=0) == []
    async with store.pool.session() as session:
        await session.run("DELETE FROM runs")
        await session.run("DELETE FROM journal")
    await store.aclose()


@pytest.mark.parametrize("password", [WRONG, "", None], ids=["wrong", "empty", "none"])
@pytest.mark.parametrize("sslmode", ["disable", "require"])
async def test_a_wrong_password_is_refused_and_not_repeated(
    server: Service, password: str | None, sslmode: str
) -> None:
    assert "password" in (await refused(url_of(server, password=password, sslmode=sslmode))).lower()


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
async def test_what_needs_no_certificate(server: Service, sslmode: str) -> None:
    assert await encrypted(url_of(server, sslmode=sslmode)) == (sslmode != "disable")


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
async def test_the_right_authority_and_the_right_name(server: Service, made: Certificates, sslmode: str) -> None:
    assert await encrypted(url_of(server, sslmode=sslmode, sslrootcert=made.authority))


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
async def test_a_certificate_of_another_authority_is_refused(server: Service, made: Certificates, sslmode: str) -> None:
    assert "certificate" in await refused(url_of(server, sslmode=sslmode, sslrootcert=made.stranger))
    assert "certificate" in await refused(url_of(server, sslmode=sslmode))


async def test_another_name_is_refused_where_names_are_looked_at(server: Service, made: Certificates) -> None:
    elsewhere = url_of(server, host="localhost", sslmode="verify-ca", sslrootcert=made.authority)
    assert await encrypted(elsewhere)
    assert "localhost" in await refused(elsewhere.replace("verify-ca", "verify-full"))


async def test_a_server_that_refuses_us_is_left_with_no_socket(server: Service) -> None:
    sockets = asyncio.get_running_loop()._selector.get_map()  # pyright: ignore[reportAttributeAccessIssue]
    before = len(sockets)
    for _ in range(40):
        await refused(url_of(server, password=WRONG, sslmode="require"))
        await asyncio.sleep(0)
        if server.name == "postgres":  # asyncpg says goodbye, and hangs up when it is answered
            with anyio.fail_after(5):
                while len(sockets) > before:
                    await anyio.lowlevel.checkpoint()
        assert len(sockets) == before
