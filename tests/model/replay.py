"""Walks through the model, done again by the real writer and a real store, with the two compared after each action.

Nothing stands in for the code under test. Between each driver and the store runs a ``Wire``: a request travels on it until
the walk says that it lands, whose answer then arrives or is lost; a request that lands late is the same call, made late.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from orchestrator.clock import ManualClock
from orchestrator.ids import new_nonce, new_owner, new_run_id
from orchestrator.journal.errors import Conflict, Fenced, RunEnded, StoreFailed, Unknown
from orchestrator.journal.records import Record
from orchestrator.journal.slices import RunHandle
from orchestrator.journal.store import Driver, InboxRow, NewRun, Projection, Slice
from orchestrator.journal.writer import Writer
from tests.model import protocol
from tests.model.protocol import CONSUMED, PARK, PENDING, Rules, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from anyio.abc import TaskGroup

    from orchestrator.journal.store import Claimed, Store

LONG = 1e9
KINDS = {"S": "started", "D": "done", "M": "answered", "F": "run_finished"}
LETTERS = {kind: letter for letter, kind in KINDS.items()}


@dataclass(slots=True, eq=False)
class Request:
    """A call that travels."""

    what: str
    call: Callable[[], Awaitable[Any]]
    about: Any
    answer: Any = None
    error: Exception | None = None
    over: anyio.Event = field(default_factory=anyio.Event)

    def reply(self, answer: Any) -> None:
        """The answer arrives."""
        if isinstance(answer, Exception):
            self.error = answer
        self.answer = answer
        self.over.set()


class Wire:
    """What the writer of one driver takes for its store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = store.name
        self.sent: list[Request] = []
        self.dead = False

    async def ask(self, what: str, call: Callable[[], Awaitable[Any]], about: Any = None) -> Any:
        if self.dead:
            raise StoreFailed(self.name, reason="the process is gone")
        request = Request(what, call, about)
        self.sent.append(request)
        await request.over.wait()
        if request.error is not None:
            raise request.error
        return request.answer

    async def commit(self, batch: Sequence[Slice], *, alone: bool = False) -> None:
        await self.ask("append", lambda: self.store.commit(batch, alone=alone), batch)

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        return await self.ask("settle", lambda: self.store.settle(firsts))

    async def park(self, piece: Slice) -> bool:
        return await self.ask("park", lambda: self.store.park(piece), (piece,))


class Driven:
    """A driver in one incarnation: a writer, and the runs in its hands."""

    def __init__(self, store: Store, group: TaskGroup) -> None:
        self.owner = new_owner()
        self.wire = Wire(store)
        self.writer = Writer(self.wire, ManualClock(1), sleep=_no_sleep)  # pyright: ignore[reportArgumentType]
        self.group = group
        self.handles: dict[int, RunHandle] = {}
        self.nonces: dict[int, str] = {}
        self.claimed: dict[int, Claimed | None] = {}
        self.parked: dict[int, bool] = {}
        group.start_soon(self.writer.run)

    def hold(self, run: int, run_id: str, claimed: Claimed) -> None:
        self.handles[run] = RunHandle(
            run_id,
            epoch=claimed.epoch,
            head=claimed.head,
            head_sum=claimed.head_sum,
            on_committed=lambda head: None,
            on_fenced=lambda error: None,
            on_error=lambda error: None,
        )

    def append(self, run: int, records: Any) -> None:
        if not records:
            return
        handle = self.handles[run]
        first = handle.tail + 1
        made = [_record(item, seq, handle.epoch) for seq, item in enumerate(records, first)]
        consumed = [("m", record.seq) for record in made if record.kind == "answered"]
        ended = any(record.kind == "run_finished" for record in made)
        self.writer.append(handle, made, Projection(status="done") if ended else Projection(), consumed=consumed)

    async def park(self, run: int) -> None:
        self.parked.pop(run, None)
        try:
            self.parked[run] = await self.writer.park(self.handles[run], Projection(status="waiting", wake_at=None))
        except (Fenced, StoreFailed):
            self.parked[run] = False

    async def claim(self, run: int, run_id: str) -> None:
        nonce = self.nonces.setdefault(run, new_nonce())
        self.claimed.pop(run, None)
        try:
            self.claimed[run] = await self.wire.ask(
                "claim", lambda: self.wire.store.claim(run_id, self.owner, force=True, nonce=nonce), run
            )
        except RunEnded:
            self.claimed[run] = None
        except (Unknown, StoreFailed):
            return

    def crash(self) -> None:
        """The process is gone: nothing of it is heard any more; what it sent still travels."""
        self.wire.dead = True
        for request in self.wire.sent:
            if not request.over.is_set():
                request.reply(StoreFailed(self.wire.name, reason="the process is gone"))


