"""JSON values, their one canonical form, and what is done to text that no store can hold.

Canonical: UTF-8, keys in code-point order, no white space, exact integers, shortest floats that read back the same,
no NaN or infinity. Two values are the same exactly when their canonical bytes are.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Json: TypeAlias = "None | bool | int | float | str | list[Any] | dict[str, Any]"

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
_DECODER = json.JSONDecoder()


def _encoder() -> Callable[[Any], str]:
    """What ``_ENCODER.encode`` does, without making the encoder in C anew for each value: that takes longer than most
    values do."""
    make = vars(json.encoder).get("c_make_encoder")
    if make is None:  # an interpreter without it
        return _ENCODER.encode
    # No marks of what it is inside of: a cycle ends as what is nested too deep.
    chunks: Any = make(None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", True, False, False)

    def encode(value: Any) -> str:
        try:
            return "".join(chunks(value, 0))
        except RecursionError:
            raise ValueError("nested too deep, or a cycle") from None

    return encode


dumps: Callable[[Json], str] = _encoder()
"""Canonical text of a JSON value. ValueError on NaN, infinity or a cycle; TypeError on anything that is not JSON."""


def canonical(value: Json) -> bytes:
    """Canonical bytes of a JSON value whose texts are clean (see ``clean``)."""
    return dumps(value).encode()


def loads(data: bytes | str) -> Any:
    """The value of a JSON text. ValueError where it is none, or too deep, or has a number of over 4,300 digits."""
    try:
        return _DECODER.decode(data.decode() if isinstance(data, bytes) else data)
    except RecursionError:
        raise ValueError("nested too deep") from None


def digest(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def hash_of(value: Json) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def clean_text(text: str) -> str:
    """Text that every database holds: NUL and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shortened(text: str, most: int) -> str:
    """``text`` as every database holds it, in at most ``most`` characters: the first, and how many there were."""
    end = f"… (cut; {len(text)} characters)"
    return clean_text(text if len(text) <= most else text[: most - len(end)] + end)


def clean(value: Any, *, depth: int = 64) -> Json:
    """``value`` as JSON with clean texts.

    Raises TypeError for what is not JSON, ValueError for NaN, infinity, or nesting over ``depth``.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("NaN and infinity are not JSON")
        return float(value)
    if depth <= 0:
        raise ValueError("nested too deep")
    if isinstance(value, (list, tuple)):
        return [clean(item, depth=depth - 1) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        out: dict[str, Any] = {}
        for key, item in cast("dict[Any, Any]", value).items():
            if not isinstance(key, str):
                raise TypeError(f"a key of type {type(key).__name__} is not JSON")
            out[clean_text(key)] = clean(item, depth=depth - 1)
        return out
    raise TypeError(f"{type(value).__name__} is not JSON")
