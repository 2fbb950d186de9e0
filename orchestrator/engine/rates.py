"""What the calls of a model may take together: requests and tokens of any minute, and how many are under way.

One object per process, shared by its runs; pure bookkeeping. Runs that wait for one model stand in line, and each gets
one call when its turn comes: none starves, however many calls another one wants. Only the first in line may go on: it
is poked when something is given back, and told the time when a minute is over. Seconds are those of ``Clock.boot``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator.frozen import field, frozen, slotted
from orchestrator.jsonish import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MINUTE = 60.0
_WHOSE = ("provider", "api", "model", "base_url", "api_key", "limits")


@frozen(kw_only=True)
class Limits:
    """Those of one entry of ``models``; None: no bound."""

    requests: int | None = None
    tokens: int | None = None
    concurrency: int | None = None


@slotted(eq=False)
class Permit:
    """A call that was let go at ``at``. ``tokens`` is what it may use, and once it has ended what it did."""

    lane: Lane
    at: float
    tokens: int
    over: bool = False


@slotted(eq=False)
class Lane:
    """The calls of one model. ``past`` are those of the last minute, in their order; ``line`` are the runs that wait,
    each with the tokens of the call that it wants next.
    """

    limits: Limits
    past: deque[Permit] = field(default_factory=deque[Permit])
    line: dict[str, int] = field(default_factory=dict[str, int])
    running: int = 0
    tokens: int = 0


class Rates:
    """Lets calls go. ``poke(run)`` has a run ask again."""

    def __init__(self, boot: Callable[[], float], poke: Callable[[str], None]) -> None:
        self._boot = boot
        self._poke = poke
        self._lanes: dict[str, Lane] = {}

    def take(self, run: str, key: str, limits: Limits, tokens: int) -> Permit | None:
        """A permit for a call of at most so many tokens. None: not now, and the run stands in line until it has one or
        leaves.
        """
        lane = self._lanes.setdefault(key, Lane(limits))
        now = self._boot()
        first = next(iter(lane.line), run)
        ready = _ready(lane, tokens, now)
        if first != run or ready is None or ready > now:
            lane.line[run] = tokens
            return None
        lane.line.pop(run, None)
        permit = Permit(lane, now, tokens)
        lane.past.append(permit)
        lane.running += 1
        lane.tokens += tokens
        self._next(lane)
        return permit

    def end(self, permit: Permit, tokens: int | None) -> None:
        """A call has ended; it used so many tokens. None: not known, and it counts as what it might have used."""
        if permit.over:
            return
        permit.over = True
        lane = permit.lane
        lane.running -= 1
        if tokens is not None and permit in lane.past:
            lane.tokens += tokens - permit.tokens
            permit.tokens = tokens
        self._next(lane)

    def drop(self, permit: Permit) -> None:
        """A call that was let go was never made."""
        lane = permit.lane
        if permit in lane.past:
            lane.past.remove(permit)
            lane.tokens -= permit.tokens
            permit.tokens = 0
        self.end(permit, None)

    def leave(self, run: str, *, staying: Callable[[str], bool] = lambda key: False) -> None:
        """A run waits no more, but for the models that ``staying`` names by their keys."""
        for key, lane in self._lanes.items():
            if run in lane.line and not staying(key):
                was_first = next(iter(lane.line)) == run
                del lane.line[run]
                if was_first:
                    self._next(lane)

    def ready_in(self, run: str) -> float | None:
        """Seconds until the run may ask again with success, of models where it is first in line; None: it is poked."""
        now = self._boot()
        mine = [lane for lane in self._lanes.values() if next(iter(lane.line), None) == run]
        times = [_ready(lane, lane.line[run], now) for lane in mine]
        return min((max(time - now, 0.0) for time in times if time is not None), default=None)

    def _next(self, lane: Lane) -> None:
        if lane.line:
            self._poke(next(iter(lane.line)))


def _ready(lane: Lane, tokens: int, now: float) -> float | None:
    """From when on a call may go; None where another one has to end first."""
    limits, past = lane.limits, lane.past
    while past and past[0].at <= now - MINUTE:
        lane.tokens -= past.popleft().tokens
    if limits.concurrency is not None and lane.running >= limits.concurrency:
        return None
    ready = now
    if limits.requests is not None and len(past) >= limits.requests:
        ready = past[len(past) - limits.requests].at + MINUTE
    if limits.tokens is not None:
        # A call that is larger than a whole minute goes when the minute is its own.
        over = lane.tokens + min(tokens, limits.tokens) - limits.tokens
        for permit in past:
            if over <= 0:
                break
            over -= permit.tokens
            ready = max(ready, permit.at + MINUTE)
    return ready


def lane_of(settings: Mapping[str, Any]) -> tuple[str, Limits] | None:
    """Which calls count together, and their limits: those of entries that name the same model, key and limits. None
    for a model without limits.
    """
    given: Mapping[str, int] | None = settings.get("limits")
    if not given:
        return None
    limits = Limits(
        requests=given.get("requests_per_minute"),
        tokens=given.get("tokens_per_minute"),
        concurrency=given.get("concurrency"),
    )
    return hash_of([settings.get(name) for name in _WHOSE]), limits


def used_by(end: Mapping[str, Any] | None) -> int | None:
    """The tokens that a model call used, as the record of its end says; None where that is not known."""
    if end is None or ("usage" not in end and end.get("cost") != 0):
        return None
    return int(end.get("tokens") or 0)
