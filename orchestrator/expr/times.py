"""Moments and lengths of time: values inside an expression, text outside. Both count whole microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.frozen import frozen
from orchestrator.regex import regex

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MOMENT: Final = regex(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_PART: Final = regex(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_UNITS: Final = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}

LEAST_MOMENT: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST_MOMENT: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LONGEST: Final = LAST_MOMENT - LEAST_MOMENT
"""The longest duration: what lies between the first and the last moment."""


@frozen(order=True)
class Timestamp:
    """Microseconds since 1970, UTC. ``str`` is RFC 3339."""

    micros: int

    def __str__(self) -> str:
        moment = _EPOCH + timedelta(microseconds=self.micros)
        text = moment.replace(microsecond=0, tzinfo=None).isoformat()
        return text + (f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else "") + "Z"


@frozen(order=True)
class Duration:
    """Microseconds, maybe negative. ``str`` is text that reads back: ``1h30m``."""

    micros: int

    def __str__(self) -> str:
        rest = abs(self.micros)
        parts: list[str] = []
        for unit in ("d", "h", "m", "s", "ms", "us"):
            count, rest = divmod(rest, _UNITS[unit])
            if count:
                parts.append(f"{count}{unit}")
        return ("-" if self.micros < 0 else "") + ("".join(parts) or "0s")


def parse_timestamp(text: str) -> Timestamp:
    """The moment of an RFC 3339 text; what is finer than a microsecond is cut. ValueError, with a sentence."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a moment in RFC 3339, as 2026-01-31T12:00:00Z is")
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a moment: {error}") from None
    micros = (local - _EPOCH) // _MICROSECOND + int((fraction or "").ljust(6, "0")[:6])
    if sign:
        if int(off_hour) > 23 or int(off_minute) > 59:
            raise ValueError(f"{text!r} is not a moment: its offset is out of range")
        offset = (int(off_hour) * 60 + int(off_minute)) * _UNITS["m"]
        micros += offset if sign == "-" else -offset
    return timestamp(micros)


def parse_duration(text: str) -> Duration:
    """The length of a text such as ``1h30m``, ``1.5h``, ``-2s`` (ns us ms s m h d). ValueError, with a sentence."""
    body = text[1:] if text[:1] in ("-", "+") else text
    at, micros = 0, 0
    while found := _PART.match(body, at):
        whole, _, fraction = found.group(1).partition(".")
        if len(whole) > 20 or len(fraction) > 20:
            break
        scale = 10 ** len(fraction)
        number = int(whole or "0") * scale + int(fraction or "0")
        unit = found.group(2)
        micros += number // (scale * 1000) if unit == "ns" else number * _UNITS[unit] // scale
        at = found.end()
    if body == "0":
        return Duration(0)
    if not body or at != len(body):
        raise ValueError(f"{text!r} is not a duration, as 1h30m is (units: ms s m h d)")
    return duration(-micros if text[0] == "-" else micros)


def timestamp(micros: int) -> Timestamp:
    """A moment of the years 1 to 9999. ValueError outside of them."""
    if not LEAST_MOMENT <= micros <= LAST_MOMENT:
        raise ValueError("a moment lies in the years 1 to 9999")
    return Timestamp(micros)


def duration(micros: int) -> Duration:
    """A length of at most 9999 years. ValueError beyond it."""
    if abs(micros) > LONGEST:
        raise ValueError("a duration is at most 9999 years long")
    return Duration(micros)
