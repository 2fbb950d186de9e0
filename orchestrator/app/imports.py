"""A run that moves from one store to another: made from its export whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator import jsonish
from orchestrator.app.exports import Exported, NotAnExport
from orchestrator.journal.errors import Conflict, RunTaken, Unknown
from orchestrator.journal.records import GENESIS
from orchestrator.journal.store import PROJECTED, STATUSES, NewRun, Projection, Slice

if TYPE_CHECKING:
    from orchestrator.journal.store import Store

_TRIES = 3


async def import_run(store: Store, exported: Exported, name: str) -> None:
    """Make the run in ``store`` in one transaction, held by nobody. ``name`` is what to call the file.

    Raises ``RunTaken`` where a run of this id is there, ``NotAnExport`` where the file cannot make one, ``BadData``
    where the database refuses a value of it.
    """
    piece = _slice(exported, name)
    await store.put_blobs(exported.contents)
    for _ in range(_TRIES):
        try:
            await store.commit([piece])
            return
        except (Conflict, Unknown):
            settled = await store.settle([(piece.run_id, 1)])
            if settled[piece.run_id] == piece.nonce:
                return
            if settled[piece.run_id] is not None:
                break
    raise RunTaken(exported.run_id)


def _slice(exported: Exported, name: str) -> Slice:
    if exported.redacted:
        raise NotAnExport(name, problem="its values were left out")
    row, rows = exported.row, exported.rows
    if not rows or not row or row.get("status") not in STATUSES:
        raise NotAnExport(name, problem="it does not say how the run stands")
    graph = exported.records[0].body.get("graph")
    if graph != jsonish.digest(exported.contents[0]):
        raise NotAnExport(name, problem="its graph is not the one that its first record names")
    try:
        projection: dict[str, Any] = {column: row[column] for column in PROJECTED}
        new = NewRun(
            run_id=exported.run_id,
            name=str(exported.graph.name if exported.graph else ""),
            graph_hash=str(row["graph_hash"]),
            root_id=str(row["root_id"]),
            created_at=int(row["created_at"]),
            labels=row["labels"],
            parent_id=row["parent_id"],
        )
        epoch, at = int(row["epoch"]), int(row["updated_at"])
    except (KeyError, TypeError, ValueError):
        raise NotAnExport(name, problem="it does not say how the run stands") from None
    return Slice(
        run_id=exported.run_id,
        epoch=epoch,
        base_head=0,
        base_sum=GENESIS,
        nonce=rows[0].nonce,
        rows=tuple(rows),
        at=at,
        projection=Projection(**projection),
        create=new,
    )
