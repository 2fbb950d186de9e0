"""Records, and the rows that hold them.

A record is what happened; a row is how a store keeps it. The two differ in the body (a JSON object; canonical bytes,
or the hash of a blob where it is over 32 KiB), in the nonce (which slice brought it) and in the chained sum. The sum
of a row is SHA-256 over the sum before it and every other column but the nonce, so that a gap, a flipped byte, and a
row that was dropped, doubled or swapped are seen.
"""

from __future__ import annotations

import gc
import zlib
from contextlib import contextmanager
from hashlib import sha256
from json import JSONDecoder
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from orchestrator.journal.errors import Damaged
from orchestrator.jsonish import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

Kind: TypeAlias = Literal[
    "run_started",
    "claimed",
    "started",
    "done",
    "failed",
    "skipped",
    "cancelled",
    "expanded",
    "waiting",
    "received",
    "fired",
    "answered",
    "resolved",
    "compacted",
    "limit_reached",
    "budget_added",
    "paused",
    "resumed",
    "cancel_requested",
    "inherited",
    "run_finished",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_KNOWN = frozenset(KINDS)

PROGRESS: frozenset[str] = _KNOWN - {
    "claimed",
    "started",
    "waiting",
    "paused",
    "resumed",
    "limit_reached",
    "cancel_requested",
}
"""Kinds that show that a driver got on: any of them ends a row of claims without progress."""

INLINE_BYTES = 32 * 1024
"""Bodies over this many bytes are kept as blobs."""

PART_BYTES = 1024 * 1024
"""A blob is compressed as a whole and cut into parts of at most this many bytes."""

GENESIS = ""
"""The sum before the first row of a run."""


class Draft(NamedTuple):
    """A record without its place: what the decider and the steps make. ``body`` is a JSON object."""

    kind: Kind
    path: str
    body: dict[str, Any]


class Record(NamedTuple):
    """What happened. ``seq`` counts from 1 without gaps; ``at`` is in microseconds since the epoch, UTC."""

    seq: int
    epoch: int
    kind: Kind
    path: str
    body: dict[str, Any]
    at: int


class Row(NamedTuple):
    """A row of ``journal``, in the order of its columns. A tuple, since that is what databases bind and return."""

    run_id: str
    seq: int
    epoch: int
    nonce: str
    kind: str
    path: str
    body: bytes | None
    blob: str | None
    at: int
    sum: str


class Encoded(NamedTuple):
    """A row before its slice is frozen: the record's columns but run and nonce, and the blob it refers to, if any."""

    seq: int
    epoch: int
    kind: str
    path: str
    body: bytes | None
    blob: str | None
    at: int
    sum: str
    content: bytes | None
    """The blob's whole content, not compressed."""

    @property
    def size(self) -> int:
        """About how many bytes the row adds to a batch."""
        return len(self.body or b"") + len(self.path) + 256

    def row(self, run_id: str, nonce: str) -> Row:
        """The row as it is sent in the slice of ``nonce``."""
        return Row(run_id, self.seq, self.epoch, nonce, self.kind, self.path, self.body, self.blob, self.at, self.sum)


class BlobPart(NamedTuple):
    """A row of ``blobs``, but for ``touched_at``. ``size`` is that of the whole content in bytes."""

    hash: str
    part: int
    size: int
    body: bytes


def link(
    prev: str, run_id: str, seq: int, epoch: int, kind: str, path: str, body: bytes | None, blob: str | None, at: int
) -> str:
    """The sum of a row with these columns after a row whose sum is ``prev`` (64 hex digits).

    Numbers and names of fixed alphabets come first, then the lengths of the free texts: no two rows share an encoding.
    """
    head = f"{prev} {seq} {epoch} {kind} {at} {blob or '-'} {len(run_id)} {len(path)} {run_id}{path}"
    return sha256(head.encode() + (b"-" if body is None else b"+" + body)).hexdigest()


def chain(prev: str, row: Row) -> str:
    """The sum that ``row`` must have after a row whose sum is ``prev``; its own ``sum`` and ``nonce`` do not count."""
    return link(prev, row.run_id, row.seq, row.epoch, row.kind, row.path, row.body, row.blob, row.at)


def encode(run_id: str, record: Record, prev: str) -> Encoded:
    """The columns of a record that follows a row with the sum ``prev``.

    Raises ValueError or TypeError where the body is not JSON, or a text is not UTF-8.
    """
    data = canonical(record.body)
    body, blob, content = data, None, None
    if len(data) > INLINE_BYTES:
        body, blob, content = None, digest(data), data
    total = link(prev, run_id, record.seq, record.epoch, record.kind, record.path, body, blob, record.at)
    return Encoded(record.seq, record.epoch, record.kind, record.path, body, blob, record.at, total, content)


def encode_all(run_id: str, records: Iterable[Record], prev: str) -> list[Encoded]:
    """``encode`` over records that follow one another."""
    out: list[Encoded] = []
    for record in records:
        out.append(encode(run_id, record, prev))
        prev = out[-1].sum
    return out


def decode(row: Row, load_blob: Callable[[str], bytes]) -> Record:
    """The record that a row holds. Raises ``Damaged`` where it holds none."""
    return decode_all(row.run_id, [row], load_blob, verify=False)[0]


_scan = JSONDecoder().decode
_AT_ONCE = 256


def decode_all(
    run_id: str,
    rows: Sequence[tuple[Any, ...]],
    load_blob: Callable[[str], bytes],
    *,
    prev: str = GENESIS,
    verify: bool = True,
) -> list[Record]:
    """The records of rows that follow one another, the first one after a row with the sum ``prev``.

    ``verify`` checks the chain of sums and the count of seqs. Raises ``Damaged`` at the first row that is not right.
    The rows are tuples with the columns of ``Row``: 100,000 of them take well under a second.
    """
    out: list[Record] = []
    with _no_collection():
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            if verify:
                prev = _verified(run_id, some, prev, expected=rows[0][1] + start)
            out += _decoded(run_id, some, load_blob, trusted=verify)
    return out


def _verified(run_id: str, rows: Sequence[tuple[Any, ...]], prev: str, *, expected: int) -> str:
    """The sum of the last row, where each has the seq and the sum that it must have."""
    for _, seq, epoch, _, kind, path, body, blob, at, total in rows:
        if seq != expected:
            raise Damaged(run_id, seq=expected, problem=f"the row is missing (seq {seq} comes next)")
        prev = link(prev, run_id, seq, epoch, kind, path, body, blob, at)
        if prev != total:
            raise Damaged(run_id, seq=seq, problem="its sum does not match")
        expected += 1
    return prev


def _decoded(
    run_id: str, rows: Sequence[tuple[Any, ...]], load_blob: Callable[[str], bytes], *, trusted: bool
) -> list[Record]:
    """The records of rows. Bodies whose sums were checked are read as one text, which takes a third of the time."""
    texts = [_text(run_id, row, load_blob) for row in rows]
    try:
        bodies = _scan(f"[{','.join(texts)}]") if trusted else []
    except (ValueError, RecursionError):
        bodies = []
    if len(bodies) != len(rows):
        bodies = [_body(run_id, row[1], text) for row, text in zip(rows, texts, strict=True)]
    return [
        Record(seq, epoch, kind, path, body, at)
        for (_, seq, epoch, _, kind, path, _, _, at, _), body in zip(rows, bodies, strict=True)
    ]


def _text(run_id: str, row: tuple[Any, ...], load_blob: Callable[[str], bytes]) -> str:
    """The text of a row's body, of a known kind."""
    if row[4] not in _KNOWN:
        raise Damaged(run_id, seq=row[1], problem=f"unknown kind {row[4]!r}")
    data = row[6] if row[7] is None else load_blob(row[7])
    try:
        return data.decode()
    except (AttributeError, UnicodeDecodeError) as error:
        raise Damaged(run_id, seq=row[1], problem="its body cannot be read") from error


def _body(run_id: str, seq: int, text: str) -> dict[str, Any]:
    try:
        return _scan(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(run_id, seq=seq, problem="its body cannot be read") from error


@contextmanager
def _no_collection() -> Generator[None]:
    """While a great many values are made that all stay, looking for garbage among them doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def pack_blob(content: bytes) -> Iterator[BlobPart]:
    """The parts in which a store keeps ``content``."""
    name = digest(content)
    packed = zlib.compress(content, 1)
    for part, start in enumerate(range(0, len(packed), PART_BYTES)):
        yield BlobPart(name, part, len(content), packed[start : start + PART_BYTES])


def unpack_blob(name: str, parts: Sequence[bytes]) -> bytes:
    """The content of a blob from its parts in order. Raises ValueError where it is not what its name says."""
    try:
        content = zlib.decompress(b"".join(parts))
    except zlib.error as error:
        raise ValueError(f"blob {name[:12]} cannot be unpacked") from error
    if digest(content) != name:
        raise ValueError(f"blob {name[:12]} is not what its name says")
    return content
