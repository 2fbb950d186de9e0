"""Driving one run: outcomes in, records out, effects started once their ``started`` is committed.

An outcome is folded, decided on and handed to the writer with no await between. Effects start after the commit. What a
fenced driver had folded tentatively is thrown away with it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import anyio

from orchestrator.engine import outcomes
from orchestrator.engine.decide import Decider, RunInfo
from orchestrator.engine.effects import Effects
from orchestrator.engine.ends import RunEnd, end_of
from orchestrator.engine.gate import Ask, Gate, Start
from orchestrator.engine.holding import Holder
from orchestrator.engine.permissions import CHOICES
from orchestrator.engine.rates import lane_of, used_by
from orchestrator.engine.steps.agent import reading_turn
from orchestrator.graph.nodes import AgentConfig, CallConfig
from orchestrator.ids import request_id
from orchestrator.journal.errors import Fenced, StoreError
from orchestrator.journal.records import Draft, Record
from orchestrator.journal.store import NO_CHANGE, InboxRow, Projection
from orchestrator.spec.values import check_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.engine.activation import Choice, Intent
    from orchestrator.engine.host import Host
    from orchestrator.engine.rates import Permit
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.slices import RunHandle
    from orchestrator.journal.state import RunState
    from orchestrator.journal.store import NewRun


class RunDriver:
    """Drives one run until it ends, or has nothing to do but wait, or is stopped or fenced."""

    def __init__(self, host: Host, graph: Graph, state: RunState, handle: RunHandle) -> None:
        self.host = host
        self.run_id = handle.run_id
        self.state = state
        self.handle = handle
        handle.on_committed = self._committed
        handle.on_fenced = self.fence
        handle.on_error = self._lost_store
        self.decider = Decider(graph, state, RunInfo(self.run_id))
        self.holder = Holder(host.spawn)
        emit = host.text_listener(handle.run_id)
        self.effects = Effects(self.decider, host.store, host.services, emit=emit, hold=self.holder.hold)
        self.gate = Gate(self.decider, Ask(reserve=self.effects.reservation, place=self._place))
        self.error: Exception | None = None
        self._launch: deque[tuple[int, Intent]] = deque()
        self._running: dict[str, anyio.CancelScope] = {}
        self._unsafe: deque[tuple[int, Sequence[Draft], Sequence[Record]]] = deque()
        self._wake = anyio.Event()
        self._taken: set[str] = set()
        self._spent = (-1, -1)
        self._permits: dict[str, Permit] = {}
        self._lease_back = anyio.Event()
        self._stopping = False

    # The loop

    async def run(self, first: Sequence[Draft] = (), *, create: NewRun | None = None) -> RunEnd:
        """Drive. ``first``: records that the state has already, and the journal has not. Raises Fenced or a StoreError
        where the run cannot be written any more; it is resumable then."""
        # What was sent while nobody drove comes first: a cancelled run starts nothing more.
        drafts, consumed = self._sorted([] if create else await self.host.store.pending(self.run_id))
        self._pump(drafts, folded=first, create=create, consumed=consumed)
        while True:
            end = None
            try:
                end = await self._turn()
            except (Fenced, StoreError) as error:
                self.error = self.error or error
            if self.error is not None:
                await self._abandon()
                raise self.error
            if end is not None:
                return end

    async def _turn(self) -> RunEnd | None:
        """See whether the run has come to an end of some kind; else wait until something happens."""
        if self.error is not None:
            return None
        if self._stopping:
            return await self._stop()
        # Before it parks: a run that was left to wait may be late.
        self._fire()
        if self.state.finished is not None and not self._running:
            await self.host.writer.flush(self.handle)
            return end_of(self.run_id, self.state)
        if self._blocked() and await self._park():
            return end_of(self.run_id, self.state)
        self._wake = anyio.Event()
        with anyio.move_on_after(self._seconds_to_due()):
            await self._wake.wait()
        return None

    def poke(self) -> None:
        """Have the loop, and what waits for the lease, look again."""
        self._wake.set()
        waited, self._lease_back = self._lease_back, anyio.Event()
        waited.set()

    def stop(self, *, now: bool) -> None:
        """Start nothing more; ``now``: end what runs, too."""
        self._stopping = True
        self.host.rates.leave(self.run_id)
        if now:
            self._cancel_running()
        self._wake.set()

    def take(self, rows: Sequence[InboxRow]) -> None:
        """Take up what was sent to the run."""
        drafts, consumed = self._sorted(rows)
        if drafts and self.error is None and self.state.finished is None:
            self._pump(drafts, consumed=consumed)

    def _sorted(self, rows: Sequence[InboxRow]) -> tuple[list[Draft], list[str]]:
        """What rows become. One on its way into the journal is in the inbox still; of two that say what can be said
        once, the first one counts."""
        drafts: list[Draft] = []
        fresh = [row for row in rows if row.request_id not in self._taken]
        for row in fresh:
            self._taken.add(row.request_id)
            draft = self._received(row)
            again = draft.kind != "budget_added" and any(
                (draft.kind, draft.path) == (other.kind, other.path) for other in drafts
            )
            drafts.append(_noted(row) if again else draft)
        return drafts, [row.request_id for row in fresh]

    def _received(self, row: InboxRow) -> Draft:
        if row.kind == "cancel" and self.decider.cancellable and self.state.cancel is None:
            return Draft("cancel_requested", "", {"reason": row.body.get("reason"), "by": row.by})
        if row.kind == "budget":
            return Draft("budget_added", row.path, {"add": row.body["add"], "by": row.by})
        if row.kind == "resolve":
            step = self.state.steps.get(row.path)
            act = self.decider.acts.get(row.path)
            if act is None or step is None or step.status != "waiting" or step.resolved is not None or step.asked:
                return _noted(row)
            if "result" not in row.body or not check_value(act.node.output or {}, row.body["result"]):
                return Draft("resolved", row.path, {**row.body, "by": row.by})
        if row.kind == "answer":
            return self._answered(row)
        if row.kind == "message":
            turn = reading_turn(self.decider.acts.get(row.path))
            if turn is not None:
                body = {"kind": "message", "by": row.by, "text": row.body["text"], "turn": turn}
                return Draft("received", row.path, body)
        return _noted(row)

    def _answered(self, row: InboxRow) -> Draft:
        """An answer is to the question that it names, while that is open; nothing else."""
        step = self.state.steps.get(row.path)
        asked = None if step is None or step.waiting is None else step.asked
        if asked is None or asked["request"] != row.body.get("request") or row.body.get("choice") not in CHOICES:
            return _noted(row)
        return Draft("answered", row.path, {**row.body, "by": row.by})

    def _pump(
        self,
        drafts: Sequence[Draft] = (),
        *,
        folded: Sequence[Draft] = (),
        create: NewRun | None = None,
        consumed: Sequence[str] = (),
    ) -> None:
        """Fold, decide, start what may start, and hand all of it to the writer: one slice, with no await."""
        now = self.host.clock.now()
        seq = self.handle.tail
        epoch = self.handle.epoch
        records: list[Record] = []
        for draft in folded:
            seq += 1
            records.append(Record(seq, epoch, draft.kind, draft.path, draft.body, self.state.at))
        pairs = list(zip(consumed, range(seq + 1, seq + 1 + len(drafts)), strict=False))
        for draft in drafts:
            self._apply(draft, now)
            seq += 1
            records.append(Record(seq, epoch, draft.kind, draft.path, draft.body, now))
        again = True
        while again:
            again = False
            for draft in self.decider.decide():
                seq += 1
                records.append(Record(seq, epoch, draft.kind, draft.path, draft.body, self.state.at))
            for found in self._startable(now):
                seq += 1
                draft = self._started(found) if isinstance(found, Start) else found
                self.decider.apply(draft, at=now)
                records.append(Record(seq, epoch, draft.kind, draft.path, draft.body, now))
                if isinstance(found, Start):
                    self._launch.append((seq, found.intent))
                elif draft.body["then"] != "pause":
                    again = True
                    break
        self.host.rates.leave(self.run_id, staying=self.gate.lacks)
        if self.decider.cancels:
            for path in self.decider.cancels:
                if path in self._running:
                    self._running[path].cancel()
            self.decider.cancels.clear()
        if records:
            finished = self.state.finished is not None
            self._unsafe.append((seq, drafts, records))
            self.host.writer.append(
                self.handle, records, self._projection(), create=create, consumed=pairs, release=finished
            )
        if not self.decider.in_flight or self.decider.permitted or self.decider.timers:
            self._wake.set()

    def _apply(self, draft: Draft, now: int) -> None:
        intent = self.decider.in_flight.get(draft.path)
        self.decider.apply(draft, at=now)
        if draft.kind == "budget_added":
            self.gate.added(draft.path)
        elif draft.kind == "cancel_requested":
            self.gate.cancelled()
        elif intent is not None and draft.path not in self.decider.in_flight:
            self.gate.settled(intent.act.account)

    def _startable(self, now: int) -> Iterator[Start | Draft]:
        if not self.decider.permitted or self._stopping or not self.host.may_start():
            return iter(())
        return self.gate.take(now)

    def _place(self, intent: Intent) -> str:
        """Take the place that it needs in this process; what is missing where there is none."""
        if intent.model is not None:
            return self._permit(intent, intent.model)
        return "" if not _takes_process(intent) or self.host.take_process() else "process"

    def _permit(self, intent: Intent, model: Choice) -> str:
        """Take what the limits of a model leave; those of this run that wait for it already go first."""
        found = lane_of(model.settings)
        if found is None:
            return ""
        key, limits = found
        if self.gate.lacks(key):
            return key
        tokens = 0 if limits.tokens is None else self.effects.reservation(intent)["tokens"] or 0
        permit = self.host.rates.take(self.run_id, key, limits, tokens)
        if permit is None:
            return key
        self._permits[intent.path] = permit
        return ""

    def _give_back(self, intent: Intent, *, began: bool = True, end: Draft | None = None) -> None:
        if _takes_process(intent):
            self.host.free_process()
        permit = self._permits.pop(intent.path, None)
        if permit is not None and began:
            self.host.rates.end(permit, used_by(None if end is None else end.body))
        elif permit is not None:
            self.host.rates.drop(permit)

    def _started(self, start: Start) -> Draft:
        intent = start.intent
        body: dict[str, Any] = {
            "attempt": intent.attempt,
            "logical": intent.logical,
            "hash": intent.hash,
            "effect": intent.effect,
            "what": intent.what,
        }
        if intent.key:
            body["key"] = intent.key
        if intent.tool:
            body["tool"] = intent.tool
        if intent.model is not None and intent.model.of > 1:
            body["model"] = {"index": intent.model.index, "name": intent.model.name}
        if isinstance(config := intent.act.node.config, AgentConfig):
            body["agent"] = config.agent.name
        if intent.last:
            body["last"] = True
        if (why := self.effects.unguarded(intent)) is not None:
            body["unsandboxed"] = why
        account, *within = [account.path for account in intent.act.account.chain()]
        if start.reserve is not None:
            body["reserve"] = start.reserve
        if start.reserve is not None or account:
            body["account"] = account
        if within[:-1]:
            body["within"] = within[:-1]
        return Draft("started", intent.path, body)

    def _projection(self) -> Projection:
        state = self.state
        if state.finished is not None:
            return Projection(
                status=state.finished["status"],
                reason=None,
                wake_at=None,
                spend=state.spend,
                tokens=state.tokens,
                error=state.finished.get("error"),
                finished_at=state.finished_at,
            )
        spent = (state.spend, state.tokens)
        if spent == self._spent:
            return Projection(status="running") if state.head <= 2 else NO_CHANGE
        self._spent = spent
        return Projection(status="running", spend=spent[0], tokens=spent[1])

    # What the writer says

    def _committed(self, head: int) -> None:
        while self._launch and self._launch[0][0] <= head:
            _, intent = self._launch.popleft()
            if intent.act.stop is not None or self._stopping:
                self._never_began(intent)
            else:
                # Known as running from here on: what is stopped before its task begins must be stopped, too.
                scope = self._running[intent.path] = anyio.CancelScope()
                self.host.begin(self._effect(intent, scope), scope)
        while self._unsafe and self._unsafe[0][0] <= head:
            self.host.tell(self.run_id, self._unsafe.popleft()[2])
        if self.state.finished is not None:
            self._wake.set()

    def _never_began(self, intent: Intent) -> None:
        """Its scope was stopped between ``started`` and the start."""
        self._give_back(intent, began=False)
        if not self._stopping:
            self._pump([outcomes.cancelled(intent, began=False)])

    def fence(self, fenced: Fenced) -> None:
        """Another driver has the run."""
        self.error = self.error or fenced
        self.poke()

    def _lost_store(self, error: Exception) -> None:
        self.error = self.error or error
        self.poke()

    # Effects

    async def _effect(self, intent: Intent, scope: anyio.CancelScope) -> None:
        draft: Draft | None = None
        try:
            with scope:
                # Between the check at its `started` and here the process may have slept past its lease.
                while not self.host.may_start() and self.error is None:
                    await self._lease_back.wait()
                if self.error is None:
                    draft = await self.effects.perform(intent, self.host.clock.now)
            if draft is not None and self.error is not None:
                # Still running, for whoever waits for it: what it says has to get out.
                await self._evidence(draft)
        finally:
            self._running.pop(intent.path, None)
            self.host.effect_over()
            self._give_back(intent, end=draft)
        if self.error is not None or (draft is None and self._stopping):
            self._wake.set()
        else:
            self._pump([draft or outcomes.cancelled(intent, began=True)])

    def _cancel_running(self) -> None:
        for scope in self._running.values():
            scope.cancel()

    # Time

    def _due(self) -> int | None:
        now = self.host.clock.now()
        # What may start and does not waits for the lease, the store or a process: the host pokes when there is one.
        # Whoever is not the first in line for a model is poked, too.
        soonest, free = self.gate.due(now), self.host.rates.ready_in(self.run_id)
        times = [*self.decider.timers.values(), *([] if soonest is None else [soonest])]
        times += [] if free is None else [now + math.ceil(free * 1_000_000)]
        return min(times, default=None)

    def _seconds_to_due(self) -> float:
        # While nothing may start, what is due to start would only have the loop spin: the host pokes when it may.
        due = self._due() if self.host.may_start() else min(self.decider.timers.values(), default=None)
        if due is None or self.state.finished is not None:
            return math.inf
        return max((due - self.host.clock.now()) / 1_000_000, 0.0)

    def _fire(self) -> None:
        """Time has passed: timers that are due go off, and what waited for its time may start."""
        if self.state.finished is not None:
            return
        now = self.host.clock.now()
        due = [path for path, at in self.decider.timers.items() if at <= now]
        for path in due:
            del self.decider.timers[path]
        drafts = [Draft("fired", path, {"timer": "timeout"}) for path in due]
        drafts += self.gate.overdue(now)
        if drafts or self.gate.pending(now):
            self._pump(drafts)

    # Ends

    def _blocked(self) -> bool:
        return (
            self.state.finished is None
            and not self.decider.in_flight
            and (not self.decider.permitted or (bool(self.gate.paused) and self.gate.idle))
            and not self._running
        )

    async def _park(self) -> bool:
        """Nothing is left to do but wait: give the run up, unless something came in, or somebody here may answer."""
        waits = [step for step in self.state.steps.values() if step.waiting is not None]
        limit = next(iter(self.gate.paused.values()), None)
        if not waits and limit is None and self._due() is None:
            raise RuntimeError(f"run {self.run_id} is stuck: nothing runs, nothing waits, and it has not ended")
        if not waits and limit is None:
            return False
        # Doubt and limits pause a run; questions alone let it wait.
        doubt = any(step.asked is None for step in waits if step.path in self.decider.acts)
        reason = "doubt" if doubt else "limit" if limit is not None else "approval"
        if reason == "approval" and self.host.attended:
            return False
        now = self.host.clock.now()
        status: Literal["waiting", "paused"] = "waiting" if reason == "approval" else "paused"
        drafts: list[Draft] = []
        if status == "paused":
            drafts.append(Draft("paused", "", {"reason": reason} | ({"limit": limit} if reason == "limit" else {})))
        records = [
            Record(seq, self.handle.epoch, draft.kind, "", draft.body, now)
            for seq, draft in enumerate(drafts, self.handle.tail + 1)
        ]
        projection = Projection(
            status=status, reason=reason, wake_at=self._due(), spend=self.state.spend, tokens=self.state.tokens
        )
        if await self.host.writer.park(self.handle, projection, records=records):
            for record in records:
                self.state.apply(record, seq=record.seq, at=now)
            return True
        self.take(await self.host.store.pending(self.run_id))
        return False

    async def _stop(self) -> RunEnd:
        """A signal: give what runs its grace, journal what ended, and give the run up. It stays resumable."""
        with anyio.move_on_after(self.host.settings.grace):
            await self._wait_for_effects()
        self._cancel_running()
        await self._wait_for_effects()
        if self.state.finished is None:
            self.host.writer.append(self.handle, (), Projection(spend=self.state.spend), release=True)
        await self.host.writer.flush(self.handle)
        return end_of(self.run_id, self.state, stopped=self.state.finished is None)

    async def _wait_for_effects(self) -> None:
        while self._running and self.error is None:
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _abandon(self) -> None:
        """Another driver has the run, or the store is gone: what runs here ends; a write may still tell how it
        ended."""
        for path, scope in self._running.items():
            intent = self.decider.in_flight.get(path)
            if intent is None or intent.effect != "write":
                scope.cancel()
        self.host.rates.leave(self.run_id)
        for _, intent in self._launch:
            self._give_back(intent, began=False)
        self._launch.clear()
        late = [draft for _, drafts, _ in self._unsafe for draft in drafts]
        unsafe = [draft for draft in late if draft.kind in ("done", "failed", "waiting")]
        for draft in unsafe:
            await self._evidence(draft)
        with anyio.move_on_after(self.host.settings.grace):
            while self._running:
                self._wake = anyio.Event()
                await self._wake.wait()
        self._cancel_running()

    async def _evidence(self, draft: Draft) -> None:
        """A late result goes into the inbox, for whoever has to resolve the step."""
        row = InboxRow(
            run_id=self.run_id,
            request_id=request_id("evidence", draft.path, draft.body.get("attempt", 0), self.handle.epoch),
            kind="evidence",
            path=draft.path,
            body={"kind": draft.kind, **draft.body},
            by=self.host.owner,
            at=self.host.clock.now(),
        )
        await self.host.send_evidence(row)


def _noted(row: InboxRow) -> Draft:
    """Something that changes nothing."""
    said = {"text": row.body["text"]} if row.kind == "message" else {}
    return Draft("received", row.path, {"kind": row.kind, "by": row.by, **said})


def _takes_process(intent: Intent) -> bool:
    config = intent.act.node.config
    return isinstance(config, CallConfig) and (config.tool.kind == "shell" or "isolate" in config.tool.config)
