from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.expr.rules import (
    MAX_LENGTH,
    BadRule,
    Rule,
    all_below,
    is_literally,
    matches,
    read_rule,
    some_below,
    text_of,
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("fetch", Rule("fetch")),
        (" fs.write ", Rule("fs.write")),
        ("fs.*", Rule("fs.*")),
        ("gh.create-issue", Rule("gh.create-issue")),
        ("t(a: b)", Rule("t", (("a", "b"),))),
        ("t ( a :  b c , d: * )", Rule("t", (("a", "b c"), ("d", "*")))),
        (r"t(a: x\, y, b: z)", Rule("t", (("a", r"x\, y"), ("b", "z")))),
        (r"t(a: x\ )", Rule("t", (("a", r"x\ "),))),
        (r"t(a: x\\)", Rule("t", (("a", r"x\\"),))),
        ("t(a: f(x))", Rule("t", (("a", "f(x)"),))),
        ("t(a: http://h/:80)", Rule("t", (("a", "http://h/:80"),))),
    ],
)
def test_rules(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no name of a tool"),
        ("a b", "no name of a tool"),
        ("(a: b)", "no name of a tool"),
        ("${{ x }}", "no name of a tool"),
        ("t(a: b", r"without its `\)`"),
        ("t(a: b) x", r"without its `\)`"),
        ("t()", "not of the form"),
        ("t(a)", "not of the form"),
        ("t(a: b,)", "not of the form"),
        ("t(a b: c)", "not of the form"),
        ("t(a: )", "empty"),
        ("t(a: x\\)", "ends with a backslash"),
        ("t(a: b, a: c)", "`a` stands twice"),
        (f"t(a: {'x' * MAX_LENGTH})", "at most 1000 characters"),
    ],
)
def test_what_is_no_rule(text: str, why: str) -> None:
    with pytest.raises(BadRule, match=why):
        read_rule(text)


@pytest.mark.parametrize(
    ("rule", "name", "args", "met"),
    [
        ("t", "t", {}, True),
        ("t", "tt", {}, False),
        ("t.*", "t.read", {}, True),
        ("t.*", "t", {}, False),
        ("t.read", "txread", {}, False),
        ("t(a: out/*)", "t", {"a": "out/x/y"}, True),
        ("t(a: out/*)", "t", {"a": "out/"}, True),
        ("t(a: out/*)", "t", {"a": "/out/x"}, False),
        ("t(a: out/*)", "t", {"a": "x\nout/x"}, False),
        ("t(a: out/*)", "t", {"a": "out/x\ny"}, True),
        ("t(a: out/*)", "t", {}, False),
        ("t(a: *.key)", "t", {"a": "a.key"}, True),
        ("t(a: *.key)", "t", {"a": "a.key\n"}, False),
        ("t(a: ?.?)", "t", {"a": "x.é"}, True),
        ("t(a: ?)", "t", {"a": ""}, False),
        ("t(a: *)", "t", {}, True),
        ("t(a: null)", "t", {"b": 1}, True),
        ("t(a: x, b: y)", "t", {"a": "x", "b": "y"}, True),
        ("t(a: x, b: y)", "t", {"a": "x", "b": "z"}, False),
        (r"t(a: \*)", "t", {"a": "*"}, True),
        (r"t(a: \*)", "t", {"a": "x"}, False),
        (r"t(a: \*)", "t", {"a": r"\*"}, False),
        (r"t(a: x\, \?)", "t", {"a": "x, ?"}, True),
        ("t(a: [x].+$)", "t", {"a": "[x].+$"}, True),
        ("t(a: [x].+$)", "t", {"a": "xyz"}, False),
        ("t(n: 5)", "t", {"n": 5}, True),
        ("t(n: 5)", "t", {"n": 5.0}, True),
        ("t(n: 5)", "t", {"n": "5"}, True),
        ("t(n: true)", "t", {"n": True}, True),
        (r't(n: ["a"\,"b*)', "t", {"n": ["a", "b", 1.0]}, True),
        (r't(n: {"a":1\,"b":2})', "t", {"n": {"b": 2.0, "a": 1}}, True),
        ("t(a: *\ufffd*)", "t", {"a": "x\ud800y"}, True),
    ],
)
def test_calls(rule: str, name: str, args: dict[str, Any], met: bool) -> None:
    assert read_rule(rule).meets(name, args) is met


@given(st.text(), st.integers(0, 5))
def test_a_text_behind_backslashes_is_met_by_itself_alone(text: str, count: int) -> None:
    pattern = "".join(f"\\{char}" for char in text[:200])
    if not pattern:
        return
    rule = Rule("t", (("a", pattern),))
    assert rule.meets("t", {"a": text[:200]})
    assert not rule.meets("t", {"a": text[:200] + "x"})
    assert Rule("t", (("a", pattern[: 2 * count] + "*"),)).meets("t", {"a": text[:200]})


@pytest.mark.parametrize(
    ("pattern", "folder", "every", "some"),
    [
        ("secret/*", "secret", True, True),
        ("secret/*", "secret/a", True, True),
        ("secret/?*", "secret", True, True),
        ("secret/??*", "secret", False, True),
        ("secret/*", ".", False, True),
        ("secret/*", "secrets", False, False),
        ("secret/*.key", "secret", False, True),
        ("secret", "secret", False, False),
        ("*/b/*", "a/b", True, True),
        ("*/b/*", "a", False, True),
        ("*", ".", True, True),
        ("*.key", "a", False, True),
        ("a?*", "a", True, True),
        (r"a\*/*", "a*", True, True),
        (r"a\*/*", "ab", False, False),
        ("*\ufffd/*", "x\ud800", True, True),
    ],
)
def test_what_a_pattern_says_of_a_folder(pattern: str, folder: str, every: bool, some: bool) -> None:
    assert (all_below(pattern, folder), some_below(pattern, folder)) == (every, some)


def test_a_pattern_of_one_text() -> None:
    assert is_literally(r"a\*b", "a*b")
    assert not is_literally("a*b", "a*b")
    assert matches("a*b", "a/b")


def test_a_rule_but_for_its_path() -> None:
    rule = read_rule("t(path: a, b: x*)")
    assert rule.path == "a"
    assert rule.meets_but_path("t", {"path": "z", "b": "xy"})
    assert not rule.meets_but_path("t", {"path": "a"})
    assert not rule.meets_but_path("u", {"b": "x"})
    assert read_rule("t").path is None


def test_the_time_is_linear() -> None:
    rule = read_rule(f"t(a: {'*a' * 300}b)")
    began = time.perf_counter()
    assert not rule.meets("t", {"a": "a" * 200_000})
    assert time.perf_counter() - began < 20


def test_texts_of_arguments() -> None:
    assert [text_of(value) for value in ("x", None, 1.5, 2.0, [2.0], {"a": False})] == [
        "x", "null", "1.5", "2", "[2]", '{"a":false}',
    ]  # fmt: skip
