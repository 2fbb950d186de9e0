"""A run as its store holds it: graph, records, state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from orchestrator import jsonish
from orchestrator.errors import Exit, OrchError
from orchestrator.journal.errors import Damaged

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.store import RunRow, Store


class NoSuchStep(OrchError):
    """The run has no step of this path."""

    code: ClassVar[str] = "E304"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, path: str, *, run_id: str, known: list[str]) -> None:
        from orchestrator.errors import did_you_mean

        close = did_you_mean(path, known)
        hint = f"did you mean `{close}`?" if close else f"`orch show {run_id} --tree` lists them"
        super().__init__(f"run {run_id} has no step {path[:200]!r}", hint=hint)


async def load_graph(store: Store, row: RunRow) -> Graph:
    """The graph that the run was started with. Raises ``Damaged`` and ``UnknownBlob`` where it is not what it was."""
    from orchestrator.graph.fingerprint import Stored, restored

    content = await load_content(store, row)
    try:
        return restored(Stored(content, jsonish.digest(content), row.graph_hash))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(row.run_id, seq=1, problem=f"its graph cannot be read: {error}") from None


async def load_content(store: Store, row: RunRow) -> bytes:
    """The canonical bytes of the run's graph: a blob that its first record names."""
    first = await store.load(row.run_id, upto=1)
    try:
        return await store.get_blob(first[0].body["graph"])
    except (IndexError, KeyError):
        raise Damaged(row.run_id, seq=1, problem="it names no graph") from None