class Replay:
    """One walk on a store."""

    def __init__(self, rules: Rules, store: Store, group: TaskGroup) -> None:
        self.rules = rules
        self.store = store
        self.group = group
        self.drivers: list[Driven | None] = [None, None]
        self.owners: dict[int, str | None] = {0: None}
        self.runs = sorted(new_run_id() for _ in rules.steps)
        self.travels: list[tuple[Any, Request]] = []
        self.nonces: dict[tuple[int, Any], str] = {}
        self.done: Counter[str] = Counter()

    async def begin(self) -> State:
        """Make the runs, and what the first state of the model says of them."""
        for run_id in self.runs:
            new = NewRun(run_id=run_id, name="model", graph_hash="", root_id=run_id, created_at=1)
            await self._make(run_id, new)
        for which in (0, 1):
            await self._start(which, which + 1)
        if self.rules.held:
            driver = self._driver(0)
            for run, run_id in enumerate(self.runs):
                driver.nonces[run] = new_nonce()
                claimed = await self.store.claim(run_id, driver.owner, nonce=driver.nonces[run])
                driver.hold(run, run_id, claimed)
            for run in range(len(self.runs)):
                driver.append(run, protocol.first_work(self.rules, run, ("run", ("C", 1))))
        state = protocol.initial(self.rules)
        await self._compare(((), (), (), ()), state)
        return state

    async def _make(self, run_id: str, new: NewRun) -> None:
        wire = Writer(self.store, ManualClock(1))
        handle = RunHandle(
            run_id, epoch=0, on_committed=lambda head: None, on_fenced=lambda error: None, on_error=lambda error: None
        )
        wire.append(handle, [Record(1, 0, "run_started", "", {}, 1)], create=new)
        wire.stop()
        await wire.run()
        assert handle.head == 1

    async def _start(self, which: int, inc: int) -> None:
        driver = Driven(self.store, self.group)
        await self.store.register_driver(Driver.of_this_process(driver.owner), LONG)
        self.drivers[which] = driver
        self.owners[inc] = driver.owner

    def _driver(self, which: int) -> Driven:
        driver = self.drivers[which]
        assert driver is not None
        return driver

    async def act(self, action: Any, before: State, after: State) -> None:
        """Do what the model did, and compare."""
        name = action[0]
        self.done[name if name != "lands" else f"{action[1][0]} lands, {action[-1]}"] += 1
        match action:
            case ("lands", tx, answer, fate):
                await self._land(tx, answer, fate, after)
            case ("message", run):
                row = InboxRow(run_id=self.runs[run], request_id="m", kind="answer", path="ask", body={}, by="x", at=1)
                await self.store.send(row)
            case ("restarts", which):
                await self._start(which, after[2][which][0])
            case ("crashes", which):
                self._driver(which).crash()
                self.drivers[which] = None
            case ("connection lost", which):
                self._waiting(which, "append", "park").reply(Unknown())
            case ("settles", which):
                request = self._waiting(which, "settle")
                request.reply(await request.call())
            case ("claims" | "claims again", which, run):
                driver = self._driver(which)
                driver.group.start_soon(driver.claim, run, self.runs[run])
            case ("claim connection lost", which, run):
                self._waiting(which, "claim", run=run).reply(Unknown())
            case ("performs" | "takes up", which, run, more):
                self._driver(which).append(run, more)
            case ("parks", which, run):
                self.group.start_soon(self._driver(which).park, run)
            case _:
                raise AssertionError(f"{name} is no action of the right rules")
        await self._compare(before, after)

    def _waiting(self, which: int, *kinds: str, run: int | None = None) -> Request:
        """The one request of these kinds (a claim: of this run) whose answer a driver waits for."""
        open_ = [item for item in self._driver(which).wire.sent if item.what in kinds and not item.over.is_set()]
        open_ = [item for item in open_ if item.what != "claim" or item.about == run]
        assert len(open_) == 1, f"waits for {[item.what for item in open_]}, expected one of {kinds}"
        return open_[0]

    async def _land(self, tx: Any, answer: Any, fate: str, after: State) -> None:
        at = next(at for at, (travelling, _) in enumerate(self.travels) if travelling == tx)
        _, request = self.travels.pop(at)
        try:
            got: Any = await request.call()
        except (Conflict, RunEnded) as error:
            got = error
        assert _as_model(request.what, got) == answer
        if fate == "answered":
            request.reply(got)
        elif fate == "answer lost":
            request.reply(Unknown())
        if request.what == "claim" and fate == "answered" and answer[0] == "taken":
            await self._held(tx[1], tx[3][0], after)

    async def _held(self, which: int, run: int, after: State) -> None:
        """A driver that has claimed a run loads it and goes to work."""
        await _pump()
        driver = self._driver(which)
        claimed = driver.claimed[run]
        assert claimed is not None
        loaded = await self.store.load(self.runs[run], upto=claimed.head)
        view = tuple(_letters(record.kind, record.path, record.body, record.epoch) for record in loaded)
        driver.hold(run, self.runs[run], claimed)
        assert after[2][which][1][run][2] == view
        driver.append(run, protocol.first_work(self.rules, run, view))

    # --- comparing ---

    async def _compare(self, before: State, after: State) -> None:
        await _pump()
        self._pair(before[1], after[1])
        for run, run_id in enumerate(self.runs):
            await self._compare_run(run, run_id, after[0][run])
        for which, (inc, runs, connection) in enumerate(after[2]):
            if inc:
                self._compare_driver(self._driver(which), runs, connection)

    def _pair(self, before: Iterable[Any], after: Iterable[Any]) -> None:
        """What began to travel in the model began to travel here, with the same records in it."""
        for tx in (Counter(after) - Counter(before)).elements():
            what, which, _, payload, _ = tx
            request = self._waiting(which, what, run=payload[0] if what == "claim" else None)
            if what == "append":
                sent = [
                    (self.runs.index(piece.run_id), piece.epoch, piece.first, tuple(map(_row_letters, piece.rows)))
                    for piece in request.about
                ]
                assert sent == [part[:4] for part in payload]
            elif what == "park":
                assert [(self.runs.index(piece.run_id), piece.base_head) for piece in request.about] == [
                    payload[::2][:2]
                ]
            self.travels.append((tx, request))

    async def _compare_run(self, run: int, run_id: str, expected: Any) -> None:
        epoch, owner, rows, message, wake, parked = expected
        found = await self.store.get_run(run_id)
        stored = await self.store.rows(run_id)
        assert [(_row_letters(row), row.epoch) for row in stored] == [(row[0], row[1]) for row in rows]
        assert (found.epoch, found.owner, found.head) == (epoch, self.owners[owner], len(rows))
        for row, (_, _, nonce) in zip(stored, rows, strict=True):
            assert self.nonces.setdefault((run, nonce), row.nonce) == row.nonce
        assert (found.status == "waiting", found.wake_at is not None) == (bool(parked), bool(wake))
        assert bool(await self.store.pending(run_id)) == (message == PENDING)
        assert (message == CONSUMED) == (("M",) in [row[0] for row in rows])

    def _compare_driver(self, driver: Driven, runs: Any, connection: Any) -> None:
        for run, (mode, epoch, view, queue, piece) in enumerate(runs):
            handle = driver.handles.get(run)
            if mode == "drives":
                assert handle is not None
                assert (handle.epoch, handle.head, handle.error) == (epoch, len(view), None)
                waiting = () if PARK in (piece, queue) else piece + queue
                assert handle.tail == len(view) + len(waiting)
            elif mode == "fenced":
                assert handle is not None
                assert isinstance(handle.error, Fenced)
            elif mode == "parked":
                assert driver.parked[run]
        waits = [item.what for item in driver.wire.sent if item.what != "claim" and not item.over.is_set()]
        match connection[0]:
            case "waits":
                assert waits == [connection[1][0]]
            case "doubts":
                assert waits == ["settle"]
            case _:
                assert waits == []

    def end(self) -> None:
        """Both processes go."""
        for driver in self.drivers:
            if driver is not None:
                driver.crash()


