from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.databases import database

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long proofs are chosen, not skipped: by ``ORCH_PROVE=1``, or by a mark on the command line."""
    if os.environ.get("ORCH_PROVE") == "1" or "prove" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("prove")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with database("postgres") as url:
        yield url


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    with database("mysql") as url:
        yield url
