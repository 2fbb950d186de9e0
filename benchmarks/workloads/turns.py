"""W2: one agent with a scripted model and so many turns, a tool call in each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import engine, pipelines
from orchestrator.jsonish import canonical
from orchestrator.stores import open_store

if TYPE_CHECKING:
    from benchmarks.measure import Place
    from orchestrator.journal.records import Record


def run(place: Place) -> dict[str, Any]:
    out = engine.run(place, pipelines.turns(place.n))
    return out | anyio.run(_of_turns, place)


EDGE = 40


async def _of_turns(place: Place) -> dict[str, Any]:
    """What the journal says of turns: seconds of one among the first ones and of one among the last;
    bytes of bodies and paths of the tenth and of the last one, and of the reply and the result in the last one."""
    records = await _records(place)
    sizes: dict[str, int] = {}
    began: dict[str, int] = {}
    last = f"turn{place.n}"
    payload = 0
    for record in records:
        turn = record.path.partition("/")[2].partition("/")[0]
        sizes[turn] = sizes.get(turn, 0) + len(canonical(record.body)) + len(record.path)
        began.setdefault(turn, record.at)
        if turn == last and record.kind == "done":
            payload += len(json.dumps(record.body.get("reply") or record.body.get("output")))

    def seconds(since: int, until: int) -> float:
        return (began[f"turn{until}"] - began[f"turn{since}"]) / (until - since) / 1e6

    return {
        "early_turn": seconds(10, 10 + EDGE),
        "late_turn": seconds(place.n - EDGE, place.n),
        "bytes_of_turn_10": sizes["turn10"],
        "bytes_of_last_turn": sizes[last],
        "payload_of_last_turn": payload,
    }


async def _records(place: Place) -> list[Record]:
    store = open_store(place.store)
    await store.open(create=False)
    try:
        return await store.load("run0")
    finally:
        await store.aclose()
