"""Writes the figures of a report into docs/performance.md, between its marks.

python -m benchmarks.page benchmarks/results.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import ROOT
from benchmarks.report import TITLES, Figure, of, ratio, short

if TYPE_CHECKING:
    from benchmarks.report import Measured

PAGE = ROOT / "docs" / "performance.md"
SYSTEMS = ("langgraph", "dbos", "power-loop", "pydantic-ai", "pydantic-ai+dbos")
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}
MARKS = "<!-- {}: measured -->\n", "<!-- {}: end -->"


def times(measured: Measured) -> list[str]:
    """Seconds by workload, store and system. What keeps nothing stands in the rows of SQLite."""
    lines = ["| workload | store | floor | `orch` | to the floor | " + " | ".join(SYSTEMS) + " |"]
    lines.append("|---" * (5 + len(SYSTEMS)) + "|")
    order = list(TITLES)
    rows = {(order.index(key.split()[0]), int(key.split()[3])) for key in measured if key.split()[0] in TITLES}
    for place, n in sorted(rows):
        workload = order[place]
        for store, name in STORES.items():
            key, floor = f"{workload} orch {store} {n}", f"{workload} floor {store} {n}"
            if key not in measured:
                continue
            peers = [_peer(measured, workload, system, store, n) for system in SYSTEMS]
            own = [_cell(of(measured, floor)), f"**{_cell(of(measured, key))}**", _cell(ratio(measured, key, floor))]
            lines.append("| " + " | ".join([TITLES[workload].format(n=n), name, *own, *peers]) + " |")
    return lines


def _peer(measured: Measured, workload: str, system: str, store: str, n: int) -> str:
    key = f"{workload} {system} {store} {n}"
    if store == "sqlite" and key not in measured:
        key = f"{workload} {system} none {n}"
    again = of(measured, key, "again")
    return _cell(of(measured, key)) + (f", {again.median:.0f} done again" if again and again.median else "")


def _cell(figure: Figure | None) -> str:
    return "" if figure is None else short(figure.median)


def others(measured: Measured) -> list[str]:
    """What is no time of a workload."""
    verbs, fold = "verbs orch sqlite 1", next((key for key in measured if key.startswith("fold")), "")
    w2, validate = "w2 orch sqlite 400", "validate orch none 2000"
    found: list[tuple[str, Figure | None, str]] = [
        ("W2, a turn near the 400th to one near the 50th", ratio(measured, w2, w2, "late_turn", "early_turn"), "x"),
        ("W2, journal of turn 10", of(measured, w2, "bytes_of_turn_10"), "bytes"),
        ("W2, journal of turn 400", of(measured, w2, "bytes_of_last_turn"), "bytes"),
        ("W2, of which reply and result", of(measured, w2, "payload_of_last_turn"), "bytes"),
        ("W3, peak memory at 1,000 steps", of(measured, "w3 orch sqlite 1000", "peak_mb"), "MB"),
        ("W3, peak memory at 10,000 steps", of(measured, "w3 orch sqlite 10000", "peak_mb"), "MB"),
        ("W3, 10,000 steps to 1,000", ratio(measured, "w3 orch sqlite 10000", "w3 orch sqlite 1000"), "x"),
        ("W4, peak memory at 200 runs", of(measured, "w4 orch sqlite 200", "peak_mb"), "MB"),
        ("W4, peak memory at 2,000 runs", of(measured, "w4 orch sqlite 2000", "peak_mb"), "MB"),
        ("W4, 2,000 runs to 200", ratio(measured, "w4 orch sqlite 2000", "w4 orch sqlite 200"), "x"),
        ("hello, a second time", of(measured, "hello orch sqlite 1", "again"), "s"),
        ("a bare interpreter", of(measured, verbs, "bare"), "s"),
        *(
            (f"`orch {name}`, whole process", of(measured, verbs, what), "s")
            for name, what in (("--help", "help"), ("list", "list"), ("show", "show"), ("validate", "validate"))
        ),
        ("check of a file of 2,000 lines", of(measured, validate), "s"),
        ("ruamel's own load of it", of(measured, validate, "ruamel"), "s"),
        ("records of a long journal", of(measured, fold, "records"), ""),
        ("loaded, checked and folded", of(measured, fold), "s"),
        ("json.loads of its bodies alone", of(measured, fold, "json"), "s"),
        ("resumed, from the process to the first new step", of(measured, fold, "resume"), "s"),
    ]
    lines = ["| what | median (range) |", "|---|---|"]
    return lines + [f"| {what} | {figure} {unit} |" for what, figure, unit in found if figure is not None]


def conditions(found: dict[str, Any]) -> list[str]:
    """The machine, the time and the versions."""
    machine, versions = found["machine"], dict(found["versions"])
    return [
        f"{found['at'][:7]}, {machine['cpus']} processors ({machine['cpu']}), {machine['mb']:,} MB,",
        f"{machine['system']};",
        f"Python {versions.pop('python')}, SQLite {versions.pop('sqlite')}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if name not in ("commit", "orchestrator"))
        + f"; at commit {versions['commit']}, {found['repetitions']} repetitions.",
        "Others: " + ", ".join(pin for pins in found["peers"].values() for pin in pins) + ".",
        *(f"Note: {note}." for note in found["notes"]),
    ]


def main(file: Path) -> None:
    report = json.loads(file.read_text())
    measured: Measured = report["measured"]
    page = PAGE.read_text()
    for name, lines in (
        ("times", times(measured)), ("others", others(measured)), ("conditions", conditions(report))
    ):  # fmt: skip
        page = put(page, name, lines)
    PAGE.write_text(page)


def put(page: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the marks of that name."""
    begin, end = (mark.format(name) for mark in MARKS)
    whole = "\n".join([begin + lines[0], *lines[1:], end])
    return re.sub(f"(?s){re.escape(begin)}.*?{re.escape(end)}", lambda _: whole, page)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
