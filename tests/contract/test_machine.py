"""Any sequence of calls: every database gives what the memory store gives."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestrator.clock import ManualClock
from orchestrator.journal.errors import BadData, Conflict, OrchError
from orchestrator.journal.records import KINDS
from orchestrator.journal.store import Fact, Projection, RunFilter
from orchestrator.jsonish import digest
from orchestrator.stores import StoreSettings, open_store
from tests.contract.build import LEASE, driver, first, mail, new_run, piece
from tests.contract.conftest import assert_at_rest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from orchestrator.journal.store import Slice, Store

PROVE = os.environ.get("ORCH_PROVE") == "1"
RUNS = st.sampled_from(["a", "ab", "b"])
OWNERS = st.sampled_from(["me", "you"])
STATUS = st.sampled_from(["running", "waiting", "paused", "done", "failed"])
_numbers = itertools.count(1)
MAYBE_TIME = st.none() | st.integers(0, 2**40)
TEXT = st.text(max_size=6)
PROJECTIONS = st.one_of(
    st.just(Projection()),
    st.builds(Projection, status=STATUS, wake_at=MAYBE_TIME, spend=st.integers(0, 2**50)),
    st.builds(Projection, reason=st.none() | TEXT, error=st.none() | st.dictionaries(TEXT, st.integers())),
    st.builds(Projection, labels=st.dictionaries(TEXT, TEXT, max_size=2), finished_at=MAYBE_TIME),
)
RECORDS = st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(TEXT, TEXT, max_size=2)), max_size=4)


class Machine(RuleBasedStateMachine):
    """The same calls on all stores, with the same clock; the same answers, or the same errors."""

    urls: ClassVar[tuple[str, ...]] = ()
    """Databases in servers, beside a file of SQLite."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.mkdtemp()
        self.clock = ManualClock(50.0)
        self.stores = [
            open_store("memory:", clock=self.clock),
            open_store(f"sqlite:{self.folder}/runs.db", clock=self.clock),
        ]
        settings = StoreSettings(table_prefix=f"m{next(_numbers)}_")
        self.stores += [open_store(url, clock=self.clock, settings=settings) for url in self.urls]
        self.heads: dict[str, tuple[int, str, int]] = {}
        self.nonce = 0
        self.all(lambda store: store.open())

    def all(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """The answer of every store, or the error that every one gave."""
        expected, *answers = self.loop.run_until_complete(self._each(call))
        for store, answer in zip(self.stores[1:], answers, strict=True):
            assert answer == expected, store.name
        return expected

    async def _each(self, call: Callable[[Store], Awaitable[Any]]) -> list[Any]:
        return [await self._one(store, call) for store in self.stores]

    async def _one(self, store: Store, call: Callable[[Store], Awaitable[Any]]) -> Any:
        try:
            return await call(store)
        except (Conflict, OrchError) as error:
            about = error.run_id if isinstance(error, BadData) else "" if isinstance(error, Conflict) else str(error)
            return (type(error), about)

    def fresh(self) -> str:
        self.nonce += 1
        return f"n{self.nonce}"

    def learn(self, part: Slice, answer: Any) -> None:
        if answer is None:
            self.heads[part.run_id] = (part.head, part.head_sum, part.epoch)

    @rule(run=RUNS, owner=st.none() | OWNERS, projection=PROJECTIONS, at=st.integers(1, 3))
    def create(self, run: str, owner: str | None, projection: Projection, at: int) -> None:
        new = new_run(run, owner=owner, at=at)
        part = first(run, new=new, projection=projection, nonce=self.fresh())
        self.learn(part, self.all(lambda store: store.commit([part])))

    @rule(run=RUNS, records=RECORDS, projection=PROJECTIONS, off=st.sampled_from([0, 0, 0, 0, 1, -1]), data=st.data())
    def append(self, run: str, records: Any, projection: Projection, off: int, data: st.DataObject) -> None:
        part = self.part(run, records, projection, off, data)
        self.learn(part, self.all(lambda store: store.commit([part])))

    @rule(projection=PROJECTIONS, records=RECORDS, data=st.data())
    def append_to_two(self, projection: Projection, records: Any, data: st.DataObject) -> None:
        parts = [self.part(run, records, projection, 0, data) for run in ("b", "a")]
        answer = self.all(lambda store: store.commit(parts))
        for part in parts:
            self.learn(part, answer)

    @rule(run=RUNS, records=RECORDS, projection=PROJECTIONS, data=st.data())
    def park(self, run: str, records: Any, projection: Projection, data: st.DataObject) -> None:
        part = self.part(run, records, projection, 0, data, release=True)
        before = self.all(lambda store: store.get_run(run))
        answer = self.all(lambda store: store.park(part))
        if answer is True and before.owner is not None:
            self.learn(part, None)

    def part(self, run: str, records: Any, projection: Projection, off: int, data: Any, **more: Any) -> Slice:
        head, total, epoch = self.heads.get(run, (0, "", 0))
        kinds, bodies = [kind for kind, _ in records], [body for _, body in records]
        pending = self.all(lambda store: store.pending(run))
        consumed: tuple[tuple[str, int], ...] = ()
        if records and pending and data.draw(st.booleans()):
            consumed = ((pending[0].request_id, head + 1),)
        inbox = (mail("b", "from another", at=9),) if run != "b" and data.draw(st.booleans()) else ()
        return piece(
            run,
            kinds,
            epoch=epoch + off,
            head=head,
            base_sum=total,
            bodies=bodies,
            projection=projection,
            nonce=self.fresh(),
            consumed=consumed,
            inbox=inbox,
            **more,
        )

    @rule(owner=OWNERS)
    def register(self, owner: str) -> None:
        self.all(lambda store: store.register_driver(driver(owner), LEASE))

    @rule(owner=OWNERS)
    def renew(self, owner: str) -> None:
        self.all(lambda store: store.renew(owner, LEASE))

    @rule(owner=OWNERS)
    def release(self, owner: str) -> None:
        self.all(lambda store: store.release(owner))

    @rule(run=RUNS, owner=OWNERS, force=st.booleans(), explicit=st.booleans())
    def claim(self, run: str, owner: str, force: bool, explicit: bool) -> None:
        nonce = self.fresh()
        self.all(lambda store: store.claim(run, owner, force=force, explicit=explicit, nonce=nonce))
        now = self.all(lambda store: store.get_run(run))
        if not isinstance(now, tuple):
            self.heads[run] = (now.head, now.head_sum, now.epoch)

    @rule(run=RUNS, request=st.sampled_from(["q", "r"]), by=TEXT, at=st.integers(0, 5))
    def send(self, run: str, request: str, by: str, at: int) -> None:
        self.all(lambda store: store.send(mail(run, request, by=by, at=at)))

    @rule(seconds=st.sampled_from([1.0, LEASE, 2 * LEASE]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(runs=st.lists(RUNS, max_size=3, unique=True), before=st.integers(0, 2**40))
    def delete(self, runs: list[str], before: int) -> None:
        for run in self.all(lambda store: store.delete_runs(runs, ended_before=before)):
            self.heads.pop(run, None)

    @rule(content=st.sampled_from([b"a", b"b"]), run=RUNS)
    def put_and_name(self, content: bytes, run: str) -> None:
        (name,) = self.all(lambda store: store.put_blobs([content]))
        self.all(lambda store: store.send(mail(run, f"blob {content}", file=name)))

    @rule(age=st.sampled_from([0.0, LEASE]), without=st.lists(RUNS, max_size=1), dry_run=st.booleans())
    def sweep(self, age: float, without: list[str], dry_run: bool) -> None:
        self.all(lambda store: store.sweep_blobs(age=age, without=without, dry_run=dry_run))

    @rule(scope=TEXT, key=TEXT, text=TEXT, at=st.integers(0, 2**50))
    def remember(self, scope: str, key: str, text: str, at: int) -> None:
        self.all(lambda store: store.remember(Fact(scope, key, text, at, "r")))
        self.all(lambda store: store.facts(scope))
        self.all(lambda store: store.facts(scope, after=key, limit=1))

    @rule(age=st.sampled_from([0.0, LEASE]))
    def forget(self, age: float) -> None:
        self.all(lambda store: store.forget_drivers(age=age))
        for owner in ("me", "you"):  # whose processes live on
            self.all(lambda store, owner=owner: store.owner(owner))
            self.register(owner)

    @rule(status=st.lists(STATUS, max_size=2), since=st.none() | st.integers(0, 3), limit=st.integers(0, 3))
    def look(self, status: list[str], since: int | None, limit: int) -> None:
        self.all(lambda store: store.list_runs(RunFilter(status=tuple(status), since=since, limit=limit)))
        self.all(lambda store: store.find_runs("a"))
        self.all(lambda store: store.due(limit=limit))
        self.all(lambda store: store.settle([("a", 1), ("b", 2), ("ab", limit)]))

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "stores"):
            return
        for run in ("a", "ab", "b"):
            self.all(lambda store, run=run: store.get_run(run))
            self.all(lambda store, run=run: store.rows(run))
            self.all(lambda store, run=run: store.load(run))
            self.all(lambda store, run=run: store.pending(run))
        names = [digest(b"a"), digest(b"b")]
        self.all(lambda store: store.held_blobs(names))
        for owner in ("me", "you"):
            self.all(lambda store, owner=owner: store.owner(owner))
            self.all(lambda store, owner=owner: store.pending_for(owner))
        for store in self.stores:
            assert_at_rest(store)

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.all(lambda store: store.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)


class ServerMachine(Machine):
    """The same with the servers."""


@pytest.fixture(scope="module")
def servers(postgres_url: str, mysql_url: str) -> Iterator[None]:
    ServerMachine.urls = (postgres_url, mysql_url)
    yield
    ServerMachine.urls = ()


TestMachine = pytest.mark.timeout(900)(Machine.TestCase)
TestMachine.settings = settings(
    max_examples=400 if PROVE else 10,
    stateful_step_count=40 if PROVE else 20,
    deadline=None,
    derandomize=not PROVE,
    phases=tuple(Phase) if PROVE else (Phase.generate,),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    database=None,
)

TestServerMachine = pytest.mark.usefixtures("servers")(pytest.mark.timeout(1800)(ServerMachine.TestCase))
TestServerMachine.settings = settings(TestMachine.settings, max_examples=100 if PROVE else 12)
