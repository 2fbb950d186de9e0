"""The model is tied to the code: its walks, replayed on the real writer and store, end in the same rows."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from orchestrator.stores import open_store
from tests.model.explore import walk
from tests.model.protocol import Rules
from tests.model.replay import Replay

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.journal.store import Store

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

PROVE = os.environ.get("ORCH_PROVE") == "1"
WALKS = 1000 if PROVE else 90
SCENES = {
    "one run": Rules(claims=2, crashes=2, losses=2),
    "a batch of two": Rules(steps=(("p",), ("q",)), claims=2, crashes=1, losses=2),
    "a question": Rules(steps=(("p",),), asks=True, messages=1, claims=2, crashes=1, losses=2),
}


async def replay(rules: Rules, store: Store, seed: int) -> Counter[str]:
    async with anyio.create_task_group() as group:
        play = Replay(rules, store, group)
        try:
            before = await play.begin()
            for action, after in walk(rules, random.Random(seed)):
                await play.act(action, before, after)
                before = after
        finally:
            play.end()  # or the writers wait behind their shields for answers that never come
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    return play.done


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
@pytest.mark.parametrize("scene", SCENES)
async def test_walks_end_in_the_same_rows(scene: str, kind: str, tmp_path: Path) -> None:
    store = open_store("memory:" if kind == "memory" else f"sqlite:{tmp_path}/runs.db")
    await store.open()
    seen: Counter[str] = Counter()
    try:
        for seed in range(WALKS):
            seen += await replay(SCENES[scene], store, seed)
    finally:
        await store.aclose()
    for action in ("claims", "crashes", "restarts", "connection lost", "settles", "append lands, answered"):
        assert seen[action] > WALKS // 10, f"{action}: only {seen[action]} in {WALKS} walks"
    for action in ("append lands, answer lost", "append lands, nobody waits", "claims again"):
        assert seen[action] > WALKS // 20, f"{action}: only {seen[action]} in {WALKS} walks"
