from __future__ import annotations

import pytest

from orchestrator.cli.render.values import count, elapsed, money, parse_since, table, usd

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (None, ""),
        (-5, ""),
        (0, "0.00s"),
        (420_000, "0.42s"),
        (9_994_000, "9.99s"),
        (9_996_000, "10.0s"),
        (59_960_000, "1m00s"),
        (65 * SECOND, "1m05s"),
        (3599 * SECOND, "59m59s"),
        (7860 * SECOND, "2h11m"),
        (3 * 86_400 * SECOND + 4 * 3600 * SECOND, "3d04h"),
    ],
)
def test_elapsed(micros: int | None, shown: str) -> None:
    assert elapsed(micros) == shown


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(None, "unknown"), (0, "$0.00"), (1, "$0.000001"), (1_500, "$0.0015"), (12_345, "$0.0123"), (2_500_000, "$2.50")],
)
def test_money_is_never_rounded_down_to_nothing_and_unknown_is_said(micros: int | None, shown: str) -> None:
    assert money(micros) == shown


def test_numbers_for_programs() -> None:
    assert usd(None) is None
    assert usd(1_500_000) == 1.5
    assert count(1234567) == "1,234,567"


def test_since_takes_durations_dates_and_times() -> None:
    now = 1_800_000_000 * SECOND
    assert parse_since("1h30m", now) == now - 5400 * SECOND
    assert parse_since("2026-11-23T00:00:00+00:00", now) == 1_795_392_000 * SECOND
    with pytest.raises(ValueError, match="yesterday"):
        parse_since("yesterday", now)


def test_a_table_lines_its_columns_up() -> None:
    text = table(["A", "NUM"], [["long", "1"], ["b", "100"]], right=frozenset({1}))
    assert text == "A     NUM\nlong    1\nb     100\n"
