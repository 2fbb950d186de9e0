"""The gate between what is permitted and what starts: budgets, places of the process, and time.

An attempt whose worst case does not fit waits at the account and dimension that is too small, the smallest first, and
is looked at again only when something was settled there: a thousand that wait cost nothing while they do. Where none
that runs could give anything back, the limit is reached, and that is a record for the decider to act on.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from orchestrator.engine.activation import Act, Intent
from orchestrator.engine.budgets import CALLS, TIMES, Short, short, told
from orchestrator.frozen import field, frozen, slotted
from orchestrator.graph.nodes import AgentConfig
from orchestrator.journal.records import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.engine.budgets import Account, Then
    from orchestrator.engine.decide import Decider

Need: TypeAlias = "Mapping[str, int | None]"


@frozen
class Start:
    """An attempt that may start now, and what it reserves (None: nothing that its record has to say)."""

    intent: Intent
    reserve: Need | None


@frozen(kw_only=True)
class Ask:
    """What the gate asks its driver. ``reserve(intent)`` is the worst case of a model call, and with ``after=True``
    that of the last turn after it; ``place(intent)`` takes a place for it in this process, or names what is missing."""

    reserve: Callable[..., dict[str, int | None]]
    place: Callable[[Intent], str]


@slotted
class _Wanted:
    """A permitted attempt with its price, and what stays free beside it: ``spare``, and what is held for the agents
    at ``beside`` (None: for all others)."""

    intent: Intent
    need: dict[str, int | None]
    spare: Mapping[str, int]
    reserve: Need | None = None
    beside: tuple[str, ...] | None = None


@slotted
class Gate:
    """Which permitted attempts of one run start. ``paused``: what was said of the accounts that wait for more."""

    decider: Decider
    ask: Ask
    paused: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    _later: list[tuple[int, int, Intent]] = field(default_factory=list["tuple[int, int, Intent]"])
    _ready: deque[Intent] = field(default_factory=deque["Intent"])
    _crowded: dict[str, deque[_Wanted]] = field(default_factory=dict[str, "deque[_Wanted]"])
    _waiting: dict[str, dict[str, list[tuple[int, int, _Wanted]]]] = field(
        default_factory=dict[str, "dict[str, list[tuple[int, int, _Wanted]]]"]
    )
    _at: dict[str, Intent] = field(default_factory=dict[str, "Intent"])
    _dirty: dict[str, Account] = field(default_factory=dict[str, "Account"])
    _order: Iterator[int] = field(default_factory=count)

    # What happens

    def settled(self, account: Account) -> None:
        """An attempt has ended in an account: what waits there, or around it, is looked at again."""
        for each in account.chain():
            if each.path in self._waiting:
                self._dirty[each.path] = each

    def added(self, path: str) -> None:
        """There is more in an account."""
        self.paused.pop(path, None)
        account = self.decider.budgets.accounts.get(path)
        if account is not None:
            self.settled(account)

    def cancelled(self) -> None:
        """Nobody will add anything to a run that is to end: what cleans up after it waits for nothing."""
        self.paused.clear()
        accounts = self.decider.budgets.accounts
        self._dirty.update({path: accounts[path] for path in self._waiting if path in accounts})

    # What may start

    def pending(self, now: int) -> bool:
        """Whether ``take`` could give anything new."""
        due = bool(self._later) and self._later[0][0] <= now
        return due or bool(self._ready or self._dirty or self._crowded or self.decider.fresh)

    def due(self, now: int) -> int | None:
        """When to look again, though nothing has happened: a retry, or a bound of time."""
        times = [self._later[0][0]] if self._later else []
        times += [at for account in self.decider.budgets.timed.values() if (at := _runs_out(account, now)) is not None]
        return min(times, default=None)

    def take(self, now: int) -> Iterator[Start | Draft]:
        """What starts now, and limits that are reached. Each has to be applied before the next one is asked for, and
        after a limit the decider has to decide."""
        self._sort(now)
        # Who waits comes before who is new.
        if self._dirty:
            yield from self._look(now)
        while self._ready:
            intent = self._ready.popleft()
            if self._stands(intent):
                yield from self._try(self._wanted(intent), now)
        for name in list(self._crowded):
            yield from self._places(name, now)
        if self._dirty:
            yield from self._look(now)

    def overdue(self, now: int) -> Iterator[Draft]:
        """Accounts whose time is over, where that stops what they bound; a pause only lets nothing more start."""
        for account in list(self.decider.budgets.timed.values()):
            due = account.due(now)
            if due is None or due[1] > now or account.then == "pause":
                continue
            targets = self._made(account) if account.shared else [self._bounded(account)]
            found = [target for target in targets if target is not None]
            for target in found:
                yield _limit(Short(account, due[0], 0, 0), "fail", target, None)
            if not found:
                self.decider.budgets.over(account.path)

    def lacks(self, name: str) -> bool:
        """Whether attempts wait for a place of that name."""
        return name in self._crowded

    @property
    def crowded(self) -> list[Intent]:
        """The attempts that wait for a place in this process."""
        every = (wanted.intent for queue in self._crowded.values() for wanted in queue)
        return [intent for intent in every if self._stands(intent)]

    @property
    def idle(self) -> bool:
        """Whether all that is permitted waits for more in its accounts."""
        return all(self._at.get(path) is intent for path, intent in self.decider.permitted.items())

    # Inside

    def _look(self, now: int) -> Iterator[Start | Draft]:
        """Look again at what waits where something was settled."""
        while self._dirty:
            path = next(iter(self._dirty))
            account = self._dirty.pop(path)
            for dimension in list(self._waiting.get(path, ())):
                yield from self._again(account, dimension, now)

    def _stands(self, intent: Intent) -> bool:
        return self.decider.permitted.get(intent.path) is intent

    def _sort(self, now: int) -> None:
        fresh, self.decider.fresh = self.decider.fresh, {}
        for intent in fresh.values():
            self._hold(intent)
            if intent.not_before > now:
                heappush(self._later, (intent.not_before, next(self._order), intent))
            else:
                self._ready.append(intent)
        while self._later and self._later[0][0] <= now:
            self._ready.append(heappop(self._later)[2])

    def _hold(self, intent: Intent) -> None:
        """What agents were promised before they were taken up again: their last turns stay free."""
        if not _may_finish(intent):
            return
        for agent in _agents(intent.act):
            talk = agent.data
            if talk.conversation.turn and not any(agent.path in each.holds for each in agent.account.chain()):
                self.decider.budgets.hold(agent, self._turns(_next_turn(agent), 1 + len(talk.control.held)))

    def _turns(self, intent: Intent, count: int, *, after: bool = False) -> dict[str, int]:
        """What so many last turns take."""
        if not count:
            return {}
        one = _known(self.ask.reserve(intent, after=after) | {"model_calls": 1})
        return {dimension: amount * count for dimension, amount in one.items()}

    def _wanted(self, intent: Intent) -> _Wanted:
        if intent.what == "tool":
            return _Wanted(intent, {"tool_calls": 1}, _NONE)
        if intent.kind != "model":
            return _Wanted(intent, {}, _NONE)
        reserve = self.ask.reserve(intent)
        step = intent.act.recorded
        if intent.act.role == "turn" and intent.path.endswith("/turn1") and (step is None or not step.attempt):
            reserve["agents"] = 1
        need = {**reserve, "model_calls": 1}
        if intent.act.role != "turn" or not _may_finish(intent):
            return _Wanted(intent, need, _NONE, reserve)
        agent, *around = _agents(intent.act)
        # Those that lent control have their last turns after this one.
        spare = self._turns(intent, len(agent.data.control.held) + (not intent.last), after=True)
        takes_own = intent.last and not (around and _is_first(agent))
        beside = tuple(each.path for each in around) if takes_own else None
        return _Wanted(intent, need, spare, reserve, beside)

    def _short(self, wanted: _Wanted, now: int) -> Short | None:
        act = wanted.intent.act
        agent = act.owner.path if act.role == "turn" else ""
        return short(act.account, wanted.need, now, spare=wanted.spare, path=agent, beside=wanted.beside)

    def _try(self, wanted: _Wanted, now: int) -> Iterator[Start | Draft]:
        """Start it, or have it wait at what is too small."""
        found = self._short(wanted, now)
        if found is None:
            yield from self._start(wanted)
            return
        account = found.account
        heap = self._waiting.setdefault(account.path, {}).setdefault(found.dimension, [])
        heappush(heap, (found.needed or 0, next(self._order), wanted))
        self._at[wanted.intent.path] = wanted.intent
        if not found.comes_back:
            self._dirty[account.path] = account

    def _start(self, wanted: _Wanted) -> Iterator[Start | Draft]:
        intent = wanted.intent
        self._at.pop(intent.path, None)
        missing = self.ask.place(intent)
        if missing:
            self._crowded.setdefault(missing, deque()).append(wanted)
            return
        if intent.act.role == "turn" and isinstance(intent.act.owner, Act):
            self.decider.budgets.hold(intent.act.owner, wanted.spare)
        yield Start(intent, wanted.reserve)

    def _places(self, name: str, now: int) -> Iterator[Start | Draft]:
        """Those that found no place, until there is none again."""
        queue = self._crowded.pop(name)
        while queue:
            wanted = queue.popleft()
            if self._stands(wanted.intent):
                yield from self._try(wanted, now)
                if name in self._crowded:
                    queue.extendleft(reversed(self._crowded[name]))
                    self._crowded[name] = queue
                    return

    def _again(self, account: Account, dimension: str, now: int) -> Iterator[Start | Draft]:
        """Start what fits now of what waits here. Where the smallest does not, and nothing comes back, say so."""
        heap = self._waiting[account.path][dimension]
        while heap:
            wanted = heap[0][2]
            found = self._short(wanted, now) if self._stands(wanted.intent) else None
            if found is not None and (found.account, found.dimension) == (account, dimension):
                if not found.comes_back:
                    yield from self._reached(found, wanted.intent)
                return
            heappop(heap)
            if self._stands(wanted.intent):
                yield from self._try(wanted, now)
        del self._waiting[account.path][dimension]

    # Limits

    def _reached(self, found: Short, intent: Intent) -> Iterator[Draft]:
        then, target = self._verdict(found, intent)
        if then == "pause":
            if target in self.paused:
                return
            self.paused[target] = told(found, then=then, step=intent.path)
        else:
            self._dirty[found.account.path] = found.account
        yield _limit(found, then, target, intent.path)

    def _verdict(self, found: Short, intent: Intent) -> tuple[Then, str]:
        """What a limit leads to, and for which activation."""
        account = found.account
        if found.needed is None:
            return "fail", intent.path
        if account.then == "pause" and self.decider.state.cancel is None:
            return "pause", account.path
        if account.then == "finish" and found.dimension not in TIMES:
            ended = self._finishing(found, intent)
            if ended is not None:
                return ended
        target = _topmost(intent.act, account) if account.shared else self._bounded(account)
        return "fail", intent.path if target is None else target

    def _finishing(self, found: Short, intent: Intent) -> tuple[Then, str] | None:
        """What a limit leads to where agents may finish; None where there is nobody left to do so."""
        account, role, owner = found.account, intent.act.role, intent.act.owner
        inside = role == "turn" and any(account in each.account.chain() for each in list(_agents(intent.act))[1:])
        begins = inside and found.dimension != "agents" and _is_first(cast("Act", owner))
        if account.path not in self.decider.state.finishing and role in ("turn", "tool") and not begins:
            return "finish", account.path
        if role in ("tool", "summary"):
            return "fail", intent.path
        if role == "turn" and cast("Act", owner).data.control.held:
            # Who lent control has its last turn.
            return "fail", intent.path
        return ("fail", cast("Act", owner).path) if inside else None

    def _made(self, account: Account) -> list[str]:
        """The agents in an account that they share."""
        data = None if account.act is None else account.act.data
        children: dict[str, Act] = {} if data is None else data.children
        return [each.path for each in children.values() if each.account is account and each.stop is None]

    def _bounded(self, account: Account) -> str | None:
        """The activation that a limit stops; None where it is on its way down already, and cleans up."""
        root = self.decider.root
        if account.act is None:
            return "" if root.stage == "main" and not root.stopping else None
        act = account.act
        step = act.recorded
        gone = act.stop is not None or act.path not in self.decider.acts
        return None if gone or (step is not None and step.handled == "step") else act.path


def _topmost(act: Act, account: Account) -> str:
    """The outermost activation around this one that is in the account."""
    found = act
    while isinstance(found.owner, Act) and account in found.owner.account.chain():
        found = found.owner
    return found.path


def _runs_out(account: Account, now: int) -> int | None:
    """When the time of an account is over; a pause needs nobody to look."""
    due = account.due(now)
    return None if due is None or account.then == "pause" else due[1]


def _agents(act: Act) -> Iterator[Act]:
    """The agents that an activation stands in, innermost first. A fallback stands in for its step, not in it."""
    found: Any = act
    while found is not None:
        found = found.owner.owner if isinstance(found, Act) and found.role == "fallback" else found.owner
        if isinstance(found, Act) and found.role not in CALLS and isinstance(found.node.config, AgentConfig):
            yield found


def _is_first(agent: Act) -> bool:
    """Whether an agent has had no turn yet."""
    return not agent.data.conversation.turn


def _next_turn(agent: Act) -> Intent:
    """The turn of an agent that follows what it does now."""
    talk = agent.data
    act = Act(
        talk.turn,
        f"{agent.path}/turn{talk.conversation.turn + 1}",
        kind="turn",
        scope=agent.scope,
        owner=agent,
        role="turn",
        state=agent.state,
        ready_at=agent.ready_at,
    )
    act.account = agent.account
    return Intent(act=act, kind="model", attempt=1, logical=1, hash="", effect="read", model=talk.models[0])


def _may_finish(intent: Intent) -> bool:
    return any(account.then == "finish" for account in intent.act.account.chain())


def _known(amounts: Mapping[str, int | None]) -> dict[str, int]:
    return {dimension: amount for dimension, amount in amounts.items() if amount}


def _limit(found: Short, then: Then, target: str, step: str | None) -> Draft:
    return Draft("limit_reached", target, told(found, then=then, step=step))


_NONE: Final[Mapping[str, int]] = {}
