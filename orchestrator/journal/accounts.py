"""What was spent in one account of a run: the fold's part of budgets, with no graph at hand.

An account is an activation with a budget; the run is one, at the path ``""``. A ``started`` names those around it, and
each of them is charged: its worst case while the attempt runs, what it took when it has ended, and the worst case for
good where its end will never be known. Nothing here is ever reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Amounts: TypeAlias = "dict[str, int]"
"""By dimension: ``usd`` in micro-dollars, ``tokens``, and counts of ``model_calls``, ``tool_calls`` and ``agents``."""

COUNTED = {"model": "model_calls", "tool": "tool_calls"}
"""What an attempt counts as, by what it calls."""


class Totals:
    """What one account has seen. ``time`` in microseconds; ``running`` attempts began at ``since`` in sum."""

    __slots__ = ("lost", "open", "path", "running", "settled", "since", "time")

    def __init__(self, path: str) -> None:
        self.path = path
        self.settled: Amounts = {}
        self.open: Amounts = {}
        self.lost: Amounts = {}
        self.time = 0
        self.running = 0
        self.since = 0

    def spent(self, dimension: str) -> int:
        """Settled, open and lost."""
        return self.settled.get(dimension, 0) + self.open.get(dimension, 0) + self.lost.get(dimension, 0)

    def spent_time(self, now: int) -> int:
        """Microseconds of all attempts, those that run counted up to ``now``."""
        return self.time + self.running * now - self.since

    def reserve(self, need: Mapping[str, int], *, at: int) -> None:
        """An attempt has started that may take so much."""
        _add(self.open, need)
        self.running += 1
        self.since += at

    def settle(self, need: Mapping[str, int], used: Mapping[str, int], *, begun: int, at: int) -> None:
        """It has ended, and took so much."""
        self._close(need, begun=begun, at=at)
        _add(self.settled, used)

    def lose(self, need: Mapping[str, int], *, begun: int, at: int) -> None:
        """How it ended will never be known: all that it may have taken stays charged."""
        self._close(need, begun=begun, at=at)
        _add(self.lost, need)

    def _close(self, need: Mapping[str, int], *, begun: int, at: int) -> None:
        for dimension, amount in need.items():
            self.open[dimension] -= amount
        self.running -= 1
        self.since -= begun
        self.time += max(at - begun, 0)


def needed(body: Mapping[str, Any]) -> Amounts:
    """What a ``started`` reserves. A price that is not known is no amount."""
    reserve: dict[str, int | None] = body.get("reserve") or {}
    need = {dimension: amount for dimension, amount in reserve.items() if amount}
    counted = COUNTED.get(body.get("what", ""))
    if counted is not None:
        need[counted] = 1
    return need


def used(need: Mapping[str, int], body: Mapping[str, Any]) -> Amounts:
    """What an attempt took, by its end. What it does not say costs as much as was reserved."""
    found = dict(need)
    cost = body.get("cost", 0)
    if cost is not None:
        found["usd"] = cost
    if cost is not None or "usage" in body:
        found["tokens"] = body.get("tokens") or 0
    return found


def _add(amounts: Amounts, more: Mapping[str, int]) -> None:
    for dimension, amount in more.items():
        amounts[dimension] = amounts.get(dimension, 0) + amount