def _record(item: Any, seq: int, epoch: int) -> Record:
    path = item[1] if len(item) > 1 else ""
    return Record(seq, epoch, KINDS[item[0]], path, {"attempt": item[2]} if len(item) > 2 else {}, 1)  # pyright: ignore[reportArgumentType]


def _letters(kind: str, path: str, body: Any, epoch: int) -> Any:
    """A record in the words of the model."""
    match kind:
        case "run_started":
            return "run"
        case "claimed":
            return ("C", epoch)
        case "started" | "done":
            return (LETTERS[kind], path, body["attempt"])
        case _:
            return (LETTERS[kind],)


def _row_letters(row: Any) -> Any:
    body = {"attempt": int(row.body.rpartition(b":")[2].rstrip(b"}") or 0)} if row.kind in ("started", "done") else {}
    return _letters(row.kind, row.path, body, row.epoch)


def _as_model(what: str, got: Any) -> Any:
    """An answer in the words of the model."""
    match what, got:
        case _, Conflict():
            return "conflict"
        case "append", None:
            return "kept"
        case "park", parked:
            return "parked" if parked else "awake"
        case "claim", RunEnded():
            return ("ended",)
        case "claim", claimed:
            return ("taken", claimed.epoch, claimed.head)
        case _:
            return got


async def _no_sleep(seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


async def _pump() -> None:
    """Let both writers go as far as they get."""
    for _ in range(12):
        await anyio.lowlevel.checkpoint()
