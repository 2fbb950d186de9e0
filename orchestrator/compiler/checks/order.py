"""The order of the steps of a block, and the cycles that leave none."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.compiler.drafts import BlockDraft, Draft
    from orchestrator.compiler.report import Report

SHOWN: Final = 20
"""Steps of a cycle that are shown."""


def in_order(report: Report, block: BlockDraft) -> list[Draft]:
    """The steps, each after those that it needs. Each cycle is said, with its path."""
    waiting = {name: set(draft.node.needs) for name, draft in block.drafts.items()}
    dependents: dict[str, list[str]] = {name: [] for name in waiting}
    for name, needs in waiting.items():
        for other in needs:
            dependents[other].append(name)
    free = deque(name for name, needs in waiting.items() if not needs)
    ordered: list[Draft] = []
    while waiting:
        while free:
            name = free.popleft()
            if waiting.pop(name, None) is None:
                continue
            ordered.append(block.drafts[name])
            for other in dependents[name]:
                if other in waiting:
                    waiting[other].discard(name)
                    if not waiting[other]:
                        free.append(other)
        if waiting:
            cycle = _cycle(waiting)
            _say(report, block, cycle)
            free.extend(cycle)
    return ordered


def _cycle(waiting: dict[str, set[str]]) -> list[str]:
    """Steps that wait for each other in a ring, from the first in the file on, in the order in which they would run."""
    order = {name: index for index, name in enumerate(waiting)}
    path: dict[str, None] = {}
    name = next(iter(waiting))
    while name not in path:
        path[name] = None
        name = min((other for other in waiting[name] if other in waiting), key=order.__getitem__)
    ring = list(path)[list(path).index(name) :]
    ring.reverse()
    first = ring.index(min(ring, key=order.__getitem__))
    return ring[first:] + ring[:first]


def _say(report: Report, block: BlockDraft, cycle: list[str]) -> None:
    ring = [*cycle, cycle[0]]
    if len(ring) > SHOWN:
        ring[SHOWN // 2 : -SHOWN // 2] = ["…"]
    shown = " → ".join(ring)
    notes = tuple(report.note(f"`{name}` stands here", block.names.at[name]) for name in cycle[1 : SHOWN // 2])
    hint = "a step starts when all that it refers to, or names in `needs`, has ended"
    report.error(
        "E401", f"steps wait for each other: {shown}", block.names.at[cycle[0]], key=True, hint=hint, notes=notes
    )
