"""Times, money and states as people read them."""

from __future__ import annotations

from typing import Any

_LONGEST_AGO = 9_000_000_000_000
"""Seconds, whose microseconds fit into 64 bits."""

MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("–", "dim"),
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "waiting": ("⏸", "yellow"),
    "paused": ("⏸", "yellow"),
    "limited": ("◼", "yellow"),
    "stalled": ("!", "red"),
    "stopped": ("◼", "yellow"),
    "queued": ("○", "dim"),
    "new": ("○", "dim"),
}


def elapsed(micros: int | None) -> str:
    """A length of time: ``0.42s 12.3s 4m05s 2h11m 3d04h``."""
    if micros is None or micros < 0:
        return ""
    seconds = micros / 1_000_000
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def money(micros: int | None) -> str:
    """Micro-dollars as dollars, never rounded down to nothing; None is ``unknown``."""
    if micros is None:
        return "unknown"
    dollars = micros / 1_000_000
    if micros and dollars < 0.01:
        return f"${dollars:.6f}".rstrip("0")
    return f"${dollars:.4f}" if micros % 10_000 else f"${dollars:.2f}"


def count(number: int) -> str:
    """A number with thousands set apart."""
    return f"{number:,}"


def usd(micros: int | None) -> float | None:
    """Micro-dollars as a number of dollars, for programs."""
    return None if micros is None else micros / 1_000_000


def moment(micros: int | None) -> str | None:
    """A time as RFC 3339, for programs."""
    from orchestrator.clock import rfc3339

    return None if micros is None else rfc3339(micros)


def local_time(micros: int | None) -> str:
    """A time as this machine's people read it: ``2026-11-23 07:02:11``."""
    from datetime import UTC, datetime

    if micros is None:
        return ""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def parse_since(text: str, now: int) -> int:
    """Microseconds since the epoch of RFC 3339, a date, or a duration back from ``now``. Raises ValueError."""
    from datetime import datetime

    try:
        return parse_ago(text, now)
    except ValueError:
        pass
    found = datetime.fromisoformat(text)
    return int(found.astimezone().timestamp() * 1_000_000)


def parse_ago(text: str, now: int) -> int:
    """Microseconds since the epoch of a duration back from ``now``. ValueError where no store could hold them."""
    from orchestrator.app.config import duration

    seconds = duration(text)
    if seconds > _LONGEST_AGO:
        raise ValueError("it is longer ago than a store can say")
    return now - int(seconds * 1_000_000)


def table(head: list[str], rows: list[list[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Columns set under one another, two spaces apart; ``right`` are those that stand to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(row: list[str]) -> str:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in [head, *rows]) + "\n"


def short_json(value: Any, width: int) -> str:
    """A JSON value on one line, cut at ``width``."""
    from orchestrator.cli.render.text import json_text, one_line

    return one_line(value, width) if isinstance(value, str) else one_line(json_text(value), width)
