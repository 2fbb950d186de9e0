from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clock import rfc3339
from orchestrator.expr.times import (
    LAST_MOMENT,
    LEAST_MOMENT,
    LONGEST,
    Duration,
    Timestamp,
    duration,
    parse_duration,
    parse_timestamp,
    timestamp,
)


@pytest.mark.parametrize(
    ("text", "micros", "shown"),
    [
        ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
        ("1970-01-01t00:00:00.5z", 500_000, "1970-01-01T00:00:00.5Z"),
        ("1970-01-01T01:30:00+01:30", 0, "1970-01-01T00:00:00Z"),
        ("1969-12-31T23:00:00-01:00", 0, "1970-01-01T00:00:00Z"),
        ("1970-01-01T00:00:00.123456789Z", 123_456, "1970-01-01T00:00:00.123456Z"),
        ("0001-01-01T00:00:00Z", LEAST_MOMENT, "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", LAST_MOMENT, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_parse_timestamp(text: str, micros: int, shown: str) -> None:
    found = parse_timestamp(text)
    assert found == Timestamp(micros)
    assert str(found) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+01:60",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢026-01-31T12:00:00Z",
    ],
)
def test_what_is_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match="moment"):
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("text", "micros", "shown"),
    [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("1h30m", 5_400_000_000, "1h30m"),
        ("1.5h", 5_400_000_000, "1h30m"),
        (".5s", 500_000, "500ms"),
        ("2.s", 2_000_000, "2s"),
        ("-90s", -90_000_000, "-1m30s"),
        ("+1d", 86_400_000_000, "1d"),
        ("1500us", 1_500, "1ms500us"),
        ("3µs", 3, "3us"),
        ("2500ns", 2, "2us"),
        ("1m1m", 120_000_000, "2m"),
    ],
)
def test_parse_duration(text: str, micros: int, shown: str) -> None:
    found = parse_duration(text)
    assert found == Duration(micros)
    assert str(found) == shown


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1 h", "1y", "-", "1h-1m", "٣s", "1" * 30 + "s", "9999999d", "0." + "1" * 30 + "s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(LEAST_MOMENT, LAST_MOMENT))
def test_timestamps_read_back(micros: int) -> None:
    assert parse_timestamp(str(Timestamp(micros))) == Timestamp(micros)


@given(st.integers(0, LAST_MOMENT))
def test_timestamps_look_like_the_clock(micros: int) -> None:
    assert str(Timestamp(micros)) == rfc3339(micros)


@given(st.integers(-LONGEST, LONGEST))
def test_durations_read_back(micros: int) -> None:
    text = str(Duration(micros))
    assert parse_duration(text) == Duration(micros)
    assert re.fullmatch(r"-?(\d+(d|h|m|s|ms|us))+", text)


def test_bounds() -> None:
    assert timestamp(LAST_MOMENT) == Timestamp(LAST_MOMENT)
    assert duration(-LONGEST) == Duration(-LONGEST)
    for make, micros in ((timestamp, LAST_MOMENT + 1), (timestamp, LEAST_MOMENT - 1), (duration, LONGEST + 1)):
        with pytest.raises(ValueError, match="9999"):
            make(micros)
