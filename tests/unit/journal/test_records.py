from __future__ import annotations

import gc
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.journal.errors import Damaged
from orchestrator.journal.records import (
    GENESIS,
    INLINE_BYTES,
    KINDS,
    PART_BYTES,
    PROGRESS,
    Record,
    Row,
    chain,
    decode,
    decode_all,
    encode,
    encode_all,
    pack_blob,
    unpack_blob,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
RECORDS = st.builds(
    Record,
    seq=st.integers(1, 2**40),
    epoch=st.integers(0, 99),
    kind=st.sampled_from(KINDS),
    path=TEXT,
    body=st.dictionaries(TEXT, JSON),
    at=st.integers(0, 2**52),
)


def record(seq: int = 1, body: dict[str, Any] | None = None, **more: Any) -> Record:
    return Record(seq, 1, "done", "a/b", body or {}, 7, **more)


def rows(count: int) -> list[Row]:
    made = encode_all("r", [record(seq, {"n": seq}) for seq in range(1, count + 1)], GENESIS)
    return [item.row("r", "n") for item in made]


def no_blob(name: str) -> bytes:
    raise AssertionError("no blob was asked for")


def test_kinds_are_the_closed_list() -> None:
    assert len(KINDS) == len(set(KINDS)) == 21
    assert set(KINDS) > PROGRESS
    assert not PROGRESS & {"claimed", "started"}


@given(RECORDS, TEXT)
def test_a_record_comes_back(made: Record, run_id: str) -> None:
    row = encode(run_id, made, GENESIS).row(run_id, "n")
    assert decode(row, no_blob) == made
    assert chain(GENESIS, row) == row.sum
    assert chain(GENESIS, row._replace(nonce="other")) == row.sum


def test_the_sum_is_what_it_was() -> None:
    # A change here is a change of the format: old journals would all be damaged.
    row = encode("r", Record(1, 0, "run_started", "é", {"a": [1, 2.5, None]}, 5), GENESIS).row("r", "n")
    assert row.body == b'{"a":[1,2.5,null]}'
    text = ' 1 0 run_started 5 - 1 1 ré+{"a":[1,2.5,null]}'
    assert row.sum == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"seq": 2},
        {"epoch": 2},
        {"kind": "failed"},
        {"path": "a"},
        {"body": b"{}"},
        {"body": None},
        {"body": None, "blob": "0" * 64},
        {"at": 8},
        {"run_id": "r2"},
        {"run_id": "ra", "path": "/b"},
    ],
)
def test_each_column_counts(other: dict[str, Any]) -> None:
    row = rows(1)[0]
    assert chain(GENESIS, row._replace(**other)) != row.sum
    assert chain("x", row) != row.sum


def test_a_run_of_rows_comes_back() -> None:
    assert [made.body["n"] for made in decode_all("r", rows(5), no_blob)] == [1, 2, 3, 4, 5]
    assert decode_all("r", [], no_blob) == []
    some = rows(5)
    assert [made.seq for made in decode_all("r", some[2:], no_blob, prev=some[1].sum)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("order", "seq"), [((0, 2), 2), ((0, 1, 1, 2), 3), ((0, 2, 1), 2), ((1, 0, 2), 2), ((1, 2), 2), ((0, 1, 3), 3)]
)
def test_rows_that_are_dropped_doubled_or_swapped_are_seen(order: tuple[int, ...], seq: int) -> None:
    some = rows(4)
    with pytest.raises(Damaged) as caught:
        decode_all("r", [some[at] for at in order], no_blob)
    assert caught.value.seq == seq


@given(st.data())
def test_a_flipped_byte_is_seen(data: st.DataObject) -> None:
    some = rows(3)
    at = data.draw(st.integers(0, 2))
    body = bytearray(some[at].body or b"")
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    some[at] = some[at]._replace(body=bytes(body))
    with pytest.raises(Damaged):
        decode_all("r", some, no_blob)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"", None, b"[" * 100_000])
def test_a_body_that_cannot_be_read(body: bytes | None) -> None:
    with pytest.raises(Damaged, match="cannot be read"):
        decode(rows(1)[0]._replace(body=body), no_blob)


@pytest.mark.parametrize("body", [b"{", b"{},{}", b"\xff", b""])
def test_a_body_that_was_never_json_under_a_right_sum(body: bytes) -> None:
    some = rows(3)
    some[1] = some[1]._replace(body=body)
    some[1] = some[1]._replace(sum=chain(some[0].sum, some[1]))
    with pytest.raises(Damaged, match="cannot be read") as caught:
        decode_all("r", some[:2], no_blob)
    assert caught.value.seq == 2


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        decode_all("r", rows(2), no_blob)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_thousands_of_rows() -> None:
    some = rows(2500)
    assert [made.seq for made in decode_all("r", some, no_blob)] == list(range(1, 2501))
    del some[1999]
    with pytest.raises(Damaged) as caught:
        decode_all("r", some, no_blob)
    assert caught.value.seq == 2000


def test_a_kind_of_a_later_version() -> None:
    with pytest.raises(Damaged, match="unknown kind 'dreamt'"):
        decode(rows(1)[0]._replace(kind="dreamt"), no_blob)


@pytest.mark.parametrize(
    "body", [{"x": float("nan")}, {"x": float("inf")}, {"x": b"bytes"}, {"x": object()}, {"x": "\ud800"}]
)
def test_what_is_not_json_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode("r", record(body=body), GENESIS)


def test_a_path_that_is_not_text_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode("r", record()._replace(path="\ud800"), GENESIS)


@pytest.mark.parametrize(("length", "inline"), [(INLINE_BYTES - 8, True), (INLINE_BYTES - 7, False)])
def test_long_bodies_are_blobs(length: int, inline: bool) -> None:
    made = record(body={"x": "y" * length})
    encoded = encode("r", made, GENESIS)
    assert (encoded.body is not None, encoded.blob is None, encoded.content is None) == (inline,) * 3
    assert (encoded.size > INLINE_BYTES) == inline
    if not inline:
        assert encoded.content is not None
        found = {part.hash: part.body for part in pack_blob(encoded.content)}
        row = encoded.row("r", "n")
        assert decode(row, lambda name: unpack_blob(name, [found[name]])) == made


@given(st.binary(max_size=100))
def test_a_blob_comes_back(content: bytes) -> None:
    parts = list(pack_blob(content))
    assert [(part.hash, part.part, part.size) for part in parts] == [
        (hashlib.sha256(content).hexdigest(), 0, len(content))
    ]
    assert unpack_blob(parts[0].hash, [parts[0].body]) == content


def test_a_large_blob_has_parts() -> None:
    content = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(80_000))
    parts = list(pack_blob(content))
    assert [part.part for part in parts] == [0, 1, 2]
    assert [len(part.body) for part in parts[:2]] == [PART_BYTES, PART_BYTES]
    bodies = [part.body for part in parts]
    assert unpack_blob(parts[0].hash, bodies) == content
    for wrong in (bodies[:2], [bodies[1], bodies[0], bodies[2]], []):
        with pytest.raises(ValueError, match="cannot be unpacked"):
            unpack_blob(parts[0].hash, wrong)
    with pytest.raises(ValueError, match="not what its name says"):
        unpack_blob("0" * 64, bodies)
