"""From measurements to a table: medians with their ranges, and ratios of one repetition to another thing in the same
one."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Measured = dict[str, list[dict[str, Any]]]
"""By key of the job, one entry for each repetition."""

TITLES = {
    "w1": "W1: {n:,} steps in sequence",
    "w2": "W2: one agent, {n:,} turns",
    "w3": "W3: {n:,} parallel steps",
    "written": "W3, {n:,} steps written out",
    "agents": "{n:,} agents of one reply",
    "w4": "W4: {n:,} runs at once",
    "w5": "W5: crash at 9/10 of {n:,}, to first new step",
    "hello": "hello: one step, whole process",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.low)}-{short(self.high)})"


def short(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(values: list[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def of(measured: Measured, key: str, what: str = "wall") -> Figure | None:
    """A measured value; None where it was not measured."""
    found = [one[what] for one in measured.get(key, []) if one.get(what) is not None]
    return figure(found) if found else None


def ratio(measured: Measured, key: str, other: str, what: str = "wall", other_what: str = "wall") -> Figure | None:
    """The ratio of two values, repetition by repetition."""
    pairs = zip(measured.get(key, []), measured.get(other, []), strict=False)
    found = [one[what] / two[other_what] for one, two in pairs if one.get(what) and two.get(other_what)]
    return figure(found) if found else None


def times_table(measured: Measured) -> list[str]:
    """A line for each workload, size and store, and what each system took, in seconds."""
    rows: dict[tuple[str, int, str], dict[str, str]] = {}
    for key in measured:
        workload, system, store, size = key.split(" ")
        if workload in TITLES:
            rows.setdefault((workload, int(size), store), {})[system] = key
    order = list(TITLES)
    lines = ["seconds: median (range); x: how many times what is named, in the same repetition", ""]
    for (workload, n, store), keys in sorted(rows.items(), key=lambda row: (order.index(row[0][0]), row[0][1:])):
        lines.append(f"{TITLES[workload].format(n=n)}, {store}")
        lines += [_system_line(measured, system, key, keys) for system, key in keys.items()]
    return lines


def _system_line(measured: Measured, system: str, key: str, keys: dict[str, str]) -> str:
    peak, again = of(measured, key, "peak_mb"), of(measured, key, "again")
    parts = [f"  {system:17} {of(measured, key)!s:24}"]
    if system in ("orch", "writer") and "floor" in keys:
        parts.append(f"{short(_median(ratio(measured, key, keys['floor'])))} x floor")
    if system not in ("orch", "writer", "floor") and "orch" in keys:
        parts.append(f"orch {short(_median(ratio(measured, keys['orch'], key)))} x of it")
    if peak is not None:
        parts.append(f"peak {short(peak.median)} MB")
    if again is not None and key.startswith("w5"):
        parts.append(f"{short(again.median)} done again")
    return "  ".join(parts)


def _median(found: Figure | None) -> float:
    return float("nan") if found is None else found.median


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that is to be at most ``limit``."""

    what: str
    value: Callable[[Measured], Figure | None]
    limit: float
    unit: str = "x"


def _over(key: str, other: str, what: str = "wall", other_what: str = "wall") -> Callable[[Measured], Figure | None]:
    return lambda measured: ratio(measured, key, other, what, other_what)


def _plain(key: str, what: str = "wall") -> Callable[[Measured], Figure | None]:
    return lambda measured: of(measured, key, what)


def _verb(name: str) -> Callable[[Measured], Figure | None]:
    return lambda measured: ratio(measured, "verbs orch sqlite 1", "verbs orch sqlite 1", name, "bare")


def _turn_bytes(measured: Measured) -> Figure | None:
    """Bytes of a turn beyond twice its reply and results."""
    found = measured.get("w2 orch sqlite 400", [])
    return figure([one["bytes_of_last_turn"] - 2 * one["payload_of_last_turn"] for one in found]) if found else None


