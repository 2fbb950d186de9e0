from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.journal.errors import StoreUnavailable
from orchestrator.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_an_abandoned_store_tells_all_who_ask_and_closes(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'x.db'}")
    await store.open()
    store.abandon()
    with pytest.raises(StoreUnavailable, match="not waited for any more"):
        await store.get_run("r")
    await store.aclose()
    await store.aclose()
