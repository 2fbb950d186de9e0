"""A run as JSON lines: a header with its graph, the journal's rows with the contents of their blobs, what waits in the
inbox, then the stored contents that all these name (files, outputs that were cut), and a last line that counts them.

The header says where the journal ended when the export began, with the sum there, and how many messages waited: what
was cut anywhere is known as cut.

The body of a row stands as JSON; its canonical bytes are what was hashed, so that the chain of sums can be checked
again from the file alone.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator import jsonish
from orchestrator.app.history import load_content
from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import field, frozen
from orchestrator.journal.errors import Damaged
from orchestrator.journal.records import Record, Row, decode_all
from orchestrator.journal.references import names_in
from orchestrator.journal.store import InboxRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.store import RunRow, Store

FORMAT = "orch.export/1"
_NOT_TEXT = frozenset(
    {"kind", "code", "status", "effect", "tool", "model", "stop", "by", "hash", "key", "timer", "for"}
)
_TYPES = {"run_id": str, "seq": int, "epoch": int, "nonce": str, "kind": str, "path": str, "at": int, "sum": str}
_ROW = ("parent_id", "root_id", "labels", "created_at")
"""What of a run's row its records do not say."""

_MESSAGE = {"kind": str, "path": str, "by": str, "at": int, "body": dict}
"""What an inbox says beside the request id."""


class NotAnExport(OrchError):
    """A file that is no export of a run, or not the whole of one."""

    code: ClassVar[str] = "E706"
    exit: ClassVar[Exit] = Exit.MISMATCH

    def __init__(self, name: str, *, problem: str) -> None:
        super().__init__(f"{name} is no export of a run: {problem}", hint="`orch export RUN` makes one")


@frozen
class Exported:
    """An export read back. ``redacted`` ones hold no values, and their sums cannot be checked.

    ``rows``, ``contents`` (graph and blobs, whole) and ``waiting`` (what nobody has taken up) are what a store would
    hold; ``row`` is what the header says of the run's own row.
    """

    run_id: str
    graph: Graph | None
    records: list[Record]
    redacted: bool
    rows: list[Row]
    contents: list[bytes]
    row: Mapping[str, Any]
    waiting: list[InboxRow] = field(default_factory=list["InboxRow"])


async def export_lines(store: Store, row: RunRow, *, redact: bool) -> AsyncIterator[dict[str, Any]]:
    """The header, a line per row up to the head that the run has now, and the rest. Raises ``Damaged`` where a row or a
    content is missing.
    """
    row, waiting = await _standing(store, row)
    header: dict[str, Any] = {
        "format": FORMAT,
        "run": row.run_id,
        "name": row.name,
        "graph_hash": row.graph_hash,
        "redacted": redact,
        "head": row.head,
        "head_sum": row.head_sum,
        "inbox": 0 if redact else len(waiting),
    }
    if not redact:
        header["graph"] = jsonish.loads(await load_content(store, row))
        header["row"] = {name: getattr(row, name) for name in _ROW}
    yield header
    there: set[str] = set()
    named: set[str] = set()
    async for each in _rows_up_to(store, row):
        content = (each.body if each.blob is None else await store.get_blob(each.blob)) or b"null"
        yield _line(each, content, redact=redact)
        named |= names_in(content)
        if each.blob is not None:
            there.add(each.blob)
    if redact:
        yield {"contents": 0}
        return
    for message in waiting:
        yield {"inbox": message.request_id, **{name: getattr(message, name) for name in _MESSAGE}}
        named |= names_in(jsonish.canonical(message.body))
    there.add(jsonish.digest(jsonish.canonical(header["graph"])))
    held = sorted(await store.held_blobs(named - there))
    for name in held:
        yield {"content": name, "base64": b64encode(await store.get_blob(name)).decode()}
    yield {"contents": len(held)}


