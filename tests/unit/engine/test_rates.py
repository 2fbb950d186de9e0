"""Limits of a model over the runs of a process, on a clock that moves when told to."""

from __future__ import annotations

import random

import pytest

from orchestrator.clock import ManualClock
from orchestrator.engine.rates import MINUTE, Limits, Rates, lane_of, used_by


class Bench:
    def __init__(self, **limits):
        self.clock = ManualClock(1000)
        self.poked = []
        self.rates = Rates(self.clock.boot, self.poked.append)
        self.limits = Limits(**limits)

    def take(self, run="a", tokens=0):
        return self.rates.take(run, "m", self.limits, tokens)

    def pokes(self):
        found, self.poked[:] = list(self.poked), []
        return found


def test_without_a_bound_all_go():
    bench = Bench()
    assert all(bench.take(f"r{n}", 10**9) for n in range(100))


def test_so_many_are_under_way_at_once():
    bench = Bench(concurrency=2)
    first, second = bench.take(), bench.take("b")
    assert bench.take("c") is None
    assert bench.rates.ready_in("c") is None  # no time helps: it is poked
    bench.rates.end(first, 5)
    assert bench.pokes() == ["c"]
    assert bench.take("c")
    assert bench.take("d") is None
    bench.rates.end(second, None)
    bench.rates.end(second, None)  # once
    assert bench.pokes() == ["d"]
    assert bench.take("d")
    assert bench.take("e") is None


def test_so_many_begin_in_any_minute():
    bench = Bench(requests=3)
    for _ in range(3):
        assert bench.take()
        bench.clock.advance(10)
    assert bench.take() is None
    assert bench.rates.ready_in("a") == 30
    bench.clock.advance(29)
    assert bench.take() is None
    bench.clock.advance(1)
    assert bench.take()
    assert bench.take() is None
    assert bench.rates.ready_in("a") == 10


def test_tokens_are_estimated_and_then_known():
    bench = Bench(tokens=1000)
    first = bench.take(tokens=700)
    assert bench.take("b", tokens=400) is None
    assert bench.rates.ready_in("b") == MINUTE
    bench.rates.end(first, 600)
    assert bench.pokes() == ["b"]
    assert bench.take("b", tokens=400)
    assert bench.take("c", tokens=1) is None
    bench.clock.advance(MINUTE)
    assert bench.take("c", tokens=1000)


def test_what_is_not_known_counts_as_what_it_may_have_been():
    bench = Bench(tokens=1000)
    bench.rates.end(bench.take(tokens=1000), None)
    assert bench.take(tokens=1) is None


def test_a_call_that_was_never_made_counts_for_nothing():
    bench = Bench(requests=1, tokens=10, concurrency=1)
    permit = bench.take(tokens=10)
    assert bench.take("b", tokens=10) is None
    bench.rates.drop(permit)
    assert bench.pokes() == ["b"]
    assert bench.take("b", tokens=10)


def test_a_call_larger_than_a_minute_goes_alone():
    bench = Bench(tokens=100)
    bench.take(tokens=1)
    assert bench.take("b", tokens=5000) is None
    bench.clock.advance(MINUTE)
    big = bench.take("b", tokens=5000)
    assert big
    assert bench.take("c", tokens=1) is None
    bench.clock.advance(MINUTE)
    late = bench.take("c", tokens=1)
    bench.rates.end(big, 10)  # its minute is over: nothing is given back that was taken away already
    assert late
    assert bench.take("c", tokens=99)
    assert bench.take("c", tokens=1) is None


def test_a_small_call_does_not_pass_a_large_one_that_waits():
    bench = Bench(tokens=100)
    bench.take(tokens=50)
    assert bench.take("large", tokens=90) is None
    assert bench.take("small", tokens=1) is None
    assert bench.rates.ready_in("small") is None  # the first in line knows when
    assert bench.rates.ready_in("large") == MINUTE
    bench.clock.advance(MINUTE)
    assert bench.take("small", tokens=1) is None
    assert bench.take("large", tokens=90)
    assert bench.pokes() == ["small"]
    assert bench.take("small", tokens=1)


def test_runs_take_turns():
    bench = Bench(concurrency=1)
    order = []
    permit = bench.take("greedy")
    assert bench.take("greedy") is None
    assert bench.take("modest") is None
    for _ in range(6):
        bench.rates.end(permit, 0)
        (run,) = bench.pokes()[-1:]
        permit = bench.take(run)
        order.append(run)
        assert bench.take(run) is None  # it wants more, and stands behind
    assert order == ["greedy", "modest"] * 3


