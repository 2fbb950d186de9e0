"""A run that moves from one store to another: made from its export whole, or not at all.

What the run's row says is folded from its records, whose sums are checked; the file is believed in what they do not
say: labels, parent, root, when the run was made, and what waits in its inbox. A run that has not ended rests until
someone resumes it, since the store that it came from may still have a driver for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator import jsonish
from orchestrator.app.exports import Exported, NotAnExport
from orchestrator.app.runs import RUN_ID
from orchestrator.journal.errors import Conflict, RunTaken, Unknown
from orchestrator.journal.records import GENESIS
from orchestrator.journal.state import RunState, fold
from orchestrator.journal.store import ENDED, NewRun, Projection, Slice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.journal.store import Store

IMPORTED = "imported"
"""The reason of a run that rests since it came from elsewhere."""

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
        except Conflict:
            hint = f"`orch show {exported.run_id}` tells of it; an import keeps its id, so name another store"
            raise RunTaken(exported.run_id, hint=hint) from None
        except Unknown:
            found = (await store.settle([(piece.run_id, 1)]))[piece.run_id]
            if found == piece.nonce:
                return
    await store.commit([piece])


def _slice(exported: Exported, name: str) -> Slice:
    if exported.redacted:
        raise NotAnExport(name, problem="its values were left out")
    if not exported.rows or exported.records[0].kind != "run_started" or not RUN_ID.fullmatch(exported.run_id):
        raise NotAnExport(name, problem="it does not begin a run")
    try:
        state = fold(exported.records)
        _check_contents(exported, state, name)
        projection = _projection(state)
        new = _new_run(exported, state)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotAnExport(name, problem="it does not say how the run stands") from None
    last = exported.records[-1]
    return Slice(
        run_id=exported.run_id,
        epoch=last.epoch,
        base_head=0,
        base_sum=GENESIS,
        nonce=exported.rows[0].nonce,
        rows=tuple(exported.rows),
        at=last.at,
        projection=projection,
        create=new,
        waiting=tuple(exported.waiting),
    )


def _check_contents(exported: Exported, state: RunState, name: str) -> None:
    """Raise where the file lacks the graph, or a stored content that the run would need again."""
    from orchestrator.engine.host import files_in

    if state.started["graph"] != jsonish.digest(exported.contents[0]):
        raise NotAnExport(name, problem="its graph is not the one that its first record names")
    steps = list(state.steps.values())
    needed = files_in([state.started["inputs"], *(step.files for step in steps if step.files)])
    needed |= {step.overflow for step in steps if step.overflow is not None}
    if lacking := needed - {jsonish.digest(content) for content in exported.contents}:
        raise NotAnExport(name, problem=f"it lacks the stored content {min(lacking)[:16]}")


def _projection(state: RunState) -> Projection:
    if state.finished is None:
        reason = (state.paused or {}).get("reason", IMPORTED)
        return Projection(status="paused", reason=str(reason), spend=state.spend, tokens=state.tokens)
    if state.status not in ENDED:
        raise ValueError(state.status)
    return Projection(
        status=state.status,  # pyright: ignore[reportArgumentType]  just looked up
        spend=state.spend,
        tokens=state.tokens,
        error=state.finished.get("error"),
        finished_at=state.finished_at,
    )


def _new_run(exported: Exported, state: RunState) -> NewRun:
    said = exported.row
    labels: Mapping[Any, Any] = said.get("labels", {})
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise ValueError("labels")
    parent, created_at = said.get("parent_id"), said.get("created_at", state.started_at)
    if parent is not None and not RUN_ID.fullmatch(parent):
        raise ValueError("parent")
    root = said.get("root_id", exported.run_id)
    if not RUN_ID.fullmatch(root) or type(created_at) is not int:
        raise ValueError("root")
    return NewRun(
        run_id=exported.run_id,
        name=str(state.started["name"]),
        graph_hash=str(state.started["graph_hash"]),
        root_id=root,
        created_at=created_at,
        labels=dict(labels),
        parent_id=parent,
    )
