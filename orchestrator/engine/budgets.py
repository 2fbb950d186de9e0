"""Budgets: which accounts are around an attempt, what is left in each, and whether an attempt fits them all.

An account is an activation with a budget; the run is always one. What was spent in it is the fold's (``Totals``), its
bounds are the graph's, the run's start and what people added. Nothing here is recorded and nothing is decided but
arithmetic: an attempt fits where its worst case, with all that is settled, open or lost, stays within every bound of
every account around it. So parallel attempts cannot overshoot together, and a child's budget is a cap of its own, not
a share taken out of its parent's.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from orchestrator.engine.activation import Act
from orchestrator.frozen import frozen
from orchestrator.graph.budgets import merged
from orchestrator.graph.nodes import AgentConfig, BudgetDef

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from orchestrator.engine.activation import BlockAct
    from orchestrator.graph.nodes import Graph, Node
    from orchestrator.journal.accounts import Totals
    from orchestrator.journal.state import RunState

Then: TypeAlias = Literal["fail", "pause", "finish"]

AMOUNTS: Final = ("usd", "tokens", "model_calls", "tool_calls", "agents")
"""Dimensions that an attempt reserves."""

CALLS: Final = frozenset({"turn", "summary", "reconcile", "hook"})
"""Roles of what is called for an activation, and is none that a budget could be of."""

TIMES: Final = ("time", "deadline")
"""Dimensions that pass by themselves."""


@frozen
class Short:
    """What keeps an attempt from starting: the account and dimension that is too small, what it needs there (None
    where no price is known), what is left, and how much of that is kept for last turns."""

    account: Account
    dimension: str
    needed: int | None
    left: int
    kept: int = 0

    @property
    def comes_back(self) -> bool:
        """Whether attempts that run may give back some of what they reserved there."""
        return self.account.totals.open.get(self.dimension, 0) > 0


class Account:
    """One activation with a budget. ``begun_at`` in microseconds; ``holds`` is what is kept free for the last turns of
    agents inside, by their paths, where the account lets them finish; ``timed``: a bound of time is there, and not
    reached; ``shared``: it is of the agents that ``act`` makes, and not of ``act``."""

    __slots__ = (
        "act", "added", "begun_at", "bounded", "budget", "held", "holds", "level", "parent", "path", "shared", "timed",
        "totals",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        budget: BudgetDef,
        *,
        parent: Account | None,
        totals: Totals,
        added: Mapping[str, int],
        begun_at: int,
        act: Act | None,
        level: int = 0,
    ) -> None:
        self.path = path
        self.budget = budget
        self.parent = parent
        self.totals = totals
        self.added = added
        self.begun_at = begun_at
        self.act = act
        self.level = level
        self.shared = False
        self.bounded = tuple(name for name in AMOUNTS if getattr(budget, name) is not None)
        self.timed = any(getattr(budget, name) is not None for name in TIMES)
        self.holds: dict[str, Mapping[str, int]] = {}
        self.held: dict[str, int] = {}

    @property
    def then(self) -> Then:
        """What a limit that is reached here leads to."""
        return self.budget.on_exceed or "fail"

    def chain(self) -> Iterator[Account]:
        """This account and those around it, the run's last."""
        account: Account | None = self
        while account is not None:
            yield account
            account = account.parent

    def limit(self, dimension: str) -> int | None:
        """The bound, with what was added; None where there is none."""
        bound = cast("int | None", getattr(self.budget, dimension))
        return None if bound is None else bound + self.added.get(dimension, 0)

    def left(self, dimension: str) -> int | None:
        """What may still be reserved; None without a bound. Less than nothing after what could not be foreseen."""
        bound = self.limit(dimension)
        return None if bound is None else bound - self.totals.spent(dimension)

    def due(self, now: int) -> tuple[str, int] | None:
        """Which bound of time is reached first, and when, if all goes on as at ``now``."""
        times: list[tuple[int, str]] = []
        deadline, time = self.limit("deadline"), self.limit("time")
        if deadline is not None:
            times.append((self.begun_at + deadline, "deadline"))
        if time is not None:
            left = time - self.totals.spent_time(now)
            running = self.totals.running
            if left <= 0:
                times.append((now, "time"))
            elif running:
                times.append((now + -(-left // running), "time"))
        return None if not times else (min(times)[1], min(times)[0])

    def short(
        self,
        need: Mapping[str, int | None],
        now: int,
        *,
        spare: Mapping[str, int],
        path: str,
        beside: Collection[str] | None,
    ) -> Short | None:
        """The first dimension in which ``need`` does not fit. ``spare`` has to stay free beside it, and what is held
        for the agents at ``beside`` (None: for all, but for the one at ``path``, whose own it is to use)."""
        due = self.due(now) if self.timed else None
        if due is not None and due[1] <= now:
            return Short(self, due[0], 0, 0)
        for dimension in self.bounded:
            wanted = need.get(dimension, 0)
            if wanted == 0:
                continue
            left = cast("int", self.left(dimension))
            if wanted is None:
                return Short(self, dimension, None, left)
            kept = self._kept(dimension, spare, path, beside)
            if wanted + kept > left:
                return Short(self, dimension, wanted, left, kept)
        return None

    def _kept(self, dimension: str, spare: Mapping[str, int], path: str, beside: Collection[str] | None) -> int:
        """What has to stay free beside a call."""
        if self.then != "finish":
            return 0
        if beside is None:
            others = self.held.get(dimension, 0) - self.holds.get(path, _NOTHING).get(dimension, 0)
        else:
            others = sum(self.holds.get(each, _NOTHING).get(dimension, 0) for each in beside)
        return others + spare.get(dimension, 0)

    def hold(self, path: str, amounts: Mapping[str, int]) -> None:
        """Keep so much free for the last turn of an agent; nothing, where it has ended."""
        for dimension, amount in self.holds.pop(path, {}).items():
            self.held[dimension] -= amount
        if amounts:
            self.holds[path] = amounts
            for dimension, amount in amounts.items():
                self.held[dimension] = self.held.get(dimension, 0) + amount


class Budgets:
    """The accounts of one run, by path."""

    def __init__(self, graph: Graph, state: RunState) -> None:
        self._state = state
        given: dict[str, Any] = state.started.get("budget") or {}
        budget = merged(graph.budget, BudgetDef(**given)) or BudgetDef()
        self.root = self._account("", budget, parent=None, begun_at=state.started_at, act=None)
        self.accounts: dict[str, Account] = {"": self.root}
        self.timed: dict[str, Account] = {}
        self.root.timed = self.root.timed and state.limit is None
        self._time(self.root)

    def enter(self, act: Act) -> Account:
        """The account of what is inside an activation: one of its own where it has a budget, else that around it."""
        around = account_around(act)
        budget = budget_of(act.node)
        if budget is None or act.role in CALLS:
            return around
        if act.node.kind == "spawn" and act.role == "tool":
            return self._shared(act, budget, around)
        account = self._account(act.path, budget, parent=around, begun_at=act.ready_at, act=act)
        account.level = nesting(act)
        step = self._state.steps.get(act.path)
        account.timed = account.timed and (step is None or step.limit is None)
        self.accounts[act.path] = account
        self._time(account)
        return account

    def _shared(self, act: Act, budget: BudgetDef, around: Account) -> Account:
        """The account of all agents that one makes: it is theirs together, and stops each by itself."""
        owner = cast("Act", act.owner)
        path = f"{owner.path}/@spawn"
        account = self.accounts.get(path)
        if account is None:
            account = self._account(path, budget, parent=around, begun_at=act.ready_at, act=owner)
            account.level, account.shared = nesting(owner), True
            self.accounts[path] = account
            self._time(account)
        return account

    def over(self, path: str) -> None:
        """The limit of an account was reached, and what it bounds is stopped: cleaning up has time."""
        account = self.accounts.get(path)
        if account is not None:
            account.timed = False
            self.timed.pop(path, None)

    def leave(self, act: Act) -> None:
        """An activation has ended: nothing is held for it, and no time runs for it."""
        self.timed.pop(act.path, None)
        self.timed.pop(f"{act.path}/@spawn", None)
        if isinstance(act.node.config, AgentConfig):
            self.hold(act, {})

    def hold(self, agent: Act, amounts: Mapping[str, int]) -> None:
        """Keep so much free for the last turn of an agent, wherever agents may finish."""
        for account in agent.account.chain():
            if account.then == "finish":
                account.hold(agent.path, amounts)

    def added(self, path: str) -> None:
        """Something was added to an account: its bounds are others now."""
        account = self.accounts.get(path)
        if account is not None:
            account.added = self._state.added[path]
            self._time(account)

    def _account(
        self, path: str, budget: BudgetDef, *, parent: Account | None, begun_at: int, act: Act | None
    ) -> Account:
        totals, added = self._state.totals(path), self._state.added.get(path, {})
        return Account(path, budget, parent=parent, totals=totals, added=added, begun_at=begun_at, act=act)

    def _time(self, account: Account) -> None:
        if account.timed:
            self.timed[account.path] = account


def account_around(act: Act) -> Account:
    """The account that an activation stands in. A fallback stands beside the step that failed, not in it."""
    owner: Act | BlockAct = act.owner
    if act.role == "fallback":
        owner = cast("Act", owner).owner
    return owner.account


def short(
    account: Account,
    need: Mapping[str, int | None],
    now: int,
    *,
    spare: Mapping[str, int] = MappingProxyType({}),
    path: str = "",
    beside: Collection[str] | None = None,
) -> Short | None:
    """What keeps an attempt from starting in ``account`` and in all around it; the innermost that is too small.

    ``need`` is its worst case. ``spare`` is what last turns would take after it, which stays free where agents may
    finish, and so does what is held for the agents at ``beside``: None, for all but the one at ``path``, its own.
    """
    for each in account.chain():
        found = each.short(need, now, spare=spare, path=path, beside=beside)
        if found is not None:
            return found
    return None


def too_deep(account: Account, level: int) -> Short | None:
    """The account in which an agent at this level of nesting stands deeper than its bound."""
    for each in account.chain():
        bound = each.limit("depth")
        if bound is not None and level - each.level > bound:
            return Short(each, "depth", level - each.level, bound)
    return None


def budget_of(node: Node) -> BudgetDef | None:
    """The budget of a node: its own and its agent's, the smaller one in each dimension."""
    if isinstance(node.config, AgentConfig):
        return merged(node.budget, node.config.agent.budget)
    return node.budget


def nesting(act: Act) -> int:
    """How many agents there are from the outermost one down to this activation, itself counted if it is one."""
    level = 0
    found: Any = act
    while found is not None:
        if isinstance(found, Act) and found.role not in CALLS and isinstance(found.node.config, AgentConfig):
            level += 1 + getattr(found.data, "handoffs", 0)
        found = found.owner
    return level


def is_last(state: RunState, account: Account) -> bool:
    """Whether a turn in this account is its agent's last one."""
    return bool(state.finishing) and any(each.path in state.finishing for each in account.chain())


def told(found: Short, *, then: Then = "fail", step: str | None = None) -> dict[str, Any]:
    """The body of a ``limit_reached``. ``step`` is the attempt that did not fit, if one did not."""
    body: dict[str, Any] = {
        "account": found.account.path,
        "dimension": found.dimension,
        "needed": found.needed,
        "left": found.left,
        "then": then,
    }
    body |= {"kept": found.kept} if found.kept else {}
    return body if step is None else body | {"step": step}


def limited(body: Mapping[str, Any]) -> dict[str, Any]:
    """The failure that a ``limit_reached`` leads to."""
    return {"code": "limited", "message": sentence(body), "detail": dict(body), "step": body.get("step")}


def sentence(body: Mapping[str, Any]) -> str:
    """A limit that was reached, in words."""
    account, dimension = body["account"], body["dimension"]
    whose = f"the budget of {account}" if account else "the run's budget"
    needed, left = body.get("needed"), body.get("left") or 0
    if dimension == "deadline":
        return f"the deadline of {whose} has passed"
    if dimension == "time":
        return f"the time of {whose} is used up"
    if dimension == "depth":
        return f"agents nest {needed} deep here, and {whose} allows {left}"
    if needed is None:
        return f"the price of the model is not known, and {whose} is in dollars"
    kept = body.get("kept") or 0
    free = f", with {shown(dimension, kept)} kept free for last turns" if kept else ""
    return f"{whose} has {shown(dimension, left)} left, and the next call may take {shown(dimension, needed)}{free}"


def shown(dimension: str, amount: int) -> str:
    """An amount with its unit."""
    if dimension == "usd":
        return f"${max(amount, 0) / 1_000_000:.6f}".rstrip("0").rstrip(".")
    word = dimension.replace("_", " ")
    return f"{max(amount, 0)} {word[:-1] if amount == 1 else word}"


_NOTHING: Final[Mapping[str, int]] = {}