def test_one_that_leaves_makes_room_for_the_next_one():
    bench = Bench(requests=1)
    bench.take()
    assert [bench.take(run) for run in "bcd"] == [None] * 3
    bench.rates.leave("c")
    assert bench.pokes() == []
    bench.rates.leave("b", staying=lambda key: key == "m")
    assert bench.rates.ready_in("b") == MINUTE
    bench.rates.leave("b", staying=lambda key: key == "other")
    assert bench.pokes() == ["d"]
    assert bench.rates.ready_in("b") is None
    assert bench.rates.ready_in("d") == MINUTE
    bench.rates.leave("d")
    bench.rates.leave("nobody")
    assert bench.pokes() == []


def test_models_have_limits_of_their_own():
    bench = Bench(concurrency=1)
    assert bench.take()
    assert bench.rates.take("a", "other", bench.limits, 0)
    assert bench.take() is None
    assert bench.rates.take("a", "other", bench.limits, 0) is None
    assert bench.rates.ready_in("a") is None


@pytest.mark.parametrize("seed", range(30))
def test_no_minute_sees_more_and_nobody_is_forgotten(seed):
    """Any mix of runs, sizes and durations: the bounds hold at every moment, and all that waits goes in the end."""
    rng = random.Random(seed)
    limits = Limits(
        requests=rng.choice([None, 3, 7]), tokens=rng.choice([None, 500]), concurrency=rng.choice([None, 1, 3])
    )
    clock = ManualClock(0)
    awake, wants = set(), {f"r{n}": rng.randrange(1, 6) for n in range(5)}
    rates = Rates(clock.boot, awake.add)
    open_, begun = [], []
    awake.update(wants)
    while any(wants.values()) or open_:
        while awake:
            run = awake.pop()
            while wants[run] and (permit := rates.take(run, "m", limits, rng.randrange(1, 300))):
                wants[run] -= 1
                begun.append(permit)
                open_.append((clock.boot() + rng.randrange(1, 50), permit))
        recent = [permit for permit in begun if permit.at > clock.boot() - MINUTE]
        assert limits.concurrency is None or len(open_) <= limits.concurrency
        assert limits.requests is None or len(recent) <= limits.requests
        assert limits.tokens is None or sum(permit.tokens for permit in recent) <= limits.tokens
        ends = [at for at, _ in open_]
        waits = {run: rates.ready_in(run) for run in wants if wants[run]}
        ends += [clock.boot() + wait for wait in waits.values() if wait is not None]
        assert ends, "what waits is woken by nothing"
        clock.advance(max(min(ends) - clock.boot(), 0))
        awake.update(run for run, wait in waits.items() if wait is not None and rates.ready_in(run) == 0)
        for at, permit in [one for one in open_ if one[0] <= clock.boot()]:
            open_.remove((at, permit))
            rates.end(permit, rng.choice([None, rng.randrange(1, permit.tokens + 1)]))
    assert len(begun) == len(set(map(id, begun)))


def test_which_entries_count_together():
    base = {"provider": "openai", "model": "m", "limits": {"concurrency": 2}, "max_tokens": 5}
    key, limits = lane_of(base)
    assert limits == Limits(concurrency=2)
    assert lane_of({**base, "max_tokens": 6, "effort": "low"})[0] == key
    for other in ({"model": "n"}, {"base_url": "http://x"}, {"api_key": "k"}, {"limits": {"concurrency": 3}}):
        assert lane_of({**base, **other})[0] != key
    assert lane_of({"limits": {"requests_per_minute": 1, "tokens_per_minute": 2}})[1] == Limits(requests=1, tokens=2)
    assert lane_of({"provider": "openai"}) is lane_of({"limits": {}}) is None


@pytest.mark.parametrize(
    ("end", "used"),
    [
        (None, None),
        ({"attempt": 1}, None),
        ({"cost": None, "tokens": 0}, None),
        ({"cost": None, "tokens": 7, "usage": {"input": 7}}, 7),
        ({"cost": 5, "tokens": 7, "usage": {"input": 7}}, 7),
        ({"cost": 0, "tokens": 0}, 0),
    ],
)
def test_what_a_call_used(end, used):
    assert used_by(end) == used
