"""Every state of the model, or random walks through it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.model.protocol import Rules, State, finished, following, initial

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


@dataclass(slots=True)
class Found:
    """What an exploration saw. ``broken`` maps what was broken to the shortest way there."""

    states: int = 0
    ends: int = 0
    all_finished: int = 0
    broken: dict[str, list[Any]] = field(default_factory=dict)


def stuck(state: State) -> bool:
    """In a state that nothing follows: is there a driver that still has something to do?"""
    db, _, drivers, _ = state
    return any(
        held[0] in ("drives", "claims", "unsure") and not finished(db[run][2])
        for _, runs, _ in drivers
        for run, held in enumerate(runs)
    )


def exhaust(rules: Rules, *, to: str | None = None) -> Found:
    """Every state that can be reached, without a cap; with ``to`` up to where this is broken, and the way there.

    States beyond a broken one are not looked at.
    """
    first = initial(rules)
    came: dict[State, tuple[State, Any]] = {}
    seen = {hash(first)}
    todo = deque([first])
    found = Found()
    while todo:
        state = todo.popleft()
        found.states += 1
        nothing = True
        for action, after, bad in following(rules, state):
            nothing = False
            for what in bad:
                found.broken.setdefault(what, [*_way(came, state), action])
            if to in found.broken:
                return found
            key = hash(after)
            if bad or key in seen:
                continue
            seen.add(key)
            todo.append(after)
            if to:
                came[after] = (state, action)
        if nothing:
            found.ends += 1
            found.all_finished += all(finished(run[2]) for run in state[0])
            if stuck(state):
                found.broken.setdefault("stuck", _way(came, state))
    return found


def _way(came: dict[State, tuple[State, Any]], state: State) -> list[Any]:
    """The actions that led to a state."""
    actions: list[Any] = []
    while (step := came.get(state)) is not None:
        state, action = step
        actions.append(action)
    return actions[::-1]


def walk(rules: Rules, chance: random.Random, *, longest: int = 60) -> Iterator[tuple[Any, State]]:
    """A random walk from the start: each action, and the state after it."""
    state = initial(rules)
    for _ in range(longest):
        steps = list(following(rules, state))
        if not steps:
            return
        action, state, bad = chance.choice(steps)
        assert not bad, f"{action} broke {bad}"
        yield action, state