def _goals() -> list[Goal]:
    goals: list[Goal] = []
    for store in ("sqlite", "postgres", "mariadb"):
        w1, w2 = f"w1 orch {store} 1000", f"w2 orch {store} 400"
        goals += [
            Goal(f"W1 to the floor, {store}", _over(w1, f"w1 floor {store} 1000"), 2),
            Goal(f"W2 to the floor, {store}", _over(w2, f"w2 floor {store} 400"), 2.5 if store == "sqlite" else 3),
            Goal(f"W2, a turn near 400 to one near 50, {store}", _over(w2, w2, "late_turn", "early_turn"), 1.15),
            Goal(f"W5, to the first new step, {store}", _plain(f"w5 orch {store} 1000"), 0.25, "s"),
            Goal(f"W5, done again, {store}", _plain(f"w5 orch {store} 1000", "again"), 0, "steps"),
            Goal(f"agents to W3, {store}", _over(f"agents orch {store} 1000", f"w3 orch {store} 1000"), 3),
        ]
    for store in ("sqlite", "postgres"):
        for peer in ("langgraph", "dbos", "power-loop"):
            w1 = _over(f"w1 orch {store} 1000", f"w1 {peer} {store} 1000")
            goals.append(Goal(f"W1 to {peer}, {store}", w1, 1 / 3))
        for workload, n, limit in (("w3", 1000, 0.3), ("w4", 200, 0.15)):
            against = _over(f"{workload} orch {store} {n}", f"{workload} langgraph {store} {n}")
            goals.append(Goal(f"{workload.upper()} to langgraph, {store}", against, limit))
    return [
        *goals,
        Goal("W3, peak", _plain("w3 orch sqlite 1000", "peak_mb"), 80, "MB"),
        Goal("W3, 10,000 to 1,000", _over("w3 orch sqlite 10000", "w3 orch sqlite 1000"), 12),
        Goal("W3, peak at 10,000", _plain("w3 orch sqlite 10000", "peak_mb"), 250, "MB"),
        Goal("W4, peak", _plain("w4 orch sqlite 200", "peak_mb"), 100, "MB"),
        Goal("W4, 2,000 to 200", _over("w4 orch sqlite 2000", "w4 orch sqlite 200"), 12),
        Goal("a journal of 100,000 records, folded", _plain("fold orch sqlite 50000"), 2, "s"),
        Goal("  resumed, to the first new step", _plain("fold orch sqlite 50000", "resume"), 2, "s"),
        Goal("a journal of 20,000 records, folded", _plain("fold orch sqlite 10000"), 0.4, "s"),
        Goal("hello", _plain("hello orch sqlite 1"), 0.3, "s"),
        Goal("  a second time", _plain("hello orch sqlite 1", "again"), 0.3, "s"),
        Goal("hello to langgraph", _over("hello orch sqlite 1", "hello langgraph sqlite 1"), 0.45),
        *(Goal(f"{name} to a bare interpreter", _verb(name), 12) for name in ("help", "list", "show", "validate")),
        Goal("validate to ruamel", _over("validate orch none 2000", "validate orch none 2000", "wall", "ruamel"), 2),
        Goal("journal of a turn beyond twice its content", _turn_bytes, 1024, "bytes"),
        Goal(
            "journal of turn 400 to turn 10",
            _over("w2 orch sqlite 400", "w2 orch sqlite 400", "bytes_of_last_turn", "bytes_of_turn_10"),
            1.02,
        ),
    ]


def goals_table(measured: Measured) -> list[str]:
    """A line for each goal, as far as it was measured."""
    lines: list[str] = []
    for goal in _goals():
        found = goal.value(measured)
        if found is not None:
            missed = "" if found.median <= goal.limit else "  missed"
            lines.append(f"{goal.what:44} {found!s:>24}  <= {short(goal.limit)} {goal.unit}{missed}")
    return lines
