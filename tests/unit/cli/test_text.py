from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.render.text import json_text, one_line, plain

HOSTILE = [
    "\x1b[2J\x1b[1;1Hall gone",
    "\x1b]0;a title\x07text",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31mred",
    "\x9d0;title\x9ctext",
    "a\rb",
    "safe\u202etxt.exe",
    "\u2066hidden\u2069",
    "\x1bPq#0\x1b\\sixel",
    "\x1b(0lines",
    "\x08\x08\x08over",
    "\x1b",
    "\x1b[",
    "\x1b]52;c;aGVsbG8=",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    for shown in (plain(text), one_line(text), json_text(text)):
        assert not set(shown) & set("\x1b\x9b\x9d\x07\x08\r\u202e\u2066\u2069")


@given(st.text())
def test_any_text_becomes_harmless(text: str) -> None:
    shown = plain(text)
    assert all(char in "\n\t" or (ord(char) >= 32 and not 0x7F <= ord(char) <= 0x9F) for char in shown)


@pytest.mark.parametrize("text", ["plain", "zwei\nZeilen\tTab", "日本語 🎉", "naïve – “quotes”"])
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_the_text_of_a_title_goes_with_its_sequence() -> None:
    assert plain("a\x1b]0;owned\x07b\x1b[1mc") == "abc"


def test_one_line_joins_and_cuts() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_reads_back_the_same(value: object) -> None:
    assert json.loads(json_text(value)) == value


def test_json_escapes_what_is_outside_of_the_first_plane() -> None:
    assert json_text("\U000e0041") == '"\\udb40\\udc41"'
    assert json.loads(json_text("\U000e0041")) == "\U000e0041"
