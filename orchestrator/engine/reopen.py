"""What a resume of a run that ended badly takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.state import RunState

_BAD = frozenset({"failed", "cancelled", "skipped", "waiting", "retrying"})


def reopened(graph: Graph, state: RunState) -> list[str]:
    """The paths whose ends are taken back: all that did not end well, and what ran because of it.

    Steps that were done stay done. A skipped step is looked at again, since what it needed may be there now.
    Failures that the graph dealt with (``on_error: continue``, a fallback) stand: others have built on them.
    """
    ended = {"@failure", *(node.name for node in graph.root.finally_)}
    found: list[str] = []
    for path, step in state.steps.items():
        root = path.split("/", 1)[0].split("[", 1)[0]
        if root in ended or (step.status in _BAD and step.handled != "continue") or step.fired:
            found.append(path)
    return found
