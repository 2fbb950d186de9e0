"""What a store is to the rest: the values that go in and out, and the protocol that each database implements.

A store knows rows and transactions. It knows nothing of what records mean, but for the few columns of ``runs`` that
listing and claiming need.
"""

from __future__ import annotations

import os
import socket
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, get_args

from orchestrator import platform
from orchestrator.frozen import field, frozen
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Damaged,
    Fenced,
    Held,
    NoProgress,
    NoSuchRun,
    RunEnded,
    StoreError,
    StoreUnavailable,
    Unknown,
)
from orchestrator.journal.records import GENESIS, Record, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "ALL_RUNS",
    "ENDED",
    "GENESIS",
    "MAX_IDLE_CLAIMS",
    "NO_CHANGE",
    "NO_PROGRESS",
    "PROJECTED",
    "RUN_COLUMNS",
    "STATUSES",
    "UNSET",
    "BadData",
    "Batch",
    "Claimed",
    "Conflict",
    "Damaged",
    "Driver",
    "Fact",
    "Fenced",
    "Held",
    "InboxRow",
    "NewRun",
    "NoProgress",
    "NoSuchRun",
    "Owner",
    "Projection",
    "RunEnded",
    "RunFilter",
    "RunRow",
    "Slice",
    "Status",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Swept",
    "Unknown",
    "Unset",
]

Status: TypeAlias = Literal["queued", "running", "waiting", "paused", "done", "failed", "limited", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: frozenset[str] = frozenset({"done", "failed", "limited", "cancelled"})

NO_PROGRESS: Final = "no progress"
"""The reason of a run that was paused since its drivers got nowhere."""

MAX_IDLE_CLAIMS: Final = 5
"""So many claims with no progress after them pause a run."""


class Unset(Enum):
    """The type of ``UNSET``."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""A column that is left as it is, where None would be a value."""


@frozen(kw_only=True)
class Projection:
    """What a slice sets in the run's row; what is not named stays. Amounts are totals: micro-dollars and tokens."""

    status: Status | Unset = UNSET
    reason: str | None | Unset = UNSET
    wake_at: int | None | Unset = UNSET
    spend: int | Unset = UNSET
    tokens: int | Unset = UNSET
    labels: Mapping[str, str] | Unset = UNSET
    error: Mapping[str, Any] | None | Unset = UNSET
    finished_at: int | None | Unset = UNSET

    def changes(self) -> dict[str, Any]:
        """The columns that are set, by name."""
        if self is NO_CHANGE:
            return {}
        return {name: value for name in PROJECTED if (value := getattr(self, name)) is not UNSET}

    def then(self, later: Projection) -> Projection:
        """Both, where the later one wins."""
        if later is NO_CHANGE:
            return self
        return later if self is NO_CHANGE else Projection(**{**self.changes(), **later.changes()})


PROJECTED: tuple[str, ...] = tuple(item.name for item in fields(Projection))
NO_CHANGE: Final = Projection()


@frozen(kw_only=True)
class RunRow:
    """A row of ``runs``. Times in microseconds since the epoch, ``spend`` in micro-dollars.

    ``claims`` counts claims since the last progress. ``stalled`` is derived: running under a lease that is over.
    """

    run_id: str
    name: str
    graph_hash: str
    status: Status
    reason: str | None
    epoch: int
    owner: str | None
    head: int
    head_sum: str
    wake_at: int | None
    parent_id: str | None
    root_id: str
    spend: int
    tokens: int
    labels: dict[str, str]
    error: dict[str, Any] | None
    claims: int
    created_at: int
    updated_at: int
    finished_at: int | None
    stalled: bool = False

    @property
    def ended(self) -> bool:
        """True where the run is over."""
        return self.status in ENDED


RUN_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(RunRow) if item.name != "stalled")


@frozen(kw_only=True)
class NewRun:
    """A run to be made by the slice that brings its first records.

    With an ``owner`` (a registered driver) it is held at once, under epoch 1, and its slice must bear that epoch;
    without one it is ``queued`` under epoch 0, for whoever claims it.
    """

    run_id: str
    name: str
    graph_hash: str
    root_id: str
    created_at: int
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    parent_id: str | None = None
    owner: str | None = None

    @property
    def epoch(self) -> int:
        """The epoch of its first records."""
        return 0 if self.owner is None else 1


@frozen(kw_only=True)
class InboxRow:
    """What others send to a run. The first row of a request id wins.

    ``by`` says who sent it; ``at`` is in microseconds since the epoch; ``consumed_seq`` is the seq of the record that
    took it up, None while it is pending.
    """

    run_id: str
    request_id: str
    kind: str
    path: str
    body: dict[str, Any]
    by: str
    at: int
    consumed_seq: int | None = None


