"""Results of user functions as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Set
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

DEPTH = 64


def plain(value: Any, *, depth: int = DEPTH) -> Any:
    """``value`` as JSON, without importing what it may be made of.

    Mappings, sequences, sets (sorted), dataclasses, models with ``model_dump``, enums (their values), paths, times (ISO
    8601), durations (seconds), decimals and UUIDs (text), UTF-8 bytes (text), and arrays with ``tolist``. TypeError for
    anything else, ValueError for what is nested over ``depth`` levels or is no UTF-8.
    """
    if value is None or isinstance(value, (bool, str, int, float)) and not isinstance(value, Enum):
        return value
    if depth <= 0:
        raise ValueError("nested too deep, or a cycle")
    if isinstance(value, Mapping):
        return _object(cast("Mapping[Any, Any]", value), depth)
    if isinstance(value, (list, tuple)):
        return [plain(item, depth=depth - 1) for item in cast("list[Any]", value)]
    if isinstance(value, Set):
        return sorted((plain(item, depth=depth - 1) for item in cast("Set[Any]", value)), key=repr)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name), depth=depth - 1) for name in names}
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode()
    return plain(_simple(value), depth=depth - 1)


def _simple(value: Any) -> Any:
    """One step from a value of a class that JSON does not know to one that it may know."""
    match value:
        case Enum():
            return value.value
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case PurePath() | UUID() | Decimal():
            return str(value)
        case _:
            return _ask(value)


def _ask(value: Any) -> Any:
    kind = type(value)
    if not isinstance(value, type):
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return dump(mode="json")
        tolist = getattr(value, "tolist", None)  # arrays and their scalars
        if callable(tolist):
            return tolist()
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not JSON")


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(key)
        if name in out:
            raise ValueError(f"two keys of a mapping both become {name!r}")
        out[name] = plain(item, depth=depth - 1)
    return out


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if isinstance(key, (PurePath, UUID, dt.date)):
        return str(_simple(key))
    raise TypeError(f"a key of type {type(key).__name__} is not JSON")