async def _standing(store: Store, row: RunRow) -> tuple[RunRow, list[InboxRow]]:
    """The run's row, and what waits at its head: a message is taken up with a row, so that a head which stayed the same
    while the inbox was read has each message either in the journal or in the inbox.
    """
    while True:
        waiting = await store.pending(row.run_id)
        again = await store.get_run(row.run_id)
        if again.head == row.head:
            return again, waiting
        row = again


async def _rows_up_to(store: Store, row: RunRow) -> AsyncIterator[Row]:
    """The rows up to the run's head. Raises ``Damaged`` where one is missing, or the last one is not the head's."""
    seq = 1
    while seq <= row.head:
        rows = await store.rows(row.run_id, from_seq=seq)
        if not rows:
            raise Damaged(row.run_id, seq=seq, problem="the row is missing")
        for each in rows[: row.head - seq + 1]:
            if each.seq != seq:
                raise Damaged(row.run_id, seq=seq, problem=f"the row is missing (seq {each.seq} comes next)")
            if seq == row.head and each.sum != row.head_sum:
                raise Damaged(row.run_id, seq=seq, problem="its sum is not that of the run's head")
            yield each
            seq += 1


def _line(row: Row, content: bytes, *, redact: bool) -> dict[str, Any]:
    line = row._asdict()
    try:
        body = jsonish.loads(content)
    except ValueError as error:
        raise Damaged(row.run_id, seq=row.seq, problem=f"its body cannot be read: {error}") from None
    line["body"] = _without_values(body) if redact else body
    if redact:
        line["path"] = _without_keys(row.path)
    return line


def _without_values(body: Any, key: str = "") -> Any:
    """The shape of a body: numbers, and texts of fixed alphabets; every other text by its length alone."""
    if isinstance(body, dict):
        found = cast("dict[str, Any]", body)
        if key in ("output", "outputs", "inputs", "input", "args", "labels", "detail"):
            return {"redacted": "object", "fields": len(found)}
        return {name: _without_values(item, name) for name, item in found.items()}
    if isinstance(body, list):
        return [_without_values(item, key) for item in cast("list[Any]", body)]
    if isinstance(body, str) and key not in _NOT_TEXT:
        return f"<redacted: {len(body)} characters>"
    return body


def _without_keys(path: str) -> str:
    """A path whose keys of map items are replaced by the beginning of their hash."""
    import re

    return re.sub(
        r"\[([^\]]*)\]", lambda key: key[0] if key[1].isdigit() else f"[{jsonish.digest(key[1].encode())[:12]}]", path
    )