@frozen(kw_only=True)
class Slice:
    """One run's part of a batch, frozen: the same in each resend.

    ``base_head`` and ``base_sum`` are what the run's row must hold before it; ``consumed`` pairs request ids of the
    run's inbox with the seqs of the records that took them up; ``inbox`` is for other runs (an ended one gets
    nothing); ``waiting`` waits in the inbox of the run that it makes, and wakes nobody; ``progress`` starts the count
    of idle claims again; ``release`` gives up the lease; ``blobs`` are whole contents that the rows refer to.
    """

    run_id: str
    epoch: int
    base_head: int
    base_sum: str
    nonce: str
    rows: tuple[Row, ...]
    at: int
    projection: Projection = NO_CHANGE
    create: NewRun | None = None
    blobs: tuple[bytes, ...] = ()
    consumed: tuple[tuple[str, int], ...] = ()
    inbox: tuple[InboxRow, ...] = ()
    waiting: tuple[InboxRow, ...] = ()
    progress: bool = False
    release: bool = False

    @property
    def first(self) -> int:
        """The seq of its first row: the one that tells whose it is."""
        return self.base_head + 1

    @property
    def head(self) -> int:
        """The seq of its last row."""
        return self.base_head + len(self.rows)

    @property
    def head_sum(self) -> str:
        """The sum of its last row."""
        return self.rows[-1].sum if self.rows else self.base_sum


Batch: TypeAlias = "Sequence[Slice]"
"""Slices that are committed in one transaction, at most one of a run."""


@frozen(kw_only=True)
class Driver:
    """A process that may drive runs, and how to tell whether it is there. ``started`` in clock ticks since boot."""

    owner: str
    host: str
    boot_id: str
    pid_ns: str
    pid: int
    started: int

    @staticmethod
    def of_this_process(owner: str) -> Driver:
        """This process under the name ``owner`` (``ids.new_owner()``)."""
        pid = os.getpid()
        return Driver(
            owner=owner,
            host=socket.gethostname(),
            boot_id=platform.boot_id(),
            pid_ns=platform.pid_namespace(),
            pid=pid,
            started=platform.process_started(pid) or 0,
        )


@frozen(kw_only=True)
class Owner:
    """A driver as the store last saw it. Times in microseconds since the epoch, by the database's clock."""

    driver: Driver
    lease_until: int
    renewed_at: int


@frozen(kw_only=True)
class Claimed:
    """A run that is now held. ``head`` is the seq of its ``claimed`` record, ``head_sum`` the sum there.

    ``run`` is the row after the claim; ``previous`` the driver it was taken from, None where it was free or its
    driver's row is gone.
    """

    run_id: str
    epoch: int
    head: int
    head_sum: str
    run: RunRow
    previous: Owner | None


@frozen(kw_only=True)
class RunFilter:
    """Which runs to list, newest first; ``labels`` must all match.

    ``since`` is when they were made at the earliest, ``ended_before`` when they ended at the latest, in microseconds
    since the epoch.
    """

    status: tuple[str, ...] = ()
    name: str | None = None
    since: int | None = None
    ended_before: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    parent_id: str | None = None
    limit: int = 100


ALL_RUNS: Final = RunFilter()


@frozen
class Fact:
    """What agents remember over runs. ``at`` is in microseconds since the epoch, ``by_run`` the run that said it."""

    scope: str
    key: str
    text: str
    at: int
    by_run: str


@frozen(kw_only=True)
class Swept:
    """Blobs that went, by their hashes, and the bytes that they took."""

    names: tuple[str, ...]
    size: int


