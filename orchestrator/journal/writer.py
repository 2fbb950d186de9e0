"""The one writer of a process: group commit over all runs that it drives, and the settling of what went wrong.

``append`` is synchronous and never blocks. The writer's task freezes what has gathered into slices (one of a run, in
flight at a time), sends them as one batch, and while that commits, the next ones gather. A batch that did not end
well is settled run by run, by the nonce of each slice's first row: ours is committed, another's means that this run
alone is fenced, none means that the very same slice is sent again. Nothing is ever appended at a head that was read
again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from orchestrator.ids import new_nonce
from orchestrator.journal import points
from orchestrator.journal.errors import BadData, Conflict, Fenced, JournalWentBack, RunTaken, StoreUnavailable, Unknown
from orchestrator.journal.records import GENESIS, PROGRESS, Encoded, Record, encode_all
from orchestrator.journal.store import NO_CHANGE, InboxRow, NewRun, Projection, Slice, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Store

MAX_RECORDS = 512
MAX_BYTES = 1024 * 1024
FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
MAX_STUCK = 3
"""A slice that was refused so often, with nobody else's row in its place, is not refused by a race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A child run that starts with a record of its parent: its row and its first records, seqs from 1."""

    new: NewRun
    records: Sequence[Record]
    projection: Projection = NO_CHANGE


@dataclass(slots=True)
class _Entry:
    """What one ``append`` brought, encoded and chained; its place is certain, its slice is not yet."""

    rows: list[Encoded]
    projection: Projection
    at: int
    consumed: tuple[tuple[str, int], ...] = ()
    inbox: tuple[InboxRow, ...] = ()
    create: NewRun | None = None
    coupled: tuple[Slice, ...] = ()
    release: bool = False
    parking: _Parking | None = None

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows) + sum(len(item.path) + 512 for item in self.inbox)


class _Parking:
    """The wish to park, and what came of it."""

    def __init__(self) -> None:
        self.parked = False
        self.over = anyio.Event()


@dataclass(slots=True)
class _Unit:
    """What is sent, settled and sent again as one: a run's slice and those coupled to it."""

    handle: RunHandle
    slices: tuple[Slice, ...]
    parking: _Parking | None = None
    refused: int = 0


