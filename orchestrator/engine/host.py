"""One process that drives runs: its store, its writer, its lease, and any number of runs at once."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio

from orchestrator.engine.decide import VERSION
from orchestrator.engine.drive import RunDriver
from orchestrator.engine.effects import folder_of_files, keep_copy
from orchestrator.engine.ends import RunEnd, end_of
from orchestrator.engine.held import held
from orchestrator.engine.rates import Rates
from orchestrator.engine.reopen import reopened
from orchestrator.engine.tasks import Tasks
from orchestrator.errors import OrchError
from orchestrator.expr import secret_marker
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import graph_from_json
from orchestrator.ids import new_owner, new_run_id
from orchestrator.journal.errors import (
    BadData,
    Fenced,
    RunEnded,
    StoreError,
    StoreNotWritable,
    StoreUnavailable,
    UnknownDriver,
)
from orchestrator.journal.records import Draft, Record
from orchestrator.journal.slices import RunHandle
from orchestrator.journal.state import RunState, fold
from orchestrator.journal.store import Driver, NewRun, Projection
from orchestrator.journal.writer import Writer
from orchestrator.jsonish import digest, loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
    from types import TracebackType

    from orchestrator.clock import Clock
    from orchestrator.engine.effects import Services
    from orchestrator.engine.held import Held
    from orchestrator.graph.nodes import Graph, SecretDef
    from orchestrator.journal.store import InboxRow, Store

__all__ = ["Event", "Host", "RunEnd", "Settings"]


MOST_PROCESSES = 64
"""Children that one process has at once, over all of its runs; a step that finds no place starts later."""

SURELY_THERE = 60.0
"""Seconds for which a content that was put into the store need not be put again: it is swept after a day at least, and
an older copy of the database seldom takes its place."""

LONGEST_DEAF = 1.0
"""Seconds that a message may wait in the inbox of a run that is driven."""


@frozen(kw_only=True)
class Settings:
    """All in seconds: the lease's length, the grace of a stop, how long the store may stay away."""

    lease: float = 15.0
    grace: float = 10.0
    outage: float = 600.0


@frozen(kw_only=True)
class Event:
    """What a screen may show: a record that was decided, or a piece of text as it streams."""

    run_id: str
    kind: Literal["record", "text"]
    path: str
    record: Record | None = None
    text: str = ""