class Store(Protocol):
    """A database of runs. One event loop, opened and closed inside it.

    Every method may raise a ``StoreError``; ``StoreUnavailable`` among them means that nothing was kept and the same
    call may be made again.
    """

    @property
    def name(self) -> str:
        """What to call it in messages: its URL without a password."""
        ...

    async def open(self, *, create: bool = True, older: bool = False) -> None:
        """Connect, and make the tables where there are none. ``create=False`` raises ``NoDatabase`` instead.

        Tables of an older version raise ``SchemaOlder``, unless ``older`` lets them be: then ``migrate`` comes next.
        """
        ...

    async def aclose(self) -> None:
        """Give back everything. Safe to call twice."""
        ...

    def abandon(self) -> None:
        """Wait for nothing any more: what is asked is left to itself, and its callers get ``StoreUnavailable`` at once,
        as does all that is asked later. What comes next is ``aclose``, which does not wait either.
        """
        ...

    async def migrate(self) -> list[int]:
        """Bring the tables up to date; the versions that were applied. Safe while others do the same."""
        ...

    async def check(self) -> list[str]:
        """What is wrong with the database, one sentence each; an empty list where nothing is."""
        ...

    def ddl(self) -> str:
        """The statements that make the tables, for someone with the right to run them."""
        ...

    async def vacuum(self) -> None:
        """Give back the room of what was removed, as far as the database can while it is in use."""
        ...

    async def backup(self, target: Path) -> None:
        """Write a whole copy into a new file, while the store is in use. ``NotOffered`` where a program of the
        database does that.
        """
        ...

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Keep contents under their hashes (64 hex digits, in order). What is there already is touched."""
        ...

    async def get_blob(self, name: str) -> bytes:
        """A content by its hash. ``UnknownBlob`` where there is none, or not the right one."""
        ...

    async def touch(self, names: Sequence[str]) -> None:
        """Keep these blobs from being collected for another day."""
        ...

    async def held_blobs(self, names: Collection[str]) -> set[str]:
        """Those of these hashes under which there is a content."""
        ...

    async def sweep_blobs(self, *, age: float, without: Collection[str] = (), dry_run: bool = False) -> Swept:
        """Take away the blobs that no run names, and that nobody has touched for ``age`` seconds.

        ``age`` is longer than any run may take from keeping a blob to the record that names it. ``without`` are runs
        that count as gone; ``dry_run`` takes nothing away.
        """
        ...

    async def delete_runs(self, run_ids: Sequence[str], *, ended_before: int) -> list[str]:
        """Take runs away, each whole or not at all, with their journals and inboxes; the ids of those that went.

        A run stays that has not ended, or not before that time (microseconds since the epoch), or whose root has not.
        """
        ...

    async def forget_drivers(self, *, age: float) -> int:
        """Take away drivers whose lease has been over for ``age`` seconds and that hold no run; how many went.

        A driver that lives after all learns it from its next renewal, and registers anew.
        """
        ...

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        """All slices in one transaction, or none. ``alone``: nothing else goes on in this process, so that a store may
        use the caller's thread for a moment.

        Raises ``Conflict``, ``Unknown`` or ``BadData`` (with the run it is about, None where that is not known).
        """
        ...

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        """The nonce of each run's row at a seq, None where there is no such row: one read, on the primary."""
        ...

    async def park(self, piece: Slice) -> bool:
        """Commit the slice if the run's inbox is empty; False, and nothing changed, where it is not.

        Locks the run's row before it reads the inbox. A run at this head that nobody holds is parked already: True.
        Raises as ``commit``.
        """
        ...

    async def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        """Make the driver known, with a lease from now on. Again: a renewal."""
        ...

    async def renew(self, owner: str, lease_seconds: float) -> None:
        """Extend the lease of all that ``owner`` holds. ``UnknownDriver`` where its row is gone."""
        ...

    async def release(self, owner: str) -> None:
        """Give up all leases of ``owner`` and forget it."""
        ...

    async def owner(self, owner: str) -> Owner | None:
        """A driver as it was last seen."""
        ...

    async def claim(
        self,
        run_id: str,
        owner: str,
        *,
        force: bool = False,
        explicit: bool = False,
        nonce: str | None = None,
        seen: RunRow | None = None,
    ) -> Claimed:
        """Take a run for a registered driver, and journal ``claimed``.

        ``explicit`` is a person's resume: it takes ended runs, too, and starts the count of idle claims again.
        ``force`` takes it from a live driver. ``seen`` is the run's row when this was wanted (without it, when it was
        first tried): who has claimed the run since is not robbed of it, and a run that has ended since stays. Raises
        ``Held``, ``RunEnded``, ``NoProgress`` (the run is paused now), ``NoSuchRun``, or ``Unknown``: then ask again
        with the same ``nonce`` (``ids.new_nonce()``), and a claim that did happen is not made twice.
        """
        ...

    async def load(
        self, run_id: str, *, from_seq: int = 1, upto: int | None = None, verify: bool = True
    ) -> list[Record]:
        """The records from a seq on. Raises ``NoSuchRun``, and ``Damaged`` where they are not what was written.

        ``upto`` is the last seq wanted: after a claim its ``head``, since another driver may have claimed in between.
        """
        ...

    async def rows(self, run_id: str, *, from_seq: int = 1) -> list[Row]:
        """The raw rows from a seq on, unchecked. Raises ``NoSuchRun``."""
        ...

    async def get_run(self, run_id: str) -> RunRow:
        """A run's row. Raises ``NoSuchRun``."""
        ...

    async def find_runs(self, prefix: str, *, limit: int = 10) -> list[RunRow]:
        """Runs whose id begins with ``prefix``, newest first."""
        ...

    async def list_runs(self, chosen: RunFilter = ALL_RUNS) -> list[RunRow]:
        """Runs that match, newest first."""
        ...

    async def due(self, *, limit: int = 100) -> list[str]:
        """Ids of runs that a driver may claim now: queued, woken, or left behind."""
        ...

    async def remember(self, fact: Fact) -> None:
        """Keep a fact, in the place of the one that its scope has under its key. May be done again."""
        ...

    async def facts(self, scope: str, *, after: str = "", limit: int = 500) -> list[Fact]:
        """The facts of a scope in the order of their keys, those behind the key ``after``."""
        ...

    async def send(self, row: InboxRow) -> InboxRow:
        """Put a row into a run's inbox and wake the run; the row that holds the request id afterwards.

        Raises ``NoSuchRun`` and ``RunEnded``.
        """
        ...

    async def pending(self, run_id: str) -> list[InboxRow]:
        """What waits in a run's inbox, oldest first."""
        ...

    async def pending_for(self, owner: str) -> list[InboxRow]:
        """What waits in the inboxes of all runs that ``owner`` holds."""
        ...
