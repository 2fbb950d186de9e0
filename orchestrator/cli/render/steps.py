"""The steps of a run, as a tree of their paths."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from orchestrator.cli.render.text import one_line
from orchestrator.cli.render.values import MARKS, count, elapsed, moment, money, usd
from orchestrator.frozen import field, slotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.screen import Screen
    from orchestrator.journal.state import RunState, StepState


MANY = 12
"""More steps than this inside of one are counted, where not all of the tree was asked for."""


@slotted(eq=False)
class Branch:
    """A step and those inside it. ``name`` is what its path adds to that of the branch around it; ``over`` is when its
    run ended, in microseconds (None: it has not)."""

    path: str
    name: str
    step: StepState | None = None
    inner: list[Branch] = field(default_factory=list[Any])
    over: int | None = None

    @property
    def status(self) -> str:
        """As it is shown: what has no end in a run that is over was stopped with it."""
        if self.step is not None and (self.step.ended or self.over is None):
            return self.step.status
        if self.over is None:
            return "running"
        if self.step is not None or self.calls:
            return "cancelled"
        return "cancelled" if any(each.status == "cancelled" for each in self.inner) else "done"

    def walk(self) -> Iterator[Branch]:
        """The branch and all inside it, each before what it holds."""
        yield self
        for each in self.inner:
            yield from each.walk()

    @property
    def calls(self) -> list[StepState]:
        """Of an agent, its model calls: turns, and what sums its conversation up."""
        return [each.step for each in self.inner if each.step is not None and each.step.agent is not None]

    @property
    def turns(self) -> int:
        """Of an agent, how often its model was asked to go on."""
        return sum(not step.path.rpartition("/")[2].startswith("compact") for step in self.calls)

    @property
    def agents(self) -> list[str]:
        """The agents that had control, one after the other."""
        return [name for name, _ in groupby(step.agent or "" for step in self.calls)]

    @property
    def own_tokens(self) -> int:
        """Of an agent's own model calls."""
        return sum(step.tokens for step in self.calls)

    @property
    def own_cost(self) -> int | None:
        """Micro-dollars of an agent's own model calls; None where a part of them is not known."""
        costs = [None if step.cost is None else step.cost + step.reserve for step in self.calls]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def tokens(self) -> int:
        """Of the step and all inside it."""
        return sum(each.step.tokens for each in self.walk() if each.step)

    @property
    def cost(self) -> int | None:
        """Micro-dollars of the step and all inside it; None where a part of them is not known."""
        total = 0
        for each in self.walk():
            if each.step is not None:
                if each.step.cost is None:
                    return None
                total += each.step.cost + each.step.reserve
        return total


def split_path(path: str) -> list[str]:
    """The parts of a path, each with what stands before it: ``a/b[c/d]#2`` is ``a``, ``a/b``, ``a/b[c/d]``, itself."""
    cuts: list[str] = []
    depth = 0
    for at, char in enumerate(path):
        if depth == 0 and at and char in "/[#":
            cuts.append(path[:at])
        depth += (char == "[") - (char == "]")
    return [*cuts, path]


def within(path: str, step: str | None) -> bool:
    """Whether ``path`` is that of ``step`` or of something inside it; True of every path where ``step`` is None."""
    return (
        step is None or path == step or (path.startswith(step) and path[len(step) : len(step) + 1] in ("/", "[", "#"))
    )


def grow(state: RunState) -> list[Branch]:
    """The branches at the top, in the order in which the run reached them; calls of one turn as its model made them."""
    found: dict[str, Branch] = {}
    top: list[Branch] = []
    for path, step in state.steps.items():
        if not path:
            continue
        around: Branch | None = None
        for part in split_path(path):
            branch = found.get(part)
            if branch is None:
                name = part[len(around.path) :].lstrip("/") if around else part
                branch = Branch(part, name, over=None if state.finished is None else state.finished_at)
                found[part] = branch
                (around.inner if around else top).append(branch)
            around = branch
        assert around is not None
        around.step = step
    for branch in found.values():
        if len(branch.inner) > 1 and branch.step is not None and branch.step.agent is not None:
            branch.inner.sort(key=_called)
    return top


def _called(branch: Branch) -> int:
    """The place of a call among those of its turn; what is none comes first."""
    number = branch.name.removeprefix("tool")
    return int(number) if number != branch.name and number.isdecimal() else -1