class Host:
    """Drives runs. An async context manager; ``start`` and ``resume`` may be called any number of times at once."""

    def __init__(
        self,
        *,
        store: Store,
        services: Services,
        clock: Clock,
        settings: Settings | None = None,
        listen: Callable[[Event], None] | None = None,
        outage: Callable[[StoreUnavailable | None], None] | None = None,
    ) -> None:
        self.store = store
        self.services = services
        self.clock = clock
        self.settings = settings or Settings()
        self.owner = new_owner()
        self.writer = Writer(store, clock, patience=self.settings.outage, alone=lambda: not self._effects)
        self._listen = listen
        self._outage = outage
        self._away = False
        self._drivers: dict[str, RunDriver] = {}
        self.rates = Rates(clock.boot, self._poke)
        self._renewed = 0.0
        self._kept: dict[str, float] = {}
        self._keeping: dict[str, anyio.Event] = {}
        self._processes = 0
        self._effects = 0
        self._performing = Tasks()
        self._crowded = False
        self._stopped: Literal["", "grace", "now"] = ""
        self._attended = False
        self._tasks: Any = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Host:
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        await self._register()
        self._tasks.start_soon(self.writer.run, name="writer")
        self._tasks.start_soon(self._keep_lease, name="lease")
        self._tasks.start_soon(self._performing.run, name="effects")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(self.settings.grace):
            if error is None:
                await self.writer.idle()
            try:
                await self.store.release(self.owner)
            except StoreError as failure:
                # The lease runs out by itself; what brought us here matters more.
                if error is not None:
                    error.add_note(f"and the lease could not be given back: {failure}")
        self._tasks.cancel_scope.cancel()
        try:
            if isinstance(error, Exception):
                # The caller's own error travels by itself; only the tasks' go through the group.
                await self._stack.__aexit__(None, None, None)
            else:
                await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise

    # What the application calls

    async def start(
        self,
        graph: Graph,
        *,
        inputs: dict[str, Any],
        run_id: str | None = None,
        folder: str,
        labels: Mapping[str, str] | None = None,
        files: Sequence[bytes] = (),
        budget: Mapping[str, int] | None = None,
        approve: Literal["ask", "never"] = "ask",
    ) -> RunEnd:
        """Create a run and drive it until it ends or has nothing to do but wait.

        ``folder`` is the run's absolute directory, ``files`` the bodies of its file inputs, ``budget`` bounds
        beside those of the graph (``usd`` in micro-dollars, ``tokens``). With ``approve`` ``never``, all that needs an
        approval is refused. Raises RunTaken where the id is in use, Fenced where another driver took the run, a
        StoreError where the store cannot be used.
        """
        run_id = run_id or new_run_id()
        await self._keep(graph, files)
        now = self.clock.now()
        started = {
            "graph": graph.stored.name,
            "graph_hash": graph.stored.hash,
            "name": graph.name,
            "inputs": inputs,
            "folder": folder,
            "secrets": [secret.name for secret in graph.secrets if self._has(secret)],
            "files": str(self.services.files_folder),
            "seed": digest(run_id.encode())[:16],
            "decider": VERSION,
            **({"budget": dict(budget)} if budget else {}),
            **({"approve": approve} if approve != "ask" else {}),
        }
        new = NewRun(
            run_id=run_id, name=graph.name, graph_hash=graph.stored.hash, root_id=run_id, created_at=now,
            labels={**graph.labels, **(labels or {})}, owner=self.owner,
        )  # fmt: skip
        draft = Draft("run_started", "", started)
        state = RunState()
        state.apply(draft, seq=1, at=now, epoch=new.epoch)
        handle = self._handle(run_id, epoch=new.epoch)
        return await self._drive(RunDriver(self, graph, state, handle), [draft], create=new)

    async def resume(
        self,
        run_id: str,
        *,
        force: bool = False,
        retry_failed: bool = False,
        approve: Literal["ask", "never"] | None = None,
        graph: Graph | None = None,
    ) -> RunEnd:
        """Take a run over and drive it on. One that ended is only looked at, unless ``retry_failed``.

        ``approve`` changes whether anybody is asked, from here on; None leaves it as it was. ``graph`` saves reading
        the run's graph again, where it is that.
        Raises Held (a live driver has it), NoSuchRun, Fenced, Damaged, or a StoreError.
        """
        row = await self.store.get_run(run_id)
        if row.ended and not (retry_failed and row.status in ("failed", "cancelled")):
            return end_of(run_id, fold(await self.store.load(run_id)))
        try:
            claimed = await self.store.claim(run_id, self.owner, force=force, explicit=True, seen=row)
        except RunEnded:  # just now, while another drove it
            return end_of(run_id, fold(await self.store.load(run_id)))
        with _no_collection():
            # Up to our claim: what comes after it, another driver wrote, and ours will be told so.
            state = fold(await self.store.load(run_id, upto=claimed.head))
            if graph is None or graph.stored.name != state.started["graph"]:
                graph = graph_from_json(loads(await self.store.get_blob(state.started["graph"])))
            await self._restore_files(state)
            handle = self._handle(run_id, epoch=claimed.epoch, head=claimed.head, head_sum=claimed.head_sum)
            first: list[Draft] = []
            if state.finished is not None:
                first.append(Draft("resumed", "", {**reopened(graph, state)}))
                state.apply(first[0], seq=state.head + 1, at=self.clock.now())
            if approve not in (None, state.approve):
                first.append(Draft("received", "", {"kind": "approve", "mode": approve, "by": self.owner}))
                state.apply(first[-1], seq=state.head + 1, at=self.clock.now())
            driver = RunDriver(self, graph, state, handle)
        return await self._drive(driver, first)

    async def reopen(self, run_id: str, drafts: Sequence[Draft], *, reason: str) -> None:
        """Take back the end of a run and leave it paused for ``reason``, with ``drafts`` in its journal: a resume goes
        on with it. Raises as ``resume``."""
        claimed = await self.store.claim(run_id, self.owner, explicit=True)
        state = fold(await self.store.load(run_id, upto=claimed.head))
        graph = graph_from_json(loads(await self.store.get_blob(state.started["graph"])))
        handle = self._handle(run_id, epoch=claimed.epoch, head=claimed.head, head_sum=claimed.head_sum)
        taken_back = [Draft("resumed", "", {**reopened(graph, state)})] if state.finished is not None else []
        every = [*taken_back, *drafts, Draft("paused", "", {"reason": reason})]
        now = self.clock.now()
        records = [
            Record(seq, claimed.epoch, draft.kind, draft.path, draft.body, now)
            for seq, draft in enumerate(every, claimed.head + 1)
        ]
        self.writer.append(handle, records, Projection(status="paused", reason=reason), release=True)
        await self.writer.flush(handle)

    def stop(self, *, now: bool = False) -> None:
        """Start nothing more, journal what ends within the grace, give all runs up. ``now``: without the grace."""
        self._stopped = "now" if now or self._stopped else "grace"
        for driver in self._drivers.values():
            driver.stop(now=self._stopped == "now")

    @property
    def performing(self) -> bool:
        """Whether an effect is under way here. Where none is, a host that was stopped waits for the store alone."""
        return self._effects > 0

    @property
    def attended(self) -> bool:
        """Whether somebody beside this process answers questions: runs stay for that, and do not park."""
        return self._attended

    def attend(self, *, somebody: bool) -> None:
        """Say whether somebody does."""
        self._attended = somebody
        for driver in list(self._drivers.values()):
            driver.poke()

    def held(self, run_id: str) -> list[Held]:
        """The steps of a run that may start, and wait for a place in this process."""
        driver = self._drivers.get(run_id)
        return [] if driver is None else held(driver.gate.crowded)

    # What its drivers call

    def may_start(self) -> bool:
        """Whether an effect may start: the lease is surely ours, and the store is there."""
        return self.writer.away is None and self.clock.boot() - self._renewed < self.settings.lease * 0.8

    def take_process(self) -> bool:
        """A place for one more child process; where there is none, whoever asks is poked when one is free."""
        if self._processes >= MOST_PROCESSES:
            self._crowded = True
            return False
        self._processes += 1
        return True

    def free_process(self) -> None:
        """A child process has ended."""
        self._processes -= 1
        if self._crowded:
            self._crowded = False
            for driver in list(self._drivers.values()):
                driver.poke()

    def _poke(self, run_id: str) -> None:
        if run_id in self._drivers:
            self._drivers[run_id].poke()

    def begin(self, effect: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
        """An effect is under way, until ``effect_over``; all that it does is done inside ``scope``."""
        self._effects += 1
        self._performing.start(effect, scope)

    def effect_over(self) -> None:
        """One effect is under way no more."""
        self._effects -= 1

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run something in this process's task group."""
        self._tasks.start_soon(function, *args)

    def tell(self, run_id: str, records: Sequence[Record]) -> None:
        """Show records."""
        if self._listen is not None:
            for record in records:
                self._listen(Event(run_id=run_id, kind="record", path=record.path, record=record))

    def text_listener(self, run_id: str) -> Callable[[str, str], None] | None:
        """Who shows the text of a run as it streams; None where nobody does."""
        listen = self._listen
        if listen is None:
            return None
        return lambda path, text: listen(Event(run_id=run_id, kind="text", path=path, text=text))

    async def send_evidence(self, row: InboxRow) -> None:
        """A late result, for the inbox of a run that is not ours any more; best effort."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(self.settings.grace):
            try:
                await self.store.send(row)
            except (StoreError, RunEnded, BadData):
                return

    # Inside

    async def _keep(self, graph: Graph, files: Sequence[bytes]) -> None:
        """Have the graph and the files of a run in the store before the run names them. Runs that start together keep
        their graph once."""
        body, name, _ = graph.stored
        while name in self._keeping:
            await self._keeping[name].wait()
        now = self.clock.boot()
        if now - self._kept.get(name, -SURELY_THERE) < SURELY_THERE:
            if files:
                await self.store.put_blobs(files)
            return
        self._keeping[name] = anyio.Event()
        try:
            await self.store.put_blobs([body, *files])
            self._kept[name] = now
        finally:
            self._keeping.pop(name).set()

    async def _restore_files(self, state: RunState) -> None:
        """Copies of stored files, for a run that another machine began. Raises StoreNotWritable."""
        folder = folder_of_files(state.started["files"], self.services.files_folder)
        for name in files_in([state.started["inputs"], *(step.files for step in state.steps.values() if step.files)]):
            try:
                if not (folder / name).exists():
                    body = await self.store.get_blob(name)
                    await anyio.to_thread.run_sync(keep_copy, folder, name, body)
            except (OSError, ValueError) as error:
                raise StoreNotWritable(str(folder), reason=getattr(error, "strerror", None) or str(error)) from error

    def _has(self, secret: SecretDef) -> bool:
        """Whether a secret has a value here; one that is not optional was asked for before."""
        if not secret.optional:
            return True
        try:
            self.services.reveal(secret_marker(secret.name))
        except OrchError:
            return False
        return True

    def _handle(self, run_id: str, *, epoch: int, head: int = 0, head_sum: str = "") -> RunHandle:
        return RunHandle(
            run_id, epoch=epoch, head=head, head_sum=head_sum, on_committed=_ignore, on_fenced=_ignore, on_error=_ignore
        )

    async def _drive(self, driver: RunDriver, first: Sequence[Draft], *, create: NewRun | None = None) -> RunEnd:
        self._drivers[driver.run_id] = driver
        if self._stopped:
            driver.stop(now=self._stopped == "now")
        try:
            return await driver.run(first, create=create)
        finally:
            self.rates.leave(driver.run_id)
            await driver.holder.close()
            del self._drivers[driver.run_id]

    async def _register(self) -> None:
        sent = self.clock.boot()
        await self.store.register_driver(Driver.of_this_process(self.owner), self.settings.lease)
        self._renewed = sent

    async def _keep_lease(self) -> None:
        """Renew every third of the lease; look into the inboxes at least every second."""
        every = self.settings.lease / 3
        due = self.clock.boot() + every
        while True:
            await anyio.sleep(min(every, LONGEST_DEAF))
            try:
                if self.clock.boot() >= due - LONGEST_DEAF / 2:
                    await self._renew()
                    due = self.clock.boot() + every
                rows = await self.store.pending_for(self.owner) if self._drivers else []
            except StoreUnavailable as error:
                self._look_away(error)
                continue
            self._look_away(self.writer.away)
            for driver in list(self._drivers.values()):
                driver.take([row for row in rows if row.run_id == driver.run_id])

    def _look_away(self, error: StoreUnavailable | None) -> None:
        """Tell whoever wants to know that the store went away, or came back."""
        if self._away is not (error is not None):
            self._away = error is not None
            if self._outage is not None:
                self._outage(error)

    async def _renew(self) -> None:
        sent = self.clock.boot()
        try:
            await self.store.renew(self.owner, self.settings.lease)
        except UnknownDriver:
            await self._register()
        await self._look_for_thieves()
        self._renewed = sent
        for driver in list(self._drivers.values()):
            driver.poke()

    async def _look_for_thieves(self) -> None:
        """See which runs are still ours: where one is not, what runs for it here has to end, and nothing may start."""
        for driver in list(self._drivers.values()):
            if driver.handle.head:
                row = await self.store.get_run(driver.run_id)
                if row.epoch != driver.handle.epoch:
                    driver.fence(Fenced(driver.run_id, epoch=driver.handle.epoch))


@contextmanager
def _no_collection() -> Generator[None]:
    """A whole journal becomes objects, none of them garbage: looking for some would cost a quarter of a resume."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def files_in(value: Any) -> set[str]:
    """The hashes of the stored files among a value."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        if isinstance(found.get("$file"), str):
            return {found["$file"]}
        return {name for item in found.values() for name in files_in(item)}
    if isinstance(value, list):
        return {name for item in cast("list[Any]", value) for name in files_in(item)}
    return set()


def _ignore(_what: int | Fenced | Exception) -> None:
    """Replaced by the driver of the run."""
