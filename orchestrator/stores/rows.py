"""Between the values of the protocol and the tuples of a database: the same for every SQL store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.journal.errors import Damaged
from orchestrator.journal.store import RUN_COLUMNS, Driver, InboxRow, Owner, RunRow
from orchestrator.jsonish import canonical, loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.journal.store import Fact, NewRun, Slice

_JSON = ("labels", "error")


def bound(name: str, value: Any) -> Any:
    """A value of a column of ``runs`` as it is bound: JSON as bytes, the rest as it is."""
    if name in _JSON and value is not None:
        return canonical(dict(value))
    return value


def run_row(values: Sequence[Any]) -> RunRow:
    """A run from its columns and, last, the lease of its owner and the time (microseconds since the epoch)."""
    *columns, lease_until, now = values
    found = dict(zip(RUN_COLUMNS, columns, strict=True))
    for name in _JSON:
        if found[name] is not None:
            found[name] = loads(found[name])
    stalled = found["status"] == "running" and (lease_until is None or lease_until <= now)
    return RunRow(**found, stalled=stalled)


def created(new: NewRun, piece: Slice) -> dict[str, Any]:
    """The columns of a run that is made by ``piece``."""
    return {
        "run_id": new.run_id,
        "name": new.name,
        "graph_hash": new.graph_hash,
        "status": "queued" if new.owner is None else "running",
        "reason": None,
        "epoch": piece.epoch,
        "owner": None if piece.release else new.owner,
        "head": piece.head,
        "head_sum": piece.head_sum,
        "wake_at": None,
        "parent_id": new.parent_id,
        "root_id": new.root_id,
        "spend": 0,
        "tokens": 0,
        "labels": dict(new.labels),
        "error": None,
        "claims": 0 if new.owner is None else 1,
        "created_at": new.created_at,
        "updated_at": piece.at,
        "finished_at": None,
        **piece.projection.changes(),
    }


def advanced(piece: Slice) -> dict[str, Any]:
    """The columns that ``piece`` sets in the row of a run that is there."""
    changes = {"head": piece.head, "head_sum": piece.head_sum, "updated_at": piece.at, **piece.projection.changes()}
    if piece.progress:
        changes["claims"] = 0
    if piece.release:
        changes["owner"] = None
    return changes


def check_ends(run: RunRow, rows: Sequence[Sequence[Any]], from_seq: int, last: int) -> None:
    """Raise ``Damaged`` unless rows of the journal begin where they should and end where the run's row says."""
    first, end = (rows[0][1], rows[-1][1]) if rows else (from_seq, from_seq - 1)
    if first != from_seq:
        raise Damaged(run.run_id, seq=from_seq, problem="the row is missing")
    if end < last:
        raise Damaged(run.run_id, seq=end + 1, problem=f"the row is missing (the run's row says {run.head})")
    if rows and end == run.head and rows[-1][9] != run.head_sum:
        raise Damaged(run.run_id, seq=end, problem="its sum is not the one in the run's row")


def inbox_values(row: InboxRow) -> tuple[Any, ...]:
    """A row of ``inbox`` as it is bound."""
    body = canonical(row.body)
    return (row.run_id, row.request_id, row.kind, row.path, body, row.by, row.at, row.consumed_seq)


def inbox_row(values: Sequence[Any]) -> InboxRow:
    """A row of ``inbox`` from its columns."""
    run_id, request_id, kind, path, body, by, at, consumed_seq = values
    return InboxRow(
        run_id=run_id,
        request_id=request_id,
        kind=kind,
        path=path,
        body=loads(body),
        by=by,
        at=at,
        consumed_seq=consumed_seq,
    )


def owner_row(values: Sequence[Any]) -> Owner:
    """A row of ``drivers`` from its columns."""
    owner, host, boot_id, pid_ns, pid, started, lease_until, renewed_at = values
    driver = Driver(owner=owner, host=host, boot_id=boot_id, pid_ns=pid_ns, pid=pid, started=started)
    return Owner(driver=driver, lease_until=lease_until, renewed_at=renewed_at)


def fact_values(fact: Fact) -> tuple[str, str, str, int, str]:
    """The columns of ``memory``."""
    return (fact.scope, fact.key, fact.text, fact.at, fact.by_run)