class RunHandle:
    """A run in the hands of this process: where its journal ends, on disk (``head``) and in memory (``tail``).

    ``on_committed(head)`` is called when records up to that seq are safe, ``on_fenced`` when another driver has the
    run, ``on_error`` when the store gave up on it; after either of the two nothing more of the run is written, and
    ``append`` does nothing. All are called on the event loop, in the writer's task, and must not block.
    """

    def __init__(
        self,
        run_id: str,
        *,
        epoch: int,
        head: int = 0,
        head_sum: str = GENESIS,
        on_committed: Callable[[int], None],
        on_fenced: Callable[[Fenced], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.run_id = run_id
        self.epoch = epoch
        self.head = head
        self.head_sum = head_sum
        self.tail = head
        self.tail_sum = head_sum
        self.error: Exception | None = None
        self.on_committed = on_committed
        self.on_fenced = on_fenced
        self.on_error = on_error
        self.queue: deque[_Entry] = deque()
        self.busy = False
        self.quiet: anyio.Event | None = None


class Writer:
    """Commits what runs append. ``run`` is its task; ``patience`` is how long, in seconds, a store may stay away."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        patience: float = 600.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._patience = patience
        self._sleep = sleep
        self._ready: deque[RunHandle] = deque()
        self._work = anyio.Event()
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
        starts = tuple(self._start(handle, start) for start in coupled)
        entry = _Entry(
            rows, projection, self._clock.now(), tuple(consumed), tuple(inbox), create, starts, release=release
        )
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
        parking = _Parking()
        entry = _Entry(self._encode(handle, records), projection, self._clock.now(), inbox=tuple(inbox), release=True)
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
        while True:
            if self._ready:
                await self._deliver(self._freeze())
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

    def _start(self, handle: RunHandle, start: Start) -> Slice:
        """The slice that makes a child run."""
        rows = encode_all(start.new.run_id, start.records, GENESIS)
        if not rows or start.new.run_id == handle.run_id:
            raise ValueError("a child run has an id and a record of its own")
        nonce = new_nonce()
        return Slice(
            run_id=start.new.run_id,
            epoch=start.new.epoch,
            base_head=0,
            base_sum=GENESIS,
            nonce=nonce,
            rows=tuple(row.row(start.new.run_id, nonce) for row in rows),
            at=self._clock.now(),
            projection=start.projection,
            create=start.new,
            blobs=_contents(rows),
        )

    def _enqueue(self, handle: RunHandle, entry: _Entry) -> None:
        if entry.rows:
            handle.tail, handle.tail_sum = entry.rows[-1].seq, entry.rows[-1].sum
        handle.queue.append(entry)
        if not handle.busy:
            handle.busy = True
            self._busy += 1
            self._ready.append(handle)
            self._work.set()

    def _freeze(self) -> list[_Unit]:
        """The next batch: a slice of each run that has something to say, oldest first, while there is room."""
        units: list[_Unit] = []
        records, size = self._max_records, self._max_bytes
        while self._ready and records > 0 and size > 0:
            handle = self._ready[0]
            if handle.queue[0].parking is not None:
                if not units:
                    units.append(self._frozen(self._ready.popleft(), [handle.queue.popleft()]))
                break
            entries, used = self._fitting(handle, records, size if units else max(size, 1))
            if not entries:
                break
            self._ready.popleft()
            unit = self._frozen(handle, entries)
            units.append(unit)
            records -= sum(len(piece.rows) for piece in unit.slices)
            size -= used
        return units

    def _fitting(self, handle: RunHandle, records: int, size: int) -> tuple[list[_Entry], int]:
        """The entries of one run that fit, and their bytes; of a fresh batch at least one, cut where it is too long."""
        fresh = records == self._max_records
        taken: list[_Entry] = []
        used = count = 0
        while handle.queue and handle.queue[0].parking is None:
            entry = handle.queue[0]
            if count + len(entry.rows) > records or used + entry.size > size:
                if taken or not fresh:
                    break
                if not entry.coupled and len(entry.rows) > 1:
                    entry = self._cut(handle, entry, records, size)
            taken.append(handle.queue.popleft())
            count += len(entry.rows)
            used += entry.size
        return taken, used

    def _cut(self, handle: RunHandle, entry: _Entry, records: int, size: int) -> _Entry:
        """The first part of an entry that is too long for a batch; the rest stays at the head of the queue."""
        end = 1
        used = entry.rows[0].size
        while end < min(records, len(entry.rows) - 1) and used + entry.rows[end].size <= size:
            used += entry.rows[end].size
            end += 1
        last = entry.rows[end - 1].seq
        early = tuple(item for item in entry.consumed if item[1] <= last)
        first = _Entry(entry.rows[:end], NO_CHANGE, entry.at, early, create=entry.create)
        late = tuple(item for item in entry.consumed if item[1] > last)
        rest = _Entry(entry.rows[end:], entry.projection, entry.at, late, entry.inbox, release=entry.release)
        handle.queue[0] = rest
        handle.queue.appendleft(first)
        return first

    def _frozen(self, handle: RunHandle, entries: list[_Entry]) -> _Unit:
        """One slice of all entries. From here on it is the same in each resend."""
        nonce = new_nonce()
        run_id = handle.run_id
        rows = entries[0].rows if len(entries) == 1 else [row for entry in entries for row in entry.rows]
        projection = NO_CHANGE
        for entry in entries:
            projection = projection.then(entry.projection)
        piece = Slice(
            run_id=run_id,
            epoch=handle.epoch,
            base_head=handle.head,
            base_sum=handle.head_sum,
            nonce=nonce,
            rows=tuple([row.row(run_id, nonce) for row in rows]),
            at=entries[-1].at,
            projection=projection,
            create=entries[0].create,
            blobs=_contents(rows),
            consumed=tuple([item for entry in entries for item in entry.consumed]),
            inbox=tuple([item for entry in entries for item in entry.inbox]),
            progress=any(row.kind in PROGRESS for row in rows),
            release=any(entry.release for entry in entries),
        )
        coupled = tuple([start for entry in entries for start in entry.coupled])
        return _Unit(handle, (piece, *coupled), entries[0].parking)

    # --- from slices to ends ---

    async def _deliver(self, units: list[_Unit]) -> None:
        """Send units until each has an end."""
        alone = doubtful = False
        away = _Absence(self._clock, self._patience)
        while units:
            group = units[:1] if alone else units
            try:
                if doubtful:
                    left = self._judge(group, await self._settle(group))
                    doubtful, alone = False, alone or len(left) == len(group)
                else:
                    await self._send(group)
                    left = []
            except Conflict:
                doubtful = True
                continue
            except (Unknown, StoreUnavailable) as error:
                doubtful = doubtful or isinstance(error, Unknown)
                await self._wait(away, error, units)
                continue
            except BadData as error:
                left = self._drop(group, error)
                alone = alone or len(left) == len(group)
            except StoreError as error:
                self._stop_all(units, error)
                return
            away, self.away = _Absence(self._clock, self._patience), None
            units = left + units[len(group) :]

    async def _send(self, group: list[_Unit]) -> None:
        """Commit a group, and tell its runs."""
        with anyio.CancelScope(shield=True):
            if (parking := group[0].parking) is not None:
                parking.parked = await self._store.park(group[0].slices[0])
            elif len(group) == 1:
                await self._store.commit(group[0].slices)
            else:
                await self._store.commit([piece for unit in group for piece in unit.slices])
        for unit in group:
            if unit.parking is None or unit.parking.parked:
                self._committed(unit)
            else:
                self._unparked(unit)

    async def _settle(self, group: list[_Unit]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        with anyio.CancelScope(shield=True):
            found = await self._store.settle([(piece.run_id, piece.first) for unit in group for piece in unit.slices])
        return found

    def _judge(self, group: list[_Unit], nonces: dict[str, str | None]) -> list[_Unit]:
        """Settle each unit by itself; what is left goes out again, unchanged."""
        left: list[_Unit] = []
        for unit in group:
            piece = unit.slices[0]
            found = nonces[piece.run_id]
            if found == piece.nonce:
                if unit.parking is not None:
                    unit.parking.parked = True
                self._committed(unit)
            elif found is not None and piece.create is not None:
                self._stopped(unit.handle, RunTaken(piece.run_id), unit)
            elif found is not None:
                self._stopped(unit.handle, Fenced(piece.run_id, epoch=piece.epoch), unit)
            elif taken := next((child for child in unit.slices[1:] if nonces[child.run_id] is not None), None):
                self._stopped(unit.handle, RunTaken(taken.run_id), unit)
            else:
                unit.refused += 1
                if unit.refused > MAX_STUCK and len(group) == 1:
                    self._stopped(unit.handle, JournalWentBack(piece.run_id, head=piece.base_head), unit)
                else:
                    left.append(unit)
        return left

    def _drop(self, group: list[_Unit], error: BadData) -> list[_Unit]:
        """Stop the run whose data the database refuses; the others are left. Where it is not known which, all are."""
        for unit in group:
            if len(group) == 1 or any(piece.run_id == error.run_id for piece in unit.slices):
                self._stopped(unit.handle, error, unit)
                return [other for other in group if other is not unit]
        return group

    async def _wait(self, away: _Absence, error: StoreUnavailable | Unknown, units: list[_Unit]) -> None:
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

    def _stop_all(self, units: list[_Unit], error: StoreError) -> None:
        for unit in units:
            self._stopped(unit.handle, error, unit)
        while self._ready:
            self._stopped(self._ready.popleft(), error, None)

    def _committed(self, unit: _Unit) -> None:
        handle, piece = unit.handle, unit.slices[0]
        handle.head, handle.head_sum = piece.head, piece.head_sum
        points.at("before_apply")
        handle.on_committed(piece.head)
        points.at("after_apply")
        self._over(handle, unit)

    def _unparked(self, unit: _Unit) -> None:
        """The run stays: what the parking would have written was not."""
        handle = unit.handle
        handle.tail, handle.tail_sum = handle.head, handle.head_sum
        self._over(handle, unit)

    def _stopped(self, handle: RunHandle, error: Exception, unit: _Unit | None) -> None:
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

    def _over(self, handle: RunHandle, unit: _Unit | None) -> None:
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


def _contents(rows: Sequence[Encoded]) -> tuple[bytes, ...]:
    return tuple([row.content for row in rows if row.content is not None])
