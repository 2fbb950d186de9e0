"""What every store refuses, so that a run that lives in one can move to any other.

PostgreSQL holds no NUL in a text, nothing but UTF-8 goes over the wire, MariaDB's keys and packets have an end: each
store asks here before it writes, and gives the same answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.journal.errors import BadData
from orchestrator.jsonish import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.journal.store import Batch, Driver, Fact, InboxRow, NewRun, RunFilter, Slice

MAX_ID = 380
"""Characters of an id or a name: two of them are a key of MariaDB."""

MAX_VALUE = 4 * 1024 * 1024
"""Bytes of a text, or of JSON beside the journal: escaped, it fits MariaDB's usual packet of 16 MiB."""


def holdable(*texts: str | None) -> bool:
    """True for texts that a column can hold. No row has another one: it need not be looked for."""
    return all(text is None or _problem(text) is None for text in texts)


def check_batch(batch: Batch) -> None:
    """Raise ``BadData``, with its run, where a slice says what not every database holds."""
    for piece in batch:
        _check_slice(piece)


def check_mail(row: InboxRow) -> None:
    """The same of what is sent to a run."""
    _ids(row.run_id, ("a run's id", row.run_id), ("a request id", row.request_id))
    _texts(row.run_id, ("a kind", row.kind), ("a path", row.path), ("a sender", row.by))
    _json(row.run_id, "a message", row.body)


def check_driver(driver: Driver) -> None:
    """The same of a driver."""
    _ids(None, ("a driver's id", driver.owner))
    _texts(None, ("a host", driver.host), ("a boot id", driver.boot_id), ("a namespace", driver.pid_ns))


def check_fact(fact: Fact) -> None:
    """The same of what is remembered."""
    _ids(None, ("a scope", fact.scope), ("a key", fact.key), ("a run's id", fact.by_run))
    _texts(None, ("a text", fact.text))
    if not fact.key:
        raise _bad(None, "a key is empty")


def findable(chosen: RunFilter) -> bool:
    """True unless the filter names what no run can have."""
    return holdable(*chosen.status, chosen.name, chosen.parent_id)


def _check_slice(piece: Slice) -> None:
    if _problem("".join([row.path for row in piece.rows])) is not None:  # at once, since it is asked of every commit
        _texts(piece.run_id, *(("a path", row.path) for row in piece.rows))
    if piece.create is not None:
        _check_new(piece.create)
    changes = piece.projection.changes()
    if changes:
        _texts(piece.run_id, ("a reason", changes.get("reason")))
        for name in ("labels", "error"):
            if changes.get(name) is not None:
                _json(piece.run_id, name, changes[name])
    for row in (*piece.inbox, *piece.waiting):
        check_mail(row)


def _check_new(new: NewRun) -> None:
    _ids(
        new.run_id,
        ("a run's id", new.run_id),
        ("a run's name", new.name),
        ("a parent", new.parent_id),
        ("a root", new.root_id),
        ("a driver's id", new.owner),
    )
    _json(new.run_id, "labels", new.labels)


def _ids(run_id: str | None, *named: tuple[str, str | None]) -> None:
    for what, text in named:
        if text is not None and len(text) > MAX_ID:
            raise _bad(run_id, f"{what} of {len(text)} characters is over {MAX_ID}")
    _texts(run_id, *named)


def _texts(run_id: str | None, *named: tuple[str, str | None]) -> None:
    for what, text in named:
        if text is not None and (problem := _problem(text)) is not None:
            raise _bad(run_id, f"{what} {problem}")


def _json(run_id: str, what: str, value: Mapping[str, Any]) -> None:
    try:
        size = len(canonical(dict(value)))
    except (ValueError, TypeError, RecursionError) as error:
        why = "has a lone surrogate in it" if isinstance(error, UnicodeEncodeError) else f"is not JSON: {error}"
        raise _bad(run_id, f"{what} {why}") from error
    if size > MAX_VALUE:
        raise _bad(run_id, f"{what} of {size} bytes is over {MAX_VALUE}")


def _problem(text: str) -> str | None:
    if "\0" in text:
        return f"has a NUL character in it: {text[:80]!r}"
    if text.isascii():
        return None if len(text) <= MAX_VALUE else f"of {len(text)} bytes is over {MAX_VALUE}"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return f"has a lone surrogate in it: {text[:80]!r}"
    return None if size <= MAX_VALUE else f"of {size} bytes is over {MAX_VALUE}"


def _bad(run_id: str | None, problem: str) -> BadData:
    shown = run_id if run_id is None or _problem(run_id) is None else None
    return BadData(shown, problem=problem)
