"""A map over a thousand items, killed in the middle: a resume runs what has not ended, and nothing else."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, compiled, records_of, resolve

if TYPE_CHECKING:
    from tests.crash.lab import Case

HERE = Path(__file__).parent
ITEMS = 1_000
AT_ONCE = 8
FEWEST, MOST = 400, 600
OUTPUTS = {"items": [f"{n}:{n * n}" for n in range(ITEMS)]}
PATHS = [f"items[{n}]" for n in range(ITEMS)]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("maps"), spec=HERE / "maps.yaml", lease=15.0, shared=64)
    yield found
    found.close()


def begun(lab: Lab, case: Case, phase: str = "begin") -> Counter[str]:
    return Counter(line["path"] for line in lab.ledger.lines(case.run_id) if line["phase"] == phase)


def journaled(case: Case) -> tuple[set[str], set[str]]:
    """The items that are done, and those under way, as the journal has them."""
    done: set[str] = set()
    under_way: set[str] = set()
    for record in records_of(case):
        match record.kind:
            case "started":
                under_way.add(record.path)
            case "done":
                done.add(record.path)
                under_way.discard(record.path)
            case _:
                pass
    return done, under_way


def killed(lab: Lab, case: Case, *, after: int) -> set[str]:
    """Kill the run when so many items are in the ledger; the items in doubt. All that begins is in the journal."""
    before = len(begun(lab, case, "end"))
    # An item that was in the ledger already may be there again: it is one item all the same.
    again = len(journaled(case)[1] & set(begun(lab, case, "end"))) if case.snapshots else 0
    assert lab.run(case, resume=bool(case.snapshots), at=("item", after - before + again)) == -signal.SIGKILL
    assert after <= len(begun(lab, case, "end")) <= len(begun(lab, case)) <= after + AT_ONCE
    done, doubt = journaled(case)
    assert set(begun(lab, case)) <= done | doubt
    assert len(doubt) <= AT_ONCE
    return doubt


def check(lab: Lab, case: Case, doubts: Counter[str]) -> None:
    """Once the run has ended: each item began once, or once more for each time it was in doubt; in order; by its own
    key."""
    lines = lab.ledger.lines(case.run_id)
    found = begun(lab, case)
    assert set(found) == set(PATHS)
    assert not {path: count for path, count in found.items() if count > 1 + doubts[path]}
    assert found.total() <= ITEMS + doubts.total()
    keys = {path: {line["key"] for line in lines if line["path"] == path} for path in doubts}
    assert all(len(used) == 1 for used in keys.values())
    pairs = {(line["path"], line["key"]) for line in lines}
    assert len(pairs) == len({key for _, key in pairs}) == ITEMS
    assert records_of(case)[-1].body["outputs"] == OUTPUTS
    assert broken(lab, case, outputs=OUTPUTS) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_map_that_was_killed_runs_only_what_has_not_ended(lab, seed):
    case = lab.case()
    after = random.Random(seed).randint(FEWEST, MOST - AT_ONCE)
    doubt = killed(lab, case, after=after)
    done, _ = journaled(case)
    before = begun(lab, case)
    assert lab.run(case, resume=True) == ENDS["done"]
    again = begun(lab, case) - before
    assert not done & set(again)
    assert set(again) == set(PATHS) - done
    check(lab, case, Counter(doubt))


def test_a_map_that_was_killed_twice_runs_only_what_has_not_ended(lab):
    case = lab.case()
    rng = random.Random(4)
    doubts: Counter[str] = Counter()
    doubts.update(killed(lab, case, after=rng.randint(FEWEST, 490)))
    doubts.update(killed(lab, case, after=rng.randint(510, MOST - AT_ONCE)))
    done, _ = journaled(case)
    before = begun(lab, case)
    assert lab.run(case, resume=True) == ENDS["done"]
    assert set(begun(lab, case) - before) == set(PATHS) - done
    check(lab, case, doubts)


def test_of_a_map_of_writes_the_items_in_flight_ask_and_none_is_repeated_unasked(lab, tmp_path):
    spec = tmp_path / "writes.yaml"
    spec.write_text((HERE / "maps.yaml").read_text().replace("effect: idempotent", "effect: write"))
    case = lab.case(graph=compiled(spec))
    doubt = killed(lab, case, after=random.Random(5).randint(FEWEST, MOST - AT_ONCE))
    done, _ = journaled(case)
    happened = set(begun(lab, case, "end"))
    before = begun(lab, case)
    assert lab.run(case, resume=True) == ENDS["paused"]
    assert {record.path for record in records_of(case) if record.kind == "waiting"} == doubt
    assert not set(begun(lab, case) - before) & (done | doubt)
    resolve(case, lambda path: {"result": OUTPUTS["items"][PATHS.index(path)]} if path in happened else {"retry": True})
    assert lab.run(case, resume=True) == ENDS["done"]
    check(lab, case, Counter(doubt - happened))
