"""The one writer of a process: group commit over all runs that it drives, and the settling of what went wrong.

``append`` is synchronous and never blocks. The writer's task freezes what has gathered into slices (one of a run, in
flight at a time), sends them as one batch, and while that commits, the next ones gather. A batch that did not end
well is settled run by run, by the nonce of each slice's first row: ours is committed, another's means that this run
alone is fenced, none means that the very same slice is sent again. Nothing is ever appended at a head that was read
again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from orchestrator.journal import points
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Fenced,
    JournalWentBack,
    RunTaken,
    StoreError,
    StoreUnavailable,
    Unknown,
)
from orchestrator.journal.records import encode_all
from orchestrator.journal.slices import Entry, Parking, RunHandle, Start, Unit, child_slice, freeze
from orchestrator.journal.store import NO_CHANGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.records import Encoded, Record
    from orchestrator.journal.store import InboxRow, NewRun, Projection, Store

__all__ = ["RunHandle", "Start", "Writer"]

MAX_RECORDS = 512
MAX_BYTES = 1024 * 1024
FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
MAX_STUCK = 3
"""A slice that was refused so often, with nobody else's row in its place, is not refused by a race."""


class Writer:
    """Commits what runs append. ``run`` is its task; ``patience`` is how long, in seconds, a store may stay away;
    ``alone`` tells whether nothing but the next commit is waited for in this process."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        patience: float = 600.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._patience = patience
        self._sleep = sleep
        self._alone = alone
        self._ready: deque[RunHandle] = deque()
        self._work = anyio.Event()
        self._shield: anyio.CancelScope
        self._idle: anyio.Event | None = None
        self._busy = 0
        self._stopping = False
        self.away: StoreUnavailable | None = None
        """Why the store is away now, None while it is not. Start nothing new while it is."""

    # --- for the engine ---

    def append(
        self,
        handle: RunHandle,
        records: Sequence[Record],
        projection: Projection = NO_CHANGE,
        *,
        consumed: Sequence[tuple[str, int]] = (),
        inbox: Sequence[InboxRow] = (),
        coupled: Sequence[Start] = (),
        create: NewRun | None = None,
        release: bool = False,
    ) -> None:
        """Take records that follow the handle's tail; they commit together, and soon.

        ``consumed`` pairs request ids with the seqs of the records that take them up; ``inbox`` goes to other runs;
        ``coupled`` are child runs that start with these records; ``create`` makes the run itself; ``release`` gives
        up its lease. More records than a batch holds commit in several, in order, the projection with the last; with
        coupled runs, all at once. Raises ValueError where a seq or an epoch is wrong or a body is not JSON, and
        nothing is taken.
        """
        if handle.error is not None:
            return
        rows = self._encode(handle, records)
        if not rows and (consumed or coupled or create):
            raise ValueError("a slice without records can consume, create and couple nothing")
        now = self._clock.now()
        starts = tuple(child_slice(start, now) for start in coupled)
        entry = Entry(rows, projection, now, tuple(consumed), tuple(inbox), create, starts, release=release)
        self._enqueue(handle, entry)

    async def park(
        self,
        handle: RunHandle,
        projection: Projection,
        *,
        records: Sequence[Record] = (),
        inbox: Sequence[InboxRow] = (),
    ) -> bool:
        """Give the run up to sleep, if nothing waits in its inbox; False, and nothing written, where something does.

        Comes after all that was appended; append nothing until it returns. Raises what ``on_fenced`` and ``on_error``
        are told.
        """
        if handle.error is not None:
            raise handle.error
        parking = Parking()
        entry = Entry(self._encode(handle, records), projection, self._clock.now(), inbox=tuple(inbox), release=True)
        entry.parking = parking
        self._enqueue(handle, entry)
        await parking.over.wait()
        if handle.error is not None:
            raise handle.error
        return parking.parked

    async def flush(self, handle: RunHandle) -> None:
        """Return when all that was appended to the run is safe. Raises what ``on_fenced`` or ``on_error`` was told."""
        while handle.busy and handle.error is None:
            if handle.quiet is None:
                handle.quiet = anyio.Event()
            await handle.quiet.wait()
        if handle.error is not None:
            raise handle.error

    async def idle(self) -> None:
        """Return when nothing is in flight and nothing waits, of any run."""
        while self._busy:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    def stop(self) -> None:
        """Have ``run`` return once nothing is left to write."""
        self._stopping = True
        self._work.set()

    async def run(self) -> None:
        """The writer's task. Cancelling it never interrupts a transaction."""
        with anyio.CancelScope() as self._shield:
            while True:
                if self._ready:
                    await self._deliver(freeze(self._ready, max_records=self._max_records, max_bytes=self._max_bytes))
                    if self._ready:
                        # A store may commit without an await: a chain of commits would keep all others waiting.
                        await anyio.lowlevel.checkpoint()
                elif self._stopping:
                    return
                else:
                    self._work = anyio.Event()
                    await self._work.wait()

    # --- from records to slices ---

    def _encode(self, handle: RunHandle, records: Sequence[Record]) -> list[Encoded]:
        if handle.queue and handle.queue[-1].parking is not None:
            raise ValueError(f"run {handle.run_id} is about to park")
        for seq, record in enumerate(records, handle.tail + 1):
            if record.seq != seq or record.epoch != handle.epoch:
                raise ValueError(
                    f"run {handle.run_id}: record {record.seq} of epoch {record.epoch} "
                    f"where {seq} of epoch {handle.epoch} is next"
                )
        return encode_all(handle.run_id, records, handle.tail_sum)

    def _enqueue(self, handle: RunHandle, entry: Entry) -> None:
        if entry.rows:
            handle.tail, handle.tail_sum = entry.rows[-1].seq, entry.rows[-1].sum
        handle.queue.append(entry)
        if not handle.busy:
            handle.busy = True
            self._busy += 1
            self._ready.append(handle)
            self._work.set()

    # --- from slices to ends ---

    async def _deliver(self, units: list[Unit]) -> None:
        """Send units until each has an end. One after the other, once a batch came back as it went."""
        alone = False
        doubt: Conflict | Unknown | None = None
        away = _Absence(self._clock, self._patience)
        while units:
            group = units[:1] if alone else units
            try:
                if doubt is None:
                    await self._send(group)
                    left = []
                else:
                    left = await self._settle(group, doubt)
                    doubt = None
            except Conflict as error:
                doubt = error
                continue
            except (Unknown, StoreUnavailable) as error:
                doubt = error if isinstance(error, Unknown) else doubt
                await self._wait(away, error, units)
                continue
            except BadData as error:
                left = self._drop(group, error)
            except StoreError as error:
                self._stop_all(units, error)
                return
            if len(left) < len(group):
                away, self.away = _Absence(self._clock, self._patience), None
            else:
                alone = True
            units = left + units[len(group) :]

    async def _send(self, group: list[Unit]) -> None:
        """Commit a group, and tell its runs."""
        # One scope, put up and down: a new one for each batch costs as much as the rest of this.
        self._shield.shield = True
        try:
            if (parking := group[0].parking) is not None:
                parking.parked = await self._store.park(group[0].slices[0])
            elif len(group) == 1:
                await self._store.commit(group[0].slices, alone=not self._ready and self._alone())
            else:
                await self._store.commit([piece for unit in group for piece in unit.slices])
        finally:
            self._shield.shield = False
        for unit in group:
            if unit.parking is None or unit.parking.parked:
                self._committed(unit)
            else:
                self._unparked(unit)

    async def _settle(self, group: list[Unit], doubt: Conflict | Unknown) -> list[Unit]:
        """Settle each unit by itself; what is left goes out again, unchanged."""
        nonces: dict[str, str | None] = {}
        with anyio.CancelScope(shield=True):
            nonces = await self._store.settle([(piece.run_id, piece.first) for unit in group for piece in unit.slices])
        refused = isinstance(doubt, Conflict) and len(group) == 1
        return [unit for unit in group if not self._judge(unit, nonces, refused=refused)]

    def _judge(self, unit: Unit, nonces: dict[str, str | None], *, refused: bool) -> bool:
        """True where the unit has an end: its rows are there, or another's in their place."""
        piece = unit.slices[0]
        if nonces[piece.run_id] == piece.nonce:
            if unit.parking is not None:
                unit.parking.parked = True
            self._committed(unit)
            return True
        taken = next((part for part in unit.slices if nonces[part.run_id] is not None), None)
        unit.refused += refused
        if taken is None and unit.refused <= MAX_STUCK:
            return False
        if taken is None:
            error = JournalWentBack(piece.run_id, head=piece.base_head)
        elif taken.create is not None:
            error = RunTaken(taken.run_id)
        else:
            error = Fenced(taken.run_id, epoch=taken.epoch)
        self._stopped(unit.handle, error, unit)
        return True

    def _drop(self, group: list[Unit], error: BadData) -> list[Unit]:
        """Stop the run whose data the database refuses; the others are left. Where it is not known which, all are."""
        for unit in group:
            if len(group) == 1 or any(piece.run_id == error.run_id for piece in unit.slices):
                self._stopped(unit.handle, error, unit)
                return [other for other in group if other is not unit]
        return group

    async def _wait(self, away: _Absence, error: StoreUnavailable | Unknown, units: list[Unit]) -> None:
        """Wait before the next try; where the store stayed away for too long, give up on all that waits for it."""
        if isinstance(error, StoreUnavailable):
            self.away = error
        delay = away.next_delay()
        if delay is not None:
            await self._sleep(delay)
            return
        self._stop_all(
            units, self.away or StoreUnavailable(self._store.name, reason="the end of a commit is not known")
        )
        units.clear()

    def _stop_all(self, units: list[Unit], error: StoreError) -> None:
        for unit in units:
            self._stopped(unit.handle, error, unit)
        while self._ready:
            self._stopped(self._ready.popleft(), error, None)

    def _committed(self, unit: Unit) -> None:
        handle, piece = unit.handle, unit.slices[0]
        handle.head, handle.head_sum = piece.head, piece.head_sum
        points.at("before_apply")
        handle.on_committed(piece.head)
        points.at("after_apply")
        self._over(handle, unit)

    def _unparked(self, unit: Unit) -> None:
        """The run stays: what the parking would have written was not."""
        handle = unit.handle
        handle.tail, handle.tail_sum = handle.head, handle.head_sum
        self._over(handle, unit)

    def _stopped(self, handle: RunHandle, error: Exception, unit: Unit | None) -> None:
        """Nothing more of this run is written; what waits is thrown away."""
        handle.error = error
        waiting = [entry.parking for entry in handle.queue if entry.parking is not None]
        handle.queue.clear()
        for parking in waiting:
            parking.over.set()
        if isinstance(error, Fenced):
            handle.on_fenced(error)
        else:
            handle.on_error(error)
        self._over(handle, unit)

    def _over(self, handle: RunHandle, unit: Unit | None) -> None:
        """One thing of this run is over: on to the next, or tell those who wait for silence."""
        if unit is not None and unit.parking is not None:
            unit.parking.over.set()
        if handle.queue:
            self._ready.append(handle)
            return
        handle.busy = False
        self._busy -= 1
        if handle.quiet is not None:
            handle.quiet.set()
            handle.quiet = None
        if not self._busy and self._idle is not None:
            self._idle.set()
            self._idle = None


class _Absence:
    """How long a store has been away, and how long to wait before the next try."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._since: float | None = None
        self._delay = FIRST_DELAY

    def next_delay(self) -> float | None:
        """Seconds to wait, twice as long each time; None where patience is at its end."""
        now = self._clock.boot()
        if self._since is None:
            self._since = now
        left = self._since + self._patience - now
        if left <= 0:
            return None
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_DELAY)
        return min(delay, left)
