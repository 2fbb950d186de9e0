"""Time as an argument: everything that needs it takes a ``Clock``."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Two clocks: the wall's, for records, and one that goes on while the machine sleeps, for leases."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def boot(self) -> float:
        """Seconds on CLOCK_BOOTTIME (monotonic, counting suspension)."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        from orchestrator.platform import boottime

        self._boottime = boottime

    def now(self) -> int:
        return time.time_ns() // 1000

    def boot(self) -> float:
        return self._boottime()


class ManualClock:
    """A clock that moves when told to. ``start`` and ``advance`` take seconds."""

    def __init__(self, start: float = 0.0) -> None:
        self.seconds = start

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def boot(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def rfc3339(micros: int) -> str:
    """RFC 3339 text, UTC, of integer microseconds since the epoch; no fraction where it is zero."""
    moment = _EPOCH + timedelta(microseconds=micros)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond:06d}".rstrip("0") + "Z" if moment.microsecond else text + "Z"
