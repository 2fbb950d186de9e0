"""Values in the words of MySQL's protocol."""

from __future__ import annotations

import pytest

from orchestrator.journal.errors import BadData
from orchestrator.stores.mysql_values import execution, literal


def test_an_execution_is_laid_out_as_the_protocol_says() -> None:
    assert execution(7, ["é", -2, None, b"\0'"]) == (
        b"\7\0\0\0" b"\0" b"\1\0\0\0"  # statement, no cursor, once
        b"\x04" b"\x01"  # the third is NULL; types follow
        b"\xfd\0" b"\x08\0" b"\x06\0" b"\xfc\0"
        b"\x02\xc3\xa9" b"\xfe\xff\xff\xff\xff\xff\xff\xff" b"\x02\0'"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (0, b"\0"),
        (250, b"\xfa"),
        (251, b"\xfc\xfb\0"),
        (65535, b"\xfc\xff\xff"),
        (65536, b"\xfd\0\0\1"),
        (1 << 24, b"\xfe\0\0\0\1\0\0\0\0"),
    ],
)
def test_a_length_takes_as_many_bytes_as_it_needs(size: int, written: bytes) -> None:
    head = execution(1, [b""])[:-1]
    assert execution(1, [b"x" * size]) == head + written + b"x" * size


def test_nulls_are_marked_by_bits_in_order() -> None:
    assert execution(1, [None] * 9)[9:11] == b"\xff\x01"


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), True])
def test_numbers_of_64_bits_are_bound(number: int) -> None:
    assert int.from_bytes(execution(1, [number])[-8:], "little", signed=True) == number


def test_what_no_column_holds_is_refused() -> None:
    for what in (2**63, -(2**63) - 1, "a\ud800b"):
        with pytest.raises(BadData):
            execution(1, [what])
    with pytest.raises(BadData):
        literal("a\ud800b")
    for how in (literal, lambda value: execution(1, [value])):
        with pytest.raises(TypeError):
            how(1.5)
