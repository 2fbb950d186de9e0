"""The writer over a bad connection: nothing acknowledged is lost, nothing is there twice, nobody is fenced by nobody."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from orchestrator.clock import ManualClock
from orchestrator.journal.records import Record
from orchestrator.journal.slices import RunHandle, Start
from orchestrator.journal.store import Projection
from orchestrator.journal.writer import Writer
from tests.contract.build import LEASE, driver, held, mail, new_run
from tests.contract.faults import FaultyStore

if TYPE_CHECKING:
    from orchestrator.journal.errors import Fenced
    from orchestrator.journal.store import Store

pytestmark = pytest.mark.anyio

SEEDS = 400 if os.environ.get("ORCH_PROVE") == "1" else 25
RUNS = 6
STEPS = 12


class Walker:
    """A run whose every committed step appends the next one; one in three starts a child, too."""

    def __init__(self, writer: Writer, run_id: str, chance: random.Random) -> None:
        self.writer = writer
        self.chance = chance
        self.acknowledged = 1
        self.children: list[str] = []
        self.fenced: Fenced | None = None
        self.handle = RunHandle(
            run_id, epoch=1, head=1, on_committed=self.committed, on_fenced=self.stop, on_error=self.fail
        )

    def begin(self, head_sum: str) -> None:
        self.handle.head_sum = self.handle.tail_sum = head_sum
        self.step()

    def step(self) -> None:
        handle = self.handle
        records = [Record(handle.tail + n, 1, "done", f"s{handle.tail + n}", {"n": n}, 1) for n in (1, 2)]
        coupled: list[Start] = []
        if self.chance.random() < 0.3:
            child = f"{handle.run_id}-child{handle.tail}"
            self.children.append(child)
            coupled = [Start(new=new_run(child), records=[Record(1, 0, "run_started", "", {}, 1)])]
        self.writer.append(handle, records, Projection(spend=handle.tail + 2), coupled=coupled)

    def committed(self, head: int) -> None:
        self.acknowledged = head
        if self.handle.tail < STEPS:
            self.step()

    def stop(self, error: Fenced) -> None:
        self.fenced = error

    def fail(self, error: Exception) -> None:
        raise error


async def take_some(store: Store, walkers: list[Walker], chance: random.Random) -> set[str]:
    """Another driver takes a few of the runs, at any time."""
    taken: set[str] = set()
    await store.register_driver(driver("thief"), LEASE)
    for walker in chance.sample(walkers, 2):
        for _ in range(chance.randrange(40)):
            await anyio.lowlevel.checkpoint()
        await store.claim(walker.handle.run_id, "thief", force=True)
        taken.add(walker.handle.run_id)
    return taken


@pytest.mark.parametrize("share", [0.2, 0.6])
async def test_whatever_the_connection_does(store: Store, share: float) -> None:
    faults: Counter[str] = Counter()
    for seed in range(SEEDS):
        chance = random.Random(seed)
        faulty = FaultyStore(store, chance, share=share)
        writer = Writer(faulty, ManualClock(0), sleep=lambda _: anyio.lowlevel.checkpoint(), max_records=7)  # pyright: ignore[reportArgumentType]
        walkers = [Walker(writer, f"{seed}-{share}-{n}", chance) for n in range(RUNS)]
        sums = {walker: (await held(store, walker.handle.run_id)).head_sum for walker in walkers}
        taken: set[str] = set()
        async with anyio.create_task_group() as group:
            group.start_soon(writer.run)
            for walker, total in sums.items():
                walker.begin(total)
            taken = await take_some(store, walkers, chance)
            await writer.idle()
            writer.stop()
        for walker in walkers:
            await check(store, walker, taken)
        faults.update(faulty.faults)
    assert set(faults) == {"away", "never sent", "answer lost", "lands late", "refused late"}


async def check(store: Store, walker: Walker, taken: set[str]) -> None:
    handle = walker.handle
    records = await store.load(handle.run_id)
    ours = [record for record in records if record.epoch == 1]
    assert [record.path for record in ours[1:]] == [f"s{n}" for n in range(2, len(ours) + 1)]
    assert records[: len(ours)] == ours, "nothing commits under an old epoch"
    assert walker.acknowledged <= len(ours)
    if handle.run_id not in taken:
        assert walker.fenced is None
        assert walker.acknowledged == len(ours) == handle.tail >= STEPS
        assert (await store.get_run(handle.run_id)).spend == len(ours)
    elif walker.fenced is None:
        assert walker.acknowledged == handle.tail
    if handle.error is None:
        for child in walker.children:
            assert (await store.get_run(child)).head == 1


async def test_parking_over_a_bad_connection(store: Store) -> None:
    for seed in range(SEEDS * 3):
        chance = random.Random(seed)
        writer = Writer(
            FaultyStore(store, chance, share=0.5),  # pyright: ignore[reportArgumentType]
            ManualClock(0),
            sleep=lambda _: anyio.lowlevel.checkpoint(),
        )
        walker = Walker(writer, f"p{seed}", chance)
        walker.handle.head_sum = walker.handle.tail_sum = (await held(store, f"p{seed}")).head_sum
        parked: bool | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(writer.run)
            if seed % 3 == 0:
                await store.send(mail(f"p{seed}"))
            parked = await writer.park(walker.handle, Projection(status="waiting", wake_at=None))
            writer.stop()
        run = await store.get_run(f"p{seed}")
        assert parked == (seed % 3 != 0)
        assert (run.status, run.owner) == (("waiting", None) if parked else ("running", "me"))
