"""The invariants that every crashed and resumed run is held to, from its journal, its snapshots and the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from orchestrator.engine.verify import verify
from orchestrator.journal.errors import Damaged
from orchestrator.journal.state import fold
from tests.crash.lab import records_of, rows_of

if TYPE_CHECKING:
    from orchestrator.journal.records import Record
    from tests.crash.lab import Case, Lab

IN_DOUBT_OK = {"page", "plus", "look", "keep", "flaky", "fails", "model"}


def broken(lab: Lab, case: Case, *, outputs: dict[str, Any]) -> list[str]:
    """What is wrong with a case that should have ended well: one sentence for each invariant that does not hold."""
    try:
        records = records_of(case)
    except Damaged as error:
        return [f"(a) the journal is damaged: {error}"]
    lines = lab.ledger.lines(case.run_id)
    return [
        *_kept(case),
        *_one_end(records),
        *_effects(records, lines),
        *_end(records, outputs),
        *_money(records, lines),
        *_verified(case, records),
    ]


def _kept(case: Case) -> list[str]:
    """(a) No acknowledged record is lost or changed, over all crashes."""
    rows = rows_of(case)
    found = [
        f"(a) crash {index}: the {len(old)} records that were there then are not there now"
        for index, old in enumerate(case.snapshots)
        if rows[: len(old)] != old
    ]
    acked = max(map(int, case.acked.read_text().split()), default=0) if case.acked.exists() else 0
    if acked > len(rows):
        found.append(f"(a) record {acked} was acknowledged, and the journal has {len(rows)}")
    return found


def _one_end(records: list[Record]) -> list[str]:
    """(b) One end per path and attempt."""
    ends = Counter(
        (record.path, record.body.get("attempt"))
        for record in records
        if record.kind in ("done", "failed", "skipped", "cancelled")
    )
    return [f"(b) {count} ends of {end}" for end, count in ends.items() if count > 1]


def _effects(records: list[Record], lines: list[dict[str, Any]]) -> list[str]:
    """(c) Each effect is recorded before it begins, begins once per attempt, and again only after a doubt."""
    started = {(r.path, r.body["attempt"]): r.body for r in records if r.kind == "started"}
    found: list[str] = []
    begun: Counter[tuple[str, int]] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["phase"] != "begin" or line["effect"] == "model":
            continue
        at = (line["path"], line["attempt"])
        begun[at] += 1
        if at not in started:
            found.append(f"(c) attempt {at} began, and the journal knows nothing of it")
        elif line["key"] != started[at].get("key", ""):
            found.append(f"(c) attempt {at} used another key than the journal's")
        if line["key"]:
            keys[line["key"]].add(line["path"])
    found += [f"(c) attempt {at} began {count} times" for at, count in begun.items() if count > 1]
    found += [f"(c) one key for {sorted(paths)}" for paths in keys.values() if len(paths) > 1]
    found += _repeated(records, lines)
    once = sum(line["effect"] == "once" and line["phase"] == "end" for line in lines)
    if once > 1:
        found.append(f"(c) an effect that may not be repeated happened {once} times")
    return found


def _repeated(records: list[Record], lines: list[dict[str, Any]]) -> list[str]:
    """No more attempts of a path than its failures and doubts explain, and none after it was done."""
    lost: Counter[str] = Counter()
    open_at: dict[str, int] = {}
    done: set[str] = set()
    found: list[str] = []
    failures: Counter[str] = Counter()
    for record in records:
        match record.kind:
            case "started":
                if record.path in done:
                    found.append(f"(c) {record.path} was started again after it was done")
                open_at[record.path] = record.body["attempt"]
            case "done" | "failed" | "cancelled":
                open_at.pop(record.path, None)
                if record.kind == "done":
                    done.add(record.path)
                failures[record.path] += record.kind == "failed"
            case "waiting":
                if open_at.pop(record.path, None) is not None:
                    lost[record.path] += 1
            case "claimed":
                lost.update(open_at.keys())
                open_at.clear()
            case _:
                pass
    begun = Counter(line["path"] for line in lines if line["phase"] == "begin" and line["effect"] != "model")
    for path, count in begun.items():
        allowed = 1 + lost[path] + failures[path]
        if count > allowed:
            found.append(f"(c) {path} began {count} times, {allowed} are explained")
    turns = {
        r.path for r in records if r.kind == "started" and r.path.rpartition("/")[2].startswith(("turn", "compact"))
    }
    calls = sum(line["effect"] == "model" and line["phase"] == "begin" for line in lines)
    allowed = len(turns) + sum(lost[path] + failures[path] for path in turns)
    if calls > allowed:
        found.append(f"(c) {calls} model calls, {allowed} are explained")
    return found


def _end(records: list[Record], outputs: dict[str, Any]) -> list[str]:
    """(d) The outputs are those of a run that nobody killed."""
    last = records[-1]
    if last.kind != "run_finished" or last.body["status"] != "done":
        return [f"(d) the run did not end well: {last.kind} {last.body}"]
    return [] if last.body["outputs"] == outputs else [f"(d) other outputs: {last.body['outputs']}"]


def _money(records: list[Record], lines: list[dict[str, Any]]) -> list[str]:
    """(f) What the ledger says was spent is in the journal; the very sum where nothing was in doubt."""
    state = fold(records)
    cost = sum(line.get("cost", 0) for line in lines if line["phase"] == "end")
    if cost > state.spend:
        return [f"(f) the ledger says {cost}, the journal {state.spend}"]
    if cost != state.settled and not state.lost:
        return [f"(f) nothing was in doubt, the ledger says {cost}, the journal {state.settled}"]
    return []


def _verified(case: Case, records: list[Record]) -> list[str]:
    """(i) ``verify`` passes."""
    found = verify(case.graph, records, run_id=case.run_id)
    return [] if found is None else [f"(i) {found}"]
