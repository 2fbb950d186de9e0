"""From what runs append to what is sent: entries gather in a run's queue, and freeze into slices, one of a run.

Nothing here waits or does I/O. A frozen slice never changes: each resend has the same seqs, bytes and nonce.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

from orchestrator.frozen import field, frozen, slotted
from orchestrator.ids import new_nonce
from orchestrator.journal.records import GENESIS, PROGRESS, Encoded, Record, encode_all
from orchestrator.journal.store import NO_CHANGE, InboxRow, NewRun, Projection, Slice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.journal.errors import Fenced


@frozen(kw_only=True)
class Start:
    """A child run that starts with a record of its parent: its row and its first records, seqs from 1."""

    new: NewRun
    records: Sequence[Record]
    projection: Projection = NO_CHANGE


@slotted
class Entry:
    """What one ``append`` brought, encoded and chained; its place is certain, its slice is not yet."""

    rows: list[Encoded]
    projection: Projection
    at: int
    consumed: tuple[tuple[str, int], ...] = ()
    inbox: tuple[InboxRow, ...] = ()
    create: NewRun | None = None
    coupled: tuple[Slice, ...] = ()
    release: bool = False
    parking: Parking | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum([row.size for row in self.rows]) + sum([len(item.path) + 512 for item in self.inbox])


class Parking:
    """The wish to park, and what came of it."""

    def __init__(self) -> None:
        self.parked = False
        self.over = anyio.Event()


@slotted
class Unit:
    """What is sent, settled and sent again as one: a run's slice and those coupled to it."""

    handle: RunHandle
    slices: tuple[Slice, ...]
    parking: Parking | None = None
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
        self.queue: deque[Entry] = deque()
        self.busy = False
        self.quiet: anyio.Event | None = None


def child_slice(start: Start, at: int) -> Slice:
    """The slice that makes a child run. Raises ValueError where it brings no record."""
    run_id = start.new.run_id
    rows = encode_all(run_id, start.records, GENESIS)
    if not rows:
        raise ValueError("a child run starts with a record")
    nonce = new_nonce()
    return Slice(
        run_id=run_id,
        epoch=start.new.epoch,
        base_head=0,
        base_sum=GENESIS,
        nonce=nonce,
        rows=tuple([row.row(run_id, nonce) for row in rows]),
        at=at,
        projection=start.projection,
        create=start.new,
        blobs=_contents(rows),
    )


def freeze(ready: deque[RunHandle], *, max_records: int, max_bytes: int) -> list[Unit]:
    """The next batch: a slice of each run that has something to say, those first that waited longest, while there is
    room.

    Takes from ``ready`` the runs that it serves. One that wants to park goes alone.
    """
    units: list[Unit] = []
    records, size = max_records, max_bytes
    while ready and records > 0 and size > 0:
        handle = ready[0]
        if handle.queue[0].parking is not None:
            if not units:
                units.append(_frozen(ready.popleft(), handle.queue.popleft()))
            break
        entries = _fitting(handle, records, size, fresh=not units)
        if not entries:
            break
        unit = _frozen(ready.popleft(), _joined(entries))
        units.append(unit)
        records -= sum(len(piece.rows) for piece in unit.slices)
        size -= sum([entry.size for entry in entries])
    units.sort(key=lambda unit: unit.handle.run_id)
    return units


def _fitting(handle: RunHandle, records: int, size: int, *, fresh: bool) -> list[Entry]:
    """The first entries of a run that fit; for a ``fresh`` batch at least one, cut where it is too long."""
    queue = handle.queue
    taken: list[Entry] = []
    while queue and queue[0].parking is None:
        if len(queue[0].rows) > records or queue[0].size > size:
            if taken or not fresh:
                break
            _cut(queue, records, size)
        entry = queue.popleft()
        taken.append(entry)
        records -= len(entry.rows)
        size -= entry.size
    return taken


def _cut(queue: deque[Entry], records: int, size: int) -> None:
    """Cut the first entry, which is too long for a batch, in two. One record, or one with coupled runs, stays whole."""
    entry = queue[0]
    if entry.coupled or len(entry.rows) <= 1:
        return
    end = 1
    used = entry.rows[0].size
    while end < min(records, len(entry.rows) - 1) and used + entry.rows[end].size <= size:
        used += entry.rows[end].size
        end += 1
    last = entry.rows[end - 1].seq
    early = tuple(item for item in entry.consumed if item[1] <= last)
    late = tuple(item for item in entry.consumed if item[1] > last)
    queue[0] = Entry(entry.rows[end:], entry.projection, entry.at, late, entry.inbox, release=entry.release)
    queue.appendleft(Entry(entry.rows[:end], NO_CHANGE, entry.at, early, create=entry.create))


def _joined(entries: list[Entry]) -> Entry:
    """Entries that follow one another as one."""
    if len(entries) == 1:
        return entries[0]
    projection = entries[0].projection
    for entry in entries[1:]:
        projection = projection.then(entry.projection)
    return Entry(
        [row for entry in entries for row in entry.rows],
        projection,
        entries[-1].at,
        tuple([item for entry in entries for item in entry.consumed]),
        tuple([item for entry in entries for item in entry.inbox]),
        entries[0].create,
        tuple([start for entry in entries for start in entry.coupled]),
        release=any(entry.release for entry in entries),
    )


def _frozen(handle: RunHandle, entry: Entry) -> Unit:
    """One slice of an entry."""
    run_id, nonce, rows = handle.run_id, new_nonce(), entry.rows
    piece = Slice(
        run_id=run_id,
        epoch=handle.epoch,
        base_head=handle.head,
        base_sum=handle.head_sum,
        nonce=nonce,
        rows=tuple([row.row(run_id, nonce) for row in rows]),
        at=entry.at,
        projection=entry.projection,
        create=entry.create,
        blobs=_contents(rows),
        consumed=entry.consumed,
        inbox=entry.inbox,
        progress=any(row.kind in PROGRESS for row in rows),
        release=entry.release,
    )
    return Unit(handle, (piece, *entry.coupled), entry.parking)


def _contents(rows: Sequence[Encoded]) -> tuple[bytes, ...]:
    return tuple([row.content for row in rows if row.content is not None])