def outline(screen: Screen, branches: list[Branch], now: int, *, depth: int | None, stream: Any) -> Iterator[str]:
    """A line per branch, down to ``depth`` levels (None: all).

    With a depth, a step that holds many shows those that are not done, and counts the others.
    """
    for branch in branches:
        yield from _lines(screen, branch, "", now, depth, stream)


def _lines(screen: Screen, branch: Branch, indent: str, now: int, depth: int | None, stream: Any) -> Iterator[str]:
    yield indent + branch_line(screen, branch, now, stream=stream)
    if depth is not None and depth <= 1:
        return
    inner = branch.inner
    if depth is not None and len(inner) > MANY:
        inner = [each for each in inner if each.step is None or each.status != "done"][:MANY]
        rest = Counter(each.status for each in branch.inner if each.step is not None and each not in inner)
        told = ", ".join(f"{number} {status}" for status, number in sorted(rest.items()))
        if told:
            yield f"{indent}  {screen.style('… ' + told, 'dim', stream=stream)}"
    for each in inner:
        yield from _lines(screen, each, indent + "  ", now, None if depth is None else depth - 1, stream)


def branch_line(screen: Screen, branch: Branch, now: int, *, stream: Any) -> str:
    """A step on one line: mark, name, status, attempt, time, tokens, cost, and what went wrong."""
    step = branch.step
    status = branch.status
    mark, color = MARKS.get(status, ("?", "dim"))
    parts = [screen.style(mark, color, stream=stream), one_line(branch.name, 60)]
    if branch.agents:
        parts.append(one_line(f"({' → '.join(branch.agents)})", 80))
    facts = step_facts(branch, now)
    if facts:
        parts.append(screen.style("  ".join(facts), "dim", stream=stream))
    if step is not None and step.error is not None and status != "done":
        parts.append(
            screen.style(one_line(f"{step.error.get('code')}: {step.error.get('message')}", 100), "red", stream=stream)
        )
    return " ".join(parts)


def step_facts(branch: Branch, now: int) -> list[str]:
    """What there is to say of a step besides its name: all but what is plain."""
    step = branch.step
    facts: list[str] = []
    if step is None and not branch.calls:
        return facts
    status = branch.status
    if status not in ("done", "failed"):
        facts.append(status)
    if step is not None and step.attempt > 1:
        facts.append(f"attempt {step.attempt}")
    if step is not None and step.started_at is not None:
        until = (
            step.ended_at if step.ended and step.ended_at else branch.over or now or step.ended_at or step.started_at
        )
        facts.append(elapsed(until - step.started_at))
    tokens, cost = branch.tokens, branch.cost
    if branch.calls:
        facts.append(f"{count(branch.turns)} turn{'s' if branch.turns > 1 else ''}")
        if branch.own_tokens != tokens:
            facts.append(f"own {count(branch.own_tokens)} tokens  {money(branch.own_cost)}, with all inside")
    if tokens:
        facts.append(f"{count(tokens)} tokens")
    if cost is None or cost or tokens:
        facts.append(money(cost))
    return facts


def _team(branch: Branch) -> dict[str, Any]:
    """Of an agent: who it is (those that had control, in order), its turns, and what it used itself."""
    if not branch.calls:
        return {}
    own = {"own_usd": usd(branch.own_cost), "own_tokens": branch.own_tokens}
    return {"agents": branch.agents, "turns": branch.turns, **own}


def step_object(branch: Branch, *, io: bool) -> dict[str, Any]:
    """A step as programs read it; with ``io`` what it gave, too."""
    step = branch.step
    if step is None:
        return {"path": branch.path, "status": None if branch.over is None else branch.status, **_team(branch)}
    found: dict[str, Any] = {
        "path": branch.path,
        "status": branch.status,
        "attempt": step.attempt,
        "started_at": moment(step.started_at),
        "ended_at": moment(step.ended_at),
        "seconds": None
        if step.ended_at is None or step.started_at is None
        else (step.ended_at - step.started_at) / 1e6,
        "usd": usd(branch.cost),
        "tokens": branch.tokens,
        "error": step.error,
        "waiting": step.waiting,
    }
    found |= _team(branch)
    if io:
        found |= {"output": step.output, "files": step.files}
    return found
