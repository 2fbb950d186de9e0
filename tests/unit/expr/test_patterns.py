from __future__ import annotations

import time

import pytest

from orchestrator.expr.patterns import pattern_error, searcher


def test_a_pattern_matches_anywhere() -> None:
    search = searcher("b+")
    assert search("abba")
    assert not search("aaa")


@pytest.mark.parametrize("pattern", ["", "(", "a{2000}", "(?=a)", r"(a)\1", "((a{100}){100}){100}", "[z-a]", "*"])
def test_bad_patterns_say_so(pattern: str) -> None:
    message = pattern_error(pattern)
    assert message is not None
    assert "pattern" in message
    with pytest.raises(ValueError, match="pattern"):
        searcher(pattern)


def test_good_patterns() -> None:
    assert pattern_error("^a.*[0-9]$") is None


def test_time_is_linear() -> None:
    begun = time.perf_counter()
    assert not searcher("(a+)+$")("a" * 100_000 + "b")
    assert time.perf_counter() - begun < 10
