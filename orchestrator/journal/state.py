"""The fold: what a run's records say, with no graph at hand.

``RunState.apply`` takes one record after the other; a state is nothing but the fold of a prefix of the journal. The
decider reads it and never writes it. Times are microseconds, money micro-dollars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from orchestrator.journal.accounts import Totals, needed, used
from orchestrator.journal.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.journal.accounts import Amounts
    from orchestrator.journal.records import Draft, Record

Status: TypeAlias = Literal["new", "running", "retrying", "waiting", "done", "failed", "skipped", "cancelled"]
_Apply: TypeAlias = Callable[["RunState", str, dict[str, Any], int, int], None]
ENDS: frozenset[str] = frozenset({"done", "failed", "skipped", "cancelled"})


class StepState:
    """What is recorded of one path.

    ``attempt`` counts the starts; ``logical`` those that an idempotency key tells apart; ``open``: an attempt is
    started and not ended; ``lost``: whether the last attempt had its effect will never be known; ``ended_seq`` orders
    the ends. ``reply`` is a model's, ``round`` counts how often a resume took the end back, ``failures`` the failed
    attempts since; ``expanded`` what was decided at run time, ``fired`` the timer that went off (at ``fired_seq``),
    ``resolved`` what a person said; ``model`` which one of a fallback's the attempt calls, or the next one will.
    ``asked`` is the question for approval that it waits on (at ``asked_at``, ``asked_seq``), until the call starts, and
    ``answered`` the last answer to one. ``limit`` is the budget that stopped it; ``agent`` is the one whose model
    is called; ``last``: the attempt is an agent's
    last turn under one. Of an open attempt ``need`` is what it reserved, ``accounts`` are those that it did so in, and
    ``begun`` is when.
    """

    __slots__ = (
        "accounts", "agent", "answered", "asked", "asked_at", "asked_seq", "attempt", "begun", "cost", "effect",
        "ended_at", "ended_seq", "error", "expanded", "failures", "files", "fired", "fired_seq", "handled",
        "key", "last", "limit", "logical", "lost", "model", "need", "open", "output", "output_size", "overflow",
        "path", "reply", "request", "reserve", "resolved", "retry_at", "round", "started_at", "status",
        "tokens", "tool", "waiting",
    )  # fmt: skip

    def __init__(self, path: str) -> None:
        self.path = path
        self.status: Status = "new"
        self.attempt = 0
        self.logical = 1
        self.round = 1
        self.failures = 0
        self.model = 0
        self.agent: str | None = None
        self.open = False
        self.lost = False
        self.output: Any = None
        self.error: dict[str, Any] | None = None
        self.reply: dict[str, Any] | None = None
        self.expanded: dict[str, Any] | None = None
        self.files: dict[str, Any] | None = None
        self.overflow: str | None = None
        self.output_size = 0
        self.waiting: dict[str, Any] | None = None
        self.resolved: dict[str, Any] | None = None
        self.asked: dict[str, Any] | None = None
        self.asked_at = 0
        self.asked_seq = 0
        self.answered: dict[str, Any] | None = None
        self.fired: str | None = None
        self.fired_seq = 0
        self.handled: str | None = None
        self.key: str | None = None
        self.effect: str | None = None
        self.tool: str | None = None
        self.request: str | None = None
        self.reserve = 0
        self.need: Amounts = _NOTHING
        self.accounts: tuple[Totals, ...] = ()
        self.begun = 0
        self.limit: dict[str, Any] | None = None
        self.last = False
        self.cost: int | None = 0
        self.tokens = 0
        self.retry_at: int | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.ended_seq = 0

    @property
    def ended(self) -> bool:
        """True when the step has its last end: nothing more is ever recorded of it."""
        return self.status in ENDS


class RunState:
    """The fold of a run's records. ``messages`` for agents by path: the turn that reads each, and its text; ``missed``
    those that came too late, with their paths; ``compactions`` of conversations, by path and the turn before which they
    come; ``kept`` is what agents keep; ``added`` what people added to budgets, by account; ``finishing`` the accounts
    whose agents get a last turn; ``approve`` says whether people are asked (``ask``) or all that needs an approval is
    refused (``never``); ``taken`` what was taken of bounds, by the path of whose bound it is, and of what."""

    def __init__(self) -> None:
        self.steps: dict[str, StepState] = {}
        self.head = 0
        self.epoch = 0
        self.at = 0
        self.before = 0
        self.started: dict[str, Any] = {}
        self.started_at = 0
        self.approve = "ask"
        self.finished: dict[str, Any] | None = None
        self.finished_at: int | None = None
        self.resumed_at = 0
        self.cancel: dict[str, Any] | None = None
        self.cancel_seq = 0
        self.paused: dict[str, Any] | None = None
        self.claim: dict[str, Any] = {}
        self.opens: dict[str, StepState] = {}
        self.accounts: dict[str, Totals] = {}
        self.added: dict[str, Amounts] = {}
        self.limit: dict[str, Any] | None = None
        self.limit_seq = 0
        self.finishing: set[str] = set()
        self.messages: dict[str, list[tuple[int, str]]] = {}
        self.missed: list[tuple[str, str]] = []
        self.compactions: dict[tuple[str, int], dict[str, Any]] = {}
        self.kept = Kept()
        self.settled = 0
        self.reserved = 0
        self.lost = 0
        self.lost_tokens = 0
        self.tokens = 0
        self.taken: dict[tuple[str, str], int] = {}
        self.unpriced = False

    @property
    def spend(self) -> int:
        """Micro-dollars: settled, and reserved by attempts that are open or lost."""
        return self.settled + self.reserved + self.lost

    @property
    def status(self) -> str:
        """Of the run, as far as its records tell: ``running waiting paused`` or its end."""
        if self.finished is not None:
            return str(self.finished["status"])
        if self.paused is not None:
            return "paused"
        waits = not self.opens and any(step.waiting is not None for step in self.steps.values())
        return "waiting" if waits else "running"

    def step(self, path: str) -> StepState:
        """The state of a path; a new one where nothing is recorded."""
        found = self.steps.get(path)
        if found is None:
            found = self.steps[path] = StepState(path)
        return found

    def apply(self, record: Record | Draft, *, seq: int, at: int, epoch: int = 0) -> None:
        """Fold one record. ``seq`` and ``at`` are those it has, or will have."""
        self.head = seq
        self.before, self.at = self.at, at
        if epoch:
            self.epoch = epoch
        self._fold[record.kind](self, record.path, record.body, seq, at)

    def _run_started(self, _path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        self.started = body
        self.started_at = at
        self.approve = body.get("approve", "ask")

    def _claimed(self, _path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        self.claim = body
        self.paused = None
        # What was under way ended with its driver, which was last seen then.
        seen = max(self.before, (body.get("previous") or {}).get("renewed_at", 0))
        for step in self.opens.values():
            self._lose(step, min(seen, at))
        self.opens.clear()

    def totals(self, path: str) -> Totals:
        """What was spent in an account."""
        found = self.accounts.get(path)
        if found is None:
            found = self.accounts[path] = Totals(path)
        return found

    def _lose(self, step: StepState, at: int) -> None:
        """The end of an open attempt will never be known: what it reserved stays charged."""
        for account in step.accounts:
            account.lose(step.need, begun=step.begun, at=at)
        step.accounts = ()
        step.open = False
        step.lost = True
        self.reserved -= step.reserve
        self.lost += step.reserve
        tokens = step.need.get("tokens", 0)
        self.lost_tokens += tokens
        self.tokens += tokens
        step.tokens += tokens
        step.cost = None if step.cost is None else step.cost + step.reserve
        step.reserve = 0

    def _started(self, path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        step = self.step(path)
        step.status = "running"
        step.attempt = body["attempt"]
        step.logical = body.get("logical", 1)
        step.key = body.get("key")
        step.effect = body.get("effect")
        step.agent = body.get("agent")
        step.tool = body.get("tool")
        step.request = body.get("hash")
        step.open = True
        step.lost = False
        step.waiting = step.resolved = step.asked = None
        step.retry_at = None
        if step.started_at is None:
            step.started_at = at
        reserve = body.get("reserve")
        if reserve:
            step.reserve = reserve.get("usd") or 0
            self.reserved += step.reserve
        self.opens[path] = step
        step.last = "last" in body
        step.begun = at
        step.need = needed(body)
        step.accounts = tuple([self.totals(each) for each in around(body)])
        for account in step.accounts:
            account.reserve(step.need, at=at)

    def _close(self, step: StepState, body: dict[str, Any], at: int) -> None:
        """End the open attempt, and settle what it reserved."""
        if not step.open:
            return
        taken = used(step.need, body)
        for account in step.accounts:
            account.settle(step.need, taken, begun=step.begun, at=at)
        step.accounts = ()
        step.open = False
        del self.opens[step.path]
        self.reserved -= step.reserve
        tokens = body.get("tokens") or taken.get("tokens", 0)
        cost = body.get("cost", 0)
        if cost is None and step.reserve:
            cost = step.reserve
        step.reserve = 0
        if cost is None:
            self.unpriced = True
            step.cost = None
        else:
            self.settled += cost
            step.cost = None if step.cost is None else step.cost + cost
        step.tokens += tokens
        self.tokens += tokens

    def _end(self, path: str, status: Status, body: dict[str, Any], seq: int, at: int) -> StepState:
        step = self.step(path)
        self._close(step, body, at)
        step.status = status
        step.ended_at = at
        step.ended_seq = seq
        step.retry_at = None
        step.waiting = step.asked = None
        step.lost = False
        return step

    def _done(self, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        step = self._end(path, "done", body, seq, at)
        step.output = body.get("output")
        step.reply = body.get("reply")
        step.files = body.get("files")
        step.overflow = body.get("overflow")
        step.output_size = body.get("size", 0)
        if "kept" in body:
            self.kept.apply(body["kept"], step.output)
        if step.error is not None and body.get("by") != "fallback":
            step.error = None

    def _failed(self, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        step = self._end(path, "failed", body, seq, at)
        step.error = {key: body[key] for key in ("code", "message", "status", "detail", "step") if key in body}
        step.handled = body.get("handled")
        step.lost = body.get("in_doubt", False)
        # To the next model of a fallback it is the same try: only one that all of them failed counts.
        step.model = body.get("fallback", step.model)
        step.failures += not body.get("fallback")
        if body.get("no_effect"):
            step.logical += 1
        if "retry_at" in body:
            step.status = "retrying"
            step.retry_at = body["retry_at"]
        elif step.handled == "step":
            step.status = "running"

    def _skipped(self, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        self._end(path, "skipped", body, seq, at)

    def _cancelled(self, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        self._end(path, "cancelled", body, seq, at).lost = body.get("in_doubt", False)

    def _expanded(self, path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        step = self.step(path)
        self._close(step, body, at)
        step.status = "running"
        step.started_at = at
        step.expanded = body
        self._take(body, 1)

    def _take(self, expanded: dict[str, Any], times: int) -> None:
        """Count what was made at run time against the bounds of those who made it."""
        for path, what, amount in expanded.get("takes", ()):
            self.taken[path, what] = self.taken.get((path, what), 0) + times * amount

    def _waiting(self, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        step = self.step(path)
        if step.open:
            del self.opens[path]
            self._lose(step, at)
        step.status = "waiting"
        step.waiting = body
        step.asked = body if body.get("reason") == "approval" else None
        step.asked_at, step.asked_seq = at, seq

    def _answered(self, path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        step = self.step(path)
        step.answered = body
        step.waiting = None
        self.paused = None

    def _resolved(self, path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        step = self.step(path)
        step.resolved = body
        step.waiting = None
        self.paused = None

    def _fired(self, path: str, body: dict[str, Any], seq: int, _at: int) -> None:
        step = self.step(path)
        step.fired, step.fired_seq = body["timer"], seq

    def _limit_reached(self, path: str, body: dict[str, Any], seq: int, _at: int) -> None:
        if body["then"] == "finish":
            self.finishing.add(path)
        elif body["then"] == "fail" and not path:
            self.limit, self.limit_seq = body, seq
        elif body["then"] == "fail":
            step = self.step(path)
            step.fired, step.fired_seq, step.limit = "limit", seq, body

    def _budget_added(self, path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        added = self.added.setdefault(path, {})
        for dimension, amount in body["add"].items():
            added[dimension] = added.get(dimension, 0) + amount
        self.finishing.discard(path)
        self.paused = None

    def _cancel_requested(self, _path: str, body: dict[str, Any], seq: int, _at: int) -> None:
        self.cancel, self.cancel_seq = body, seq

    def _paused(self, _path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        self.paused = body

    def _resumed(self, _path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        """An explicit resume of a run that had ended: its end, and those of the steps named, are taken back."""
        self.resumed_at = at
        self.paused = None
        self.finished = None
        self.finished_at = None
        self.cancel = self.limit = None
        self.finishing.clear()
        for path in body.get("reopen", ()):
            step = self.step(path)
            self._reopen(step)
            if step.expanded is not None and not {"case", "takes"} & step.expanded.keys():
                # The list may be another one by now; its items keep their ends by their keys.
                step.expanded = None
        for path in body.get("again", ()):
            step = self.step(path)
            self._reopen(step)
            self._take(step.expanded or {}, -1)
            step.expanded = None
            self.kept.forget(path)

    def _reopen(self, step: StepState) -> None:
        """Take an end back. Attempts go on counting; only what was done well has a new key when it is done again. What
        was in doubt is in doubt."""
        step.logical += step.status == "done"
        step.status = "running" if step.lost else "new"
        step.round += 1
        step.failures = step.model = 0
        step.limit = step.asked = step.answered = None
        step.error = step.handled = step.fired = step.waiting = step.resolved = step.retry_at = step.ended_at = None

    def _finished(self, _path: str, body: dict[str, Any], _seq: int, at: int) -> None:
        self.finished = body
        self.finished_at = at

    def _received(self, path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        """A message for an agent has the turn that reads it with it; who resumes a run may change who approves."""
        if "mode" in body:
            self.approve = body["mode"]
        if "turn" in body:
            self.messages.setdefault(path, []).append((body["turn"], body["text"]))
        elif body.get("kind") == "message":
            self.missed.append((path, body.get("text", "")))

    def _compacted(self, path: str, body: dict[str, Any], _seq: int, _at: int) -> None:
        self.compactions[path, body["turn"]] = body

    def _noted(self, _path: str, _body: dict[str, Any], _seq: int, _at: int) -> None:
        """Records that change nothing here."""

    _fold: ClassVar[dict[str, _Apply]] = {
        "run_started": _run_started,
        "claimed": _claimed,
        "started": _started,
        "done": _done,
        "failed": _failed,
        "skipped": _skipped,
        "cancelled": _cancelled,
        "expanded": _expanded,
        "waiting": _waiting,
        "resolved": _resolved,
        "fired": _fired,
        "cancel_requested": _cancel_requested,
        "paused": _paused,
        "resumed": _resumed,
        "run_finished": _finished,
        "received": _received,
        "answered": _answered,
        "compacted": _compacted,
        "limit_reached": _limit_reached,
        "budget_added": _budget_added,
        "inherited": _noted,
    }


_NOTHING: Amounts = {}


def around(started: dict[str, Any]) -> list[str]:
    """The accounts around an attempt, innermost first; the run is the last one."""
    account = started.get("account", "")
    return [account, *started.get("within", ()), ""] if account else [""]


def fold(records: Iterable[Record]) -> RunState:
    """The state after all of ``records``, which start at the first."""
    state = RunState()
    for record in records:
        state.apply(record, seq=record.seq, at=record.at, epoch=record.epoch)
    return state
