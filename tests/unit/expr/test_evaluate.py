from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.expr import ABSENT, EvalError, LimitReached, Limits, NullValue, WrongType, evaluate, parse
from orchestrator.expr.nodes import Binary, Call, Literal

NOW = 1_767_225_600_000_000


class View:
    """Fields that are looked up."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.asked: list[str] = []

    def get_field(self, name: str) -> Any:
        self.asked.append(name)
        return self.fields.get(name, ABSENT)


ENV: dict[str, Any] = {
    "steps": View(a=View(output={"x": 4, "list": [1, 2], "none": None}), gone=View()),
    "o": {"a": 1, "none": None},
    "xs": [3, 1, 2],
    "none": None,
    "f": {"$file": "abc", "name": "n.txt", "size": 3, "media_type": "text/plain"},
    "gone": ABSENT,
    "whole": 2.0,
}


def value(source: str, **limits: int) -> Any:
    return evaluate(
        parse(source), ENV, now=NOW, seed="seed", limits=Limits(**limits), stored=lambda f: f"/s/{f['name']}"
    )


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("steps.a.output.x + 1", 5),
        ("steps['a']['output'].list[1]", 2),
        ("xs[whole]", 2),
        ("range(whole)", [0, 1]),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("7.0 / 2", 3.5),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("5 % whole", 1),
        ("1 + 0.5", 1.5),
        ("1 == 1.0", True),
        ("true == 1", False),
        ("[1, {'a': 2}] == [1.0, {'a': 2.0}]", True),
        ("[1] == [1, 2]", False),
        ("{'a': 1} == {'b': 1}", False),
        ("{'a': 1} == {'a': 1, 'b': 1}", False),
        ("[[1]] == [[2]]", False),
        ("'a' + 'b'", "ab"),
        ("[1] + ['a']", [1, "a"]),
        ("2 in [1, 2]", True),
        ("'a' in o", True),
        ("1 in o", False),
        ("false && 1 / 0 > 0", False),
        ("true || 1 / 0 > 0", True),
        ("true ? 1 : 1 / 0", 1),
        ("false ? 1 / 0 : 2", 2),
        ("-(-3)", 3),
        ("-(1.5)", -1.5),
        ("!(1 > 2)", True),
        ("{'a': 1, 'b': [true]}", {"a": 1, "b": [True]}),
        ("o.map(k, k)", ["a", "none"]),
        ("xs.map(x, x > 1, x * 10)", [30, 20]),
        ("xs.filter(x, x > 1).map(y, xs.map(x, x * y))", [[9, 3, 6], [6, 2, 4]]),
        ("xs.all(x, x > 0)", True),
        ("xs.all(x, x > 1)", False),
        ("xs.exists(x, x == 2)", True),
        ("xs.exists(x, x == 5)", False),
        ("xs.exists_one(x, x > 2)", True),
        ("xs.sort_by(x, -x)", [3, 2, 1]),
        ("xs.map(x, xs.map(y, y))[0]", [3, 1, 2]),
        ("timestamp('2026-01-01T00:00:00Z') + duration('90m')", "2026-01-01T01:30:00Z"),
        ("duration('1h') + timestamp('2026-01-01T00:00:00Z')", "2026-01-01T01:00:00Z"),
        ("timestamp(now()) - timestamp('2025-12-31T00:00:00Z')", "1d"),
        ("timestamp(now()) - duration('1d')", "2025-12-31T00:00:00Z"),
        ("duration('1h') - duration('1m') + duration('1s')", "59m1s"),
        ("[{'d': duration('90s')}]", [{"d": "1m30s"}]),
        ("[1, {'a': 2.0}]", [1, {"a": 2.0}]),
        ("now()", "2026-01-01T00:00:00Z"),
        ("string(f)", "/s/n.txt"),
        ("json([2.0, duration('1s')])", '[2,"1s"]'),
        ("f.size", 3),
    ],
)
def test_values(source: str, wanted: Any) -> None:
    found = value(source)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    "source",
    [
        "gone",
        "gone.a.b",
        "gone['a']",
        "gone[0]",
        "steps.gone.output + 1",
        "1 + gone",
        "gone == 'x'",
        "'x' != gone",
        "gone && true",
        "true && gone",
        "gone || true",
        "false || gone",
        "!gone",
        "-gone",
        "gone ? 1 : 2",
        "true ? gone : 2",
        "[1, gone]",
        "{'a': gone}",
        "{(gone): 1}",
        "size(gone)",
        "join(['a'], gone)",
        "xs[gone]",
        "gone.map(x, x)",
        "xs.map(x, gone)",
        "xs.map(x, gone, x)",
        "xs.filter(x, gone)",
        "xs.all(x, gone)",
        "xs.exists(x, gone)",
        "xs.exists_one(x, gone)",
        "xs.sort_by(x, gone)",
        "default(gone, gone)",
        "default(none, gone)",
        "gone in [1]",
    ],
)
def test_absence_travels(source: str) -> None:
    assert value(source) is ABSENT


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("default(gone, 1)", 1),
        ("default(gone.a[0], none.b, 'x')", "x"),
        ("default(gone, none)", None),
        ("default(steps.gone.output.x, steps.a.output.x)", 4),
        ("default(1, 1 / 0)", 1),
        ("has(gone)", False),
        ("has(gone.x)", False),
        ("has(none.x)", False),
        ("has(none[0])", False),
        ("has(o.none)", False),
        ("has(o.nothing)", False),
        ("has(o.a)", True),
        ("gone == null", True),
        ("null == gone.x", True),
        ("gone != null", False),
        ("none.x == null", True),
        ("o.a != null", True),
        ("false && gone", False),
        ("true || gone", True),
        ("true ? 1 : gone", 1),
        ("[].map(x, gone)", []),
        ("o.nothing", None),
        ("o['nothing']", None),
        ("none == o.a", False),
        ("xs.exists(x, x == 3 || gone)", True),
    ],
)
def test_what_stops_absence_and_null(source: str, wanted: Any) -> None:
    assert value(source) == wanted


def test_absent_is_one_value() -> None:
    assert repr(ABSENT) == "absent"
    assert copy.deepcopy(ABSENT) is ABSENT
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT  # noqa: S301 - its own bytes


@pytest.mark.parametrize(
    ("source", "kind", "says", "offset", "end"),
    [
        ("1 + 1 / 0", EvalError, "division by zero", 4, 9),
        ("1.5 / 0", EvalError, "division by zero", 0, 7),
        ("1 % 0", EvalError, "division by zero", 0, 5),
        ("1.5 % 1", WrongType, "whole numbers", 0, 7),
        ("9223372036854775807 + 1", EvalError, "64 bits", 0, 23),
        ("-9223372036854775808 - 1", EvalError, "64 bits", 0, 24),
        ("9223372036854775807 * 2", EvalError, "64 bits", 0, 23),
        ("-9223372036854775808 / -1", EvalError, "64 bits", 0, 25),
        ("-9223372036854775808 % -1", EvalError, "64 bits", 0, 25),
        ("-(-9223372036854775808)", EvalError, "64 bits", 0, 23),
        ("1e308 * 10.0", EvalError, "not finite", 0, 12),
        ("xs[3]", EvalError, "index 3 of a list of 3", 0, 5),
        ("xs[-1]", EvalError, "index -1", 0, 6),
        ("xs['a']", WrongType, "index of a list does not take string", 0, 7),
        ("o[1]", WrongType, "key of an object does not take integer", 0, 4),
        ("'abc'[0]", WrongType, "index does not take string", 0, 8),
        ("none[0]", NullValue, "index does not take null", 0, 7),
        ("none.x", NullValue, "null has no field 'x'", 0, 6),
        ("'a'.x", WrongType, "string has no field 'x'", 0, 5),
        ("xs.x", WrongType, "list has no field", 0, 4),
        ("nothing", WrongType, "unknown name 'nothing'", 0, 7),
        ("'a' + 1", WrongType, "string and integer", 0, 7),
        ("true + 1", WrongType, "boolean and integer", 0, 8),
        ("none + 1", NullValue, "null", 0, 8),
        ("duration('1s') + 1", WrongType, "duration and integer", 0, 18),
        ("timestamp(now()) + timestamp(now())", WrongType, "timestamp and timestamp", 0, 35),
        ("timestamp('9999-12-31T00:00:00Z') + duration('2d')", EvalError, "years 1 to 9999", 0, 50),
        ("timestamp('0001-01-01T00:00:00Z') - duration('2d')", EvalError, "years 1 to 9999", 0, 50),
        ("'a' < 1", WrongType, "'<' does not take string and integer", 0, 7),
        ("xs < xs", WrongType, "list and list", 0, 7),
        ("1 in 'a'", WrongType, "'in' does not take string", 0, 8),
        ("1 && true", WrongType, "'&&' does not take integer", 0, 1),
        ("true && 1", WrongType, "'&&' does not take integer", 8, 9),
        ("1 || true", WrongType, "'||' does not take integer", 0, 1),
        ("1 / 0 > 0 || true", EvalError, "division by zero", 0, 5),
        ("none ? 1 : 2", NullValue, "a condition does not take null", 0, 4),
        ("!1", WrongType, "'!' does not take integer", 0, 2),
        ("-'a'", WrongType, "'-' does not take string", 0, 4),
        ("{1: 2}", WrongType, "key of an object does not take integer", 0, 6),
        ("{'a': 1, 'a': 2}", EvalError, "'a' stands twice", 0, 16),
        ("nothing(1)", WrongType, "no function nothing of 1", 0, 10),
        ("size()", WrongType, "no function size of 0", 0, 6),
        ("size(1)", WrongType, "size does not take integer", 0, 7),
        ("size(none)", NullValue, "size does not take null", 0, 10),
        ("1.map(x, x)", WrongType, "map does not take integer", 0, 1),
        ("xs.filter(x, x)", WrongType, "condition of filter does not take integer", 13, 14),
        ("xs.map(x, x, x)", WrongType, "condition of map does not take integer", 10, 11),
        ("xs.all(x, 1)", WrongType, "condition of all does not take integer", 10, 11),
        ("xs.sort_by(x, none)", NullValue, "sort_by does not take null", 0, 19),
        ("xs.map(x, 1 / 0)", EvalError, "division by zero", 10, 15),
        ("steps", WrongType, "is no value", 0, 5),
        ("steps.a", WrongType, "is no value", 0, 7),
        ("steps.a + 1", WrongType, "name of a group of values and integer", 0, 11),
    ],
)
def test_errors_say_what_and_where(source: str, kind: type[EvalError], says: str, offset: int, end: int) -> None:
    with pytest.raises(EvalError) as caught:
        value(source)
    error = caught.value
    assert type(error) is kind
    assert says in error.message
    assert (error.offset, error.end) == (offset, end)
    assert error.exit is Exit.FAILED


def test_integers_beyond_64_bits_can_be_passed_on() -> None:
    env = {"big": 10**400}
    assert evaluate(parse("big"), env, now=0, seed="") == 10**400
    with pytest.raises(EvalError, match="64 bits"):
        evaluate(parse("big + 1"), env, now=0, seed="")
    with pytest.raises(EvalError, match="too large"):
        evaluate(parse("big + 0.5"), env, now=0, seed="")
    with pytest.raises(EvalError, match="too large"):
        evaluate(parse("double(big)"), env, now=0, seed="")


@pytest.mark.parametrize(
    ("source", "limits"),
    [
        ("range(99).map(a, range(99).map(b, range(99).map(c, c)))", {}),
        ("range(1000000)", {}),
        ("range(100)", {"steps": 50}),
        ("range(60).map(x, x + 1)", {"steps": 100}),
        ("xs == xs", {"steps": 2}),
        ("xs + xs", {"steps": 3}),
        ("5 in range(10)", {"steps": 15}),
        ("'abc' + 'def'", {"size": 5}),
        ("['abc', 'def'].join('-')", {"size": 20, "steps": 1}),
        ("replace('aaaa', 'a', 'bbbbbbbb')", {"size": 20}),
        ("upper('ßßßßß')", {"size": 5}),
        ("base64('abcdef')", {"size": 6}),
        ("url_encode('////')", {"size": 6}),
        ("[1, 2, 3]", {"size": 10}),
        ("{'a': 'b'}", {"size": 4}),
        ("range(9)", {"size": 20}),
        ("range(3).map(x, 'aaaaaaaaaa')", {"size": 30}),
        ("[[1]]", {"depth": 1}),
        ("[{'a': 1}]", {"depth": 1}),
        ("{'a': [1]}", {"depth": 1}),
        ("xs.map(x, [x])", {"depth": 1}),
        ("parse_json('[[1]]')", {"depth": 1}),
        ("json(xs)", {"size": 5}),
        ("json(xs)", {"depth": 0}),
        ("'a'.split('')", {"steps": 1}),
        ("range(3).map(a, range(3)).flatten()", {"steps": 26}),
        ("distinct(xs.map(x, [x]))", {"steps": 9}),
        ("{'a': 1} == {'a': 1}", {"steps": 0}),
    ],
)
def test_limits(source: str, limits: dict[str, int]) -> None:
    with pytest.raises(LimitReached) as caught:
        value(source, **limits)
    assert caught.value.code == "E262"
    assert caught.value.offset is not None


def test_a_value_may_use_up_its_limits() -> None:
    assert value("range(100)", steps=101, size=402) == list(range(100))
    assert value("[[1]]", depth=2) == [[1]]
    assert value("'ab' + 'cd'", size=4) == "abcd"


def test_doubling_is_stopped_early() -> None:
    source = "'0123456789abcdef'"
    for _ in range(30):
        source = f"[{source}].map(x, x + x)[0]"
        if source.count("map") > 15:
            break
    with pytest.raises(LimitReached):
        value(source, size=1 << 18)


def test_uuid_depends_on_seed_and_place_alone() -> None:
    pair = parse("[uuid(), uuid()]")
    first = evaluate(pair, {}, now=0, seed="a")
    assert first == evaluate(parse("[uuid(), uuid()]"), {}, now=5, seed="a")
    assert first != evaluate(pair, {}, now=0, seed="b")
    each = evaluate(parse("range(3).map(i, uuid())"), {}, now=0, seed="a")
    assert len({*first, *each}) == 5


def test_fields_are_looked_up_when_used() -> None:
    view = View(a=1, b=2)
    assert evaluate(parse("true || v.a == 1 ? v.b : v.c"), {"v": view}, now=0, seed="") == 2
    assert view.asked == ["b"]


def test_a_tree_is_compiled_once() -> None:
    tree = parse("a + 1")
    assert evaluate(tree, {"a": 1}, now=0, seed="") == 2
    compiled = tree.cache[0]
    assert evaluate(tree, {"a": 2}, now=0, seed="") == 3
    assert tree.cache[0] is compiled


def test_trees_may_be_built_by_hand() -> None:
    tree = Binary("+", Call("size", (Literal("abc"),)), Literal(1))
    assert evaluate(tree, {}, now=0, seed="") == 4
