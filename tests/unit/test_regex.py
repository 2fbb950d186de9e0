from __future__ import annotations

import re

import pytest

from orchestrator.regex import regex


def test_a_pattern_is_compiled_when_it_is_used() -> None:
    late = regex(r"(a+)B", re.IGNORECASE)
    found = late.fullmatch("aab")
    assert found is not None
    assert (found[1], late.sub("x", "zaab"), late.pattern, late.findall("ab aab")) == ("aa", "zx", "(a+)B", ["a", "aa"])


def test_what_is_wrong_with_one_is_said_at_its_use() -> None:
    late = regex("(")
    with pytest.raises(re.error):
        late.match("x")
