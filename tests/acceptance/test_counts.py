"""What a step, a turn and a run cost, in counts: times are a matter of `make bench`.

Each workload is run at N, 2 N and 4 N: what one more step costs is the difference, so that starting up cancels out, and
it has to be the same at any length.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import pytest

from benchmarks import pipelines, processes
from benchmarks.counts import CountingStore, counted_calls, counted_statements, counted_trips
from benchmarks.engine import compiled, drive, host_on
from benchmarks.measure import Place
from orchestrator.engine.host import Settings
from orchestrator.journal.state import fold

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A lease that is not renewed meanwhile: how often it is, the clock says.
CALM = Settings(lease=3600.0)
N = 24
NAPLESS = pipelines.sequence(10)

# workload: pipeline of a size, rows and commits of one more step (turn, run), and at most so many Python calls.
WORKLOADS: dict[str, tuple[Callable[[int], str], float, float, int]] = {
    "sequence": (pipelines.sequence, 2, 1, 450),
    "turns": (pipelines.turns, 4, 2, 1050),
    "parallel": (pipelines.parallel, 2, 0.1, 360),
    "agents": (pipelines.agents, 3, 0.1, 600),
    "runs": (lambda _: NAPLESS, 22, 0.2, 4600),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place("memory:", tmp_path, N)


async def _cost(place: Place, text: str, counts: Counter[str], *, store: CountingStore | None, runs: int = 1) -> None:
    """What so many runs at once cost, without what the host's start and end do."""
    graph = compiled(place, text)
    async with host_on(place, store=store, settings=CALM) as host:
        counts.clear()
        with counted_calls(counts):
            async with anyio.create_task_group() as group:
                for number in range(runs):
                    group.start_soon(drive, host, graph, place, f"run{number}")
        if store is not None:
            counts.update(store.counts)


def cost(place: Place, workload: str, size: int) -> Counter[str]:
    """What a workload of a size costs on the memory store, where nothing depends on what is quicker."""
    pipeline = WORKLOADS[workload][0]
    counts: Counter[str] = Counter()
    store = CountingStore()
    anyio.run(lambda: _cost(place, pipeline(size), counts, store=store, runs=size if workload == "runs" else 1))
    return counts


def slope(small: Counter[str], large: Counter[str], what: str, more: int) -> float:
    return (large[what] - small[what]) / more


@pytest.mark.parametrize("workload", WORKLOADS)
def test_one_more_costs_the_same_at_any_length(place: Place, workload: str) -> None:
    _, rows, commits, calls = WORKLOADS[workload]
    cost(place, workload, 2)  # what is imported and cached once
    once, twice, four_times = (cost(place, workload, times * N) for times in (1, 2, 4))
    for small, large, more in ((once, twice, N), (twice, four_times, 2 * N)):
        assert slope(small, large, "rows", more) == rows
        assert slope(small, large, "commit", more) <= commits
        assert 50 < slope(small, large, "calls", more) <= calls
    # Numbers in paths get a digit longer.
    assert slope(twice, four_times, "bytes", 2 * N) <= slope(once, twice, "bytes", N) + 6 * rows
    assert slope(twice, four_times, "calls", 2 * N) <= slope(once, twice, "calls", N) * 1.04


@pytest.mark.parametrize("workload", ["sequence", "turns"])
def test_a_step_asks_the_store_for_nothing_but_its_commit(place: Place, workload: str) -> None:
    small, large = cost(place, workload, N), cost(place, workload, 2 * N)
    grown = {name for name in large if large[name] != small[name]}
    assert grown == {"calls", "rows", "bytes", "commit"}


