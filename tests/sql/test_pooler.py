"""A store behind PgBouncer, which hands each transaction to any connection of its own."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import settings

from orchestrator.stores import open_store
from tests.contract import test_machine
from tests.contract.build import after, held, mail
from tests.crash.checks import broken
from tests.crash.lab import Lab, records_of
from tests.services import POOLED, or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pooled_url(postgres_url: str) -> Iterator[str]:
    """The database of ``postgres_url``, through the pooler."""
    with or_skip("pgbouncer") as found:
        place = urlsplit(found.url)
        yield urlunsplit(place._replace(path=urlsplit(postgres_url).path, query="pooler=true&pool=8"))


class PooledMachine(test_machine.Machine):
    """The answers of the memory store, call by call."""


@pytest.fixture(scope="module")
def pooled(pooled_url: str) -> Iterator[None]:
    PooledMachine.urls = (pooled_url,)
    yield
    PooledMachine.urls = ()


TestPooledMachine = pytest.mark.usefixtures("pooled")(pytest.mark.timeout(900)(PooledMachine.TestCase))
TestPooledMachine.settings = settings(test_machine.TestMachine.settings, max_examples=12)


async def test_many_at_once_share_few_connections(pooled_url: str, postgres_url: str) -> None:
    store, direct = open_store(pooled_url), open_store(postgres_url)
    await store.open()
    await direct.open()
    begun = [await held(store, f"r{n:02}") for n in range(40)]
    for _ in range(5):
        begun = [after(piece, ["done", "started"]) for piece in begun]
        await asyncio.gather(*(store.commit([piece]) for piece in begun))
        await asyncio.gather(*(store.send(mail(piece.run_id, f"q{piece.head}")) for piece in begun))
    await store.commit([after(piece, ["done"]) for piece in begun])
    heads = [(await direct.get_run(piece.run_id)).head for piece in begun]
    assert heads == [12] * 40
    assert store.pool.idle == 8  # pyright: ignore[reportAttributeAccessIssue]
    async with direct.pool.session() as session:  # pyright: ignore[reportAttributeAccessIssue]
        found = await session.all(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'orch'"
        )
    assert 0 < found[0][0] <= POOLED
    await store.aclose()
    await direct.aclose()


def test_runs_that_are_killed_end_well(pooled_url: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path, lease=1.0, url=pooled_url)
    try:
        whole = lab.case()
        assert lab.run(whole) == 0
        outputs = records_of(whole)[-1].body["outputs"]
        wrong: list[str] = []
        for point in ("after_begin", "before_commit", "after_commit", "after_effect"):
            # How many there are depends on what shares a commit: none of the last ones.
            for n in (1, 5, whole.passed[point] * 2 // 3):
                case = lab.case()
                assert lab.run(case, at=(point, n)) == -signal.SIGKILL
                assert lab.finish(case) == 0
                wrong += broken(lab, case, outputs=outputs)
        assert not wrong, "\n".join(wrong)
    finally:
        lab.close()
