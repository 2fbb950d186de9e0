"""Values as MariaDB and MySQL take them: written into a statement, and bound to a prepared one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from orchestrator.journal.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Sequence

_NULL, _INT, _TEXT, _BYTES = b"\x06\0", b"\x08\0", b"\xfd\0", b"\xfc\0"
"""Types of the protocol: NULL, LONGLONG, VAR_STRING, BLOB."""

_SHORT = [bytes([n]) for n in range(251)]
_long_long = struct.Struct("<q").pack
_begun = struct.Struct("<IBI").pack


def literal(value: Any) -> bytes:
    """A value as SQL, in the modes that every session sets. Raises ``BadData`` for a text that is not UTF-8."""
    match value:
        case None:
            return b"NULL"
        case bool() | int():
            return b"%d" % value
        case bytes():
            return b"_binary'" + _escaped(value) + b"'"
        case str():
            return b"'" + _escaped(_encoded(value)) + b"'"
        case _:
            raise TypeError(f"no SQL for a {type(value).__name__}")


def execution(statement: int, values: Sequence[Any]) -> bytes:
    """The command that executes a prepared statement once with these values.

    Raises ``BadData`` for a text that is not UTF-8 and for a number of more than 64 bits.
    """
    nulls = 0
    types: list[bytes] = []
    cells: list[bytes] = []
    for n, value in enumerate(values):
        if isinstance(value, int):
            types.append(_INT)
            try:
                cells.append(_long_long(value))
            except struct.error as error:
                raise BadData(None, problem=f"a number is out of range: {error}") from error
            continue
        if value is None:
            types.append(_NULL)
            nulls |= 1 << n
            continue
        if isinstance(value, str):
            types.append(_TEXT)
            cell = _encoded(value)
        elif isinstance(value, bytes):
            types.append(_BYTES)
            cell = value
        else:
            raise TypeError(f"nothing to bind a {type(value).__name__} as")
        length = len(cell)
        cells += (_SHORT[length] if length < 251 else _size(length), cell)
    bits = nulls.to_bytes((len(types) + 7) // 8, "little")
    return b"".join((_begun(statement, 0, 1), bits, b"\1", *types, *cells))


def _size(length: int) -> bytes:
    """A length of 251 or more as the protocol writes it."""
    if length < 1 << 16:
        return b"\xfc" + length.to_bytes(2, "little")
    return b"\xfd" + length.to_bytes(3, "little") if length < 1 << 24 else b"\xfe" + length.to_bytes(8, "little")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadData(None, problem=f"a text is not UTF-8: {error.reason}") from error


def _escaped(data: bytes) -> bytes:
    return data.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