def test_a_turn_is_journaled_in_little_more_than_its_content(place: Place) -> None:
    async def sizes() -> dict[str, int]:
        store = CountingStore()
        await _cost(place, pipelines.turns(N), Counter(), store=store)
        found: Counter[str] = Counter()
        for row in await store.rows("run0"):
            found[row.path.partition("/")[2].partition("/")[0]] += len(row.body or b"") + len(row.path)
        return found

    found = anyio.run(sizes)
    assert abs(found[f"turn{N - 1}"] - found["turn10"]) <= 8
    # A result of 200 bytes, a call of about as many.
    assert 400 < found["turn10"] <= 2 * 400 + 1024


@pytest.mark.parametrize(("pipeline", "commits", "rows"), [(pipelines.sequence, 1, 2), (pipelines.turns, 2, 4)])
def test_statements_of_a_step_on_sqlite(place: Place, pipeline: Callable[[int], str], commits: int, rows: int) -> None:
    found: list[Counter[str]] = []
    for size in (N, 2 * N):
        counts: Counter[str] = Counter()
        here = Place(f"sqlite:{place.folder}/{size}.db", place.folder, size)
        with counted_statements(counts):
            anyio.run(lambda here=here, counts=counts: _cost(here, pipeline(here.n), counts, store=None))
        del counts["calls"]
        counts.pop("PRAGMA", None)  # how long to wait for a lock is said anew when it has been held up
        found.append(counts)
    more = {word: slope(found[0], found[1], word, N) for word in found[1]}
    assert {word: count for word, count in more.items() if count} == {
        "BEGIN": commits, "COMMIT": commits, "UPDATE": commits, "INSERT": rows / 2,
    }  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("server", "trips"), [("postgres_url", 1), ("mysql_url", 1)])
def test_round_trips_of_a_step_on_a_server(
    place: Place, request: pytest.FixtureRequest, server: str, trips: float
) -> None:
    url: str = request.getfixturevalue(server)

    async def asked(size: int) -> int:
        wire: Counter[str] = Counter()
        async with counted_trips(url, wire) as through:
            graph = compiled(place, pipelines.sequence(size))
            async with host_on(Place(through, place.folder, size), settings=CALM) as host:
                before = wire["trips"]
                await drive(host, graph, place, f"run{size}")
                return wire["trips"] - before

    # Looks into the inbox come with the clock: one a second.
    assert (anyio.run(asked, 5 * N) - anyio.run(asked, N)) / (4 * N) <= trips + 0.1


def test_a_record_is_folded_at_the_same_cost_in_any_journal(place: Place) -> None:
    async def calls(size: int) -> float:
        store, counts = CountingStore(), Counter[str]()
        await _cost(place, pipelines.sequence(size), Counter(), store=store)
        records = await store.load("run0")
        with counted_calls(counts):
            fold(records)
        return counts["calls"] / len(records)

    small, large = anyio.run(calls, N), anyio.run(calls, 4 * N)
    assert large <= small * 1.02
    assert 1 <= large <= 13


SCRIPT = """\
import sys
before = len(sys.modules)
from orchestrator.cli.main import main
main(sys.argv[1:])
print(len(sys.modules) - before, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("args", "most"),
    [
        (["--help"], 97), (["list"], 190), (["show", "@last"], 195), (["validate", "pipeline.yaml"], 245),
        (["run", "pipeline.yaml"], 335),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_modules_that_a_verb_imports(place: Place, args: list[str], most: int) -> None:
    pipelines.write(place.folder, pipelines.sequence(1))
    env = {"PATH": os.environ["PATH"], "HOME": str(place.folder)}

    def command(*args: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *args], cwd=place.folder, env=env, capture_output=True, text=True, check=True
        )
        return int(json.loads(done.stderr.splitlines()[-1]))

    command("run", "pipeline.yaml")
    assert 20 < command(*args) <= most


@pytest.mark.timeout(120)
def test_a_thousand_parallel_steps_stay_small(place: Place) -> None:
    here = Place(f"sqlite:{place.folder}/runs.db", place.folder, 1000)
    assert processes.worker("orch", "w3", here)["peak_mb"] < 100
