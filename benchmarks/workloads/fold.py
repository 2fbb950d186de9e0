"""Folding a long journal, beside nothing but reading its rows and parsing their JSON."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks.measure import timed

if TYPE_CHECKING:
    from benchmarks.measure import Place


def run(place: Place) -> dict[str, Any]:
    """``wall`` of load, check and fold; ``bytes_per_step`` is what the state of a finished step holds in memory."""
    parsed: dict[str, Any] = {}
    with timed(parsed), closing(sqlite3.connect(str(place.sqlite_path))) as db:
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM journal ORDER BY run_id, seq")]
    records = len(bodies)
    del bodies
    return anyio.run(_fold, place) | {"json": parsed["wall"], "records": records}


async def _fold(place: Place) -> dict[str, Any]:
    from orchestrator.journal.state import fold
    from orchestrator.stores import open_store

    store = open_store(place.store)
    await store.open(create=False)
    out: dict[str, Any] = {}
    try:
        with timed(out):
            state = fold(await store.load("run0"))
    finally:
        await store.aclose()
    out["steps"] = len(state.steps)
    return out
