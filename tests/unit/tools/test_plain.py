from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic
import pytest

from orchestrator.tools.plain import plain


@dataclasses.dataclass
class Point:
    x: int
    where: Path


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Model(pydantic.BaseModel):
    name: str
    at: dt.datetime


class Array:
    def tolist(self) -> list[int]:
        return [1, 2]


Pair = namedtuple("Pair", "a b")
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (Pair(1, "b"), [1, "b"]),
        (Point(1, Path("/a/b")), {"x": 1, "where": "/a/b"}),
        ([Colour.RED, Level.HIGH], ["red", 3]),
        (Model(name="n", at=NOON), {"name": "n", "at": "2026-01-02T12:00:00Z"}),
        (NOON, "2026-01-02T12:00:00+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (b"bytes \xc3\xa9", "bytes é"),
        (Array(), [1, 2]),
        (MappingProxyType({"a": OrderedDict(b=1)}), {"a": {"b": 1}}),
        ({1: "a", Level.HIGH: "b", Path("p"): "c"}, {"1": "a", "3": "b", "p": "c"}),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, Point, (n for n in "ab"), {"a": object()}, {None: 1}, {(1,): 1}]
)
def test_what_is_no_json_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="not JSON"):
        plain(value)


def test_a_cycle_bad_bytes_and_clashing_keys_are_value_errors() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="cycle"):
        plain(cycle)
    with pytest.raises(ValueError, match="utf-8"):
        plain(b"\xff")
    with pytest.raises(ValueError, match="both become '1'"):
        plain({1: "a", "1": "b"})