def read_export(path: Path) -> Exported:
    """Read a file back and check its chain of sums. Raises ``NotAnExport`` and ``Damaged``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotAnExport(str(path), problem=error.strerror or "it cannot be read") from None
    return parse_export(str(path), data)


def parse_export(name: str, data: bytes) -> Exported:
    """What an export holds, its chain of sums checked; ``name`` is what to call it. Raises as ``read_export``."""
    try:
        lines = [json.loads(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise NotAnExport(name, problem="it is not JSON lines") from None
    header = lines[0] if lines and isinstance(lines[0], dict) else {}
    if header.get("format") != FORMAT or not isinstance(header.get("run"), str):
        raise NotAnExport(name, problem=f"its first line is not of format {FORMAT}")
    redacted = header.get("redacted") is True
    contents = [line for line in lines[1:] if isinstance(line, dict) and "content" in line]
    messages = [line for line in lines[1:] if isinstance(line, dict) and "inbox" in line]
    counts = [line for line in lines[1:] if isinstance(line, dict) and "contents" in line]
    end = len(lines) - len(contents) - len(messages) - len(counts)
    _check_header(name, header)
    rows, blobs = _rows(name, header["run"], lines[1:end], redacted=redacted)
    _check_whole(name, header, rows, messages=len(messages), counts=counts, contents=len(contents))
    records = decode_all(header["run"], rows, blobs.__getitem__, verify=not redacted)
    graph = None if redacted else _graph(name, header)
    graphs = [jsonish.canonical(header["graph"])] if graph else []
    row = header.get("row")
    return Exported(
        header["run"],
        graph,
        records,
        redacted,
        rows,
        [*graphs, *blobs.values(), *(_content(name, line) for line in contents)],
        cast("dict[str, Any]", row) if isinstance(row, dict) else {},
        _waiting(name, header["run"], messages),
    )


def _check_header(name: str, header: dict[str, Any]) -> None:
    says = {"head": int, "head_sum": str, "inbox": int}
    if any(type(header.get(key)) is not kind for key, kind in says.items()):
        raise NotAnExport(name, problem="its first line does not say where the run ends, as that of an older orch")


def _check_whole(
    name: str, header: dict[str, Any], rows: list[Row], *, messages: int, counts: list[dict[str, Any]], contents: int
) -> None:
    """Raise where the file is not all that its header promises."""
    last = rows[-1].seq if rows else 0
    if last != header["head"]:
        raise NotAnExport(name, problem=f"it was cut: its records end at seq {last}, the run at seq {header['head']}")
    if rows and rows[-1].sum != header["head_sum"]:
        raise NotAnExport(name, problem="its last record is not the one that its first line names")
    if messages != header["inbox"]:
        raise NotAnExport(
            name, problem=f"it holds {messages} of the {header['inbox']} messages that waited in the run's inbox"
        )
    if [line["contents"] for line in counts] != [contents]:
        raise NotAnExport(name, problem="it was cut: stored contents of it are missing, or the line that counts them")


def _waiting(name: str, run_id: str, lines: list[dict[str, Any]]) -> list[InboxRow]:
    found: dict[str, InboxRow] = {}
    for line in lines:
        said = {column: line.get(column) for column in _MESSAGE}
        fits = all(type(said[column]) is kind for column, kind in _MESSAGE.items())
        if not fits or not isinstance(line["inbox"], str) or line["inbox"] in found:
            raise NotAnExport(name, problem="a message of it cannot be read")
        found[line["inbox"]] = InboxRow(run_id=run_id, request_id=line["inbox"], **cast("dict[str, Any]", said))
    return list(found.values())


def _content(name: str, line: dict[str, Any]) -> bytes:
    try:
        content = b64decode(line["base64"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise NotAnExport(name, problem="a stored content of it cannot be read") from None
    if jsonish.digest(content) != line["content"]:
        raise NotAnExport(name, problem="a stored content of it is not the one that its name says")
    return content


def _graph(name: str, header: dict[str, Any]) -> Graph:
    from orchestrator.graph.fingerprint import graph_hash
    from orchestrator.graph.nodes import graph_from_json

    data = header.get("graph")
    try:
        graph = graph_from_json(cast("dict[str, Any]", data))
        if graph_hash(graph) != header.get("graph_hash"):
            raise Damaged(header["run"], seq=1, problem="its graph is not the one that the header names")
        return graph
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAnExport(name, problem=f"its graph cannot be read: {error}") from None


def _rows(name: str, run_id: str, lines: Iterable[Any], *, redacted: bool) -> tuple[list[Row], dict[str, bytes]]:
    rows: list[Row] = []
    blobs: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=2):
        try:
            found: dict[str, Any] = dict(line)
            if any(type(found[column]) is not kind for column, kind in _TYPES.items()):
                raise ValueError(number)
            content = jsonish.canonical(found["body"])
            if found["blob"] is not None:
                if not redacted and jsonish.digest(content) != found["blob"]:
                    raise Damaged(
                        run_id, seq=int(found["seq"]), problem="its content is not the one that the row names"
                    )
                blobs[found["blob"]] = content
            found["body"] = None if found["blob"] is not None else content
            rows.append(Row(**found))
        except (KeyError, TypeError, ValueError):
            raise NotAnExport(name, problem=f"line {number} is no row of a journal") from None
    if any(row.run_id != run_id for row in rows):
        raise NotAnExport(name, problem="it holds rows of another run")
    return rows, blobs
