"""What a run costs the database, counted from SQLite's trace; times are a matter of `make bench`."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import worker


@pytest.mark.timeout(120)
def test_a_step_costs_one_commit_and_two_statements() -> None:
    found = worker("engine", "count", 1000)
    assert found["records"] >= 2000
    assert found["commits"] <= 1005, found
    assert found["statements"] <= 2020, found


@pytest.mark.timeout(120)
def test_a_thousand_parallel_steps_stay_small() -> None:
    assert worker("engine", "parallel", 1000)["peak_mb"] < 150
