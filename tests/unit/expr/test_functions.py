from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.expr import EvalError, NullValue, WrongType, evaluate, parse
from orchestrator.expr.check import check
from orchestrator.expr.functions import IMPLEMENTATIONS, MAKES
from orchestrator.expr.nodes import MACROS
from orchestrator.expr.signatures import ALIASES, FUNCTIONS, Signature
from orchestrator.spec.types import BOOLEAN

SPECIAL = {"has", "default", "uuid"}


def value(source: str, **env: Any) -> Any:
    return evaluate(parse(source), env, now=0, seed="seed")


@pytest.mark.parametrize("signature", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_example_of_each_function_holds(signature: Signature) -> None:
    assert value(signature.example) is True
    checked = check(parse(signature.example), {})
    assert checked.type == BOOLEAN
    assert not checked.problems


def test_every_function_has_its_implementation() -> None:
    assert set(IMPLEMENTATIONS) | SPECIAL == set(FUNCTIONS)
    assert set(FUNCTIONS) >= MAKES
    assert not set(FUNCTIONS) & set(MACROS)


def test_other_names_lead_to_functions() -> None:
    for name, function in ALIASES.items():
        assert name not in FUNCTIONS
        assert function in FUNCTIONS or function in MACROS


def test_the_reference_has_every_function() -> None:
    text = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text()
    for signature in FUNCTIONS.values():
        assert f"`{signature.usage}`" in text
        assert signature.summary in text
        assert f"`{signature.example}`" in text
    for macro in MACROS:
        assert f".{macro}(" in text


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("size('日本')", 2),
        ("compact([null, null])", []),
        ("string(true)", "true"),
        ("string(1e20)", "100000000000000000000"),
        ("string(1e21)", "1e+21"),
        ("string(0.1)", "0.1"),
        ("string(-0.0)", "0"),
        ("string('a')", "a"),
        ("string(['a', 1.0, null])", '["a",1,null]'),
        ("string({'b': 1, 'a': {'c': 2.5}})", '{"a":{"c":2.5},"b":1}'),
        ("string(timestamp('2026-01-31T12:00:00+01:00'))", "2026-01-31T11:00:00Z"),
        ("string(duration('3600s'))", "1h"),
        ("int(2.9)", 2),
        ("int(-2.9)", -2),
        ("int('+12')", 12),
        ("int(timestamp('1969-12-31T23:59:59.5Z'))", -1),
        ("double('-.5e1')", -5.0),
        ("double(1)", 1.0),
        ("double(duration('1500ms'))", 1.5),
        ("bool('F')", False),
        ("bool(false)", False),
        ("contains('abc', '')", True),
        ("'aXb'.matches('(?i)x')", True),
        ("'abc'.matches('^b')", False),
        ("'日本'.matches('^..$')", True),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b,c'.split(',', 0)", []),
        ("'a,b'.split(',', -1)", ["a", "b"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("'abc'.split('', 5)", ["a", "b", "c"]),
        ("''.split(',')", [""]),
        ("join(['a', 1, 2.0, true])", "a12true"),
        ("join([], '-')", ""),
        ("'aaa'.replace('a', 'b', 2)", "bba"),
        ("'abc'.replace('', '-')", "-a-b-c-"),
        ("json('é\"')", '"é\\""'),
        ("json(null)", "null"),
        ("parse_json('{\"a\": [1, 2.5, null]}')", {"a": [1, 2.5, None]}),
        ("unbase64(base64('日本'))", "日本"),
        ("url_encode('é&=')", "%C3%A9%26%3D"),
        ("min(1, 0.5)", 0.5),
        ("max('b', 'a')", "b"),
        ("max([true, false])", True),
        ("min(5)", 5),
        ("min(duration('1h'), duration('2m')) == duration('2m')", True),
        ("sum([])", 0),
        ("sum([1, 0.5])", 1.5),
        ("range(-1)", []),
        ("range(3, 1)", []),
        ("slice([1, 2, 3], 1)", [2, 3]),
        ("slice([1, 2, 3], -5, 99)", [1, 2, 3]),
        ("slice('abc', 2, 1)", ""),
        ("slice('abc', 0, -1)", ""),
        ("flatten([[1], [[2]], []])", [1, [2]]),
        ("flatten([1, [2]])", [1, 2]),
        ("distinct([1, 1.0, true, 'a', 'a', null, null])", [1, True, "a", None]),
        ("distinct([[1], [1.0], {'a': 1}, {'a': 1}])", [[1], {"a": 1}]),
        ("keys({})", []),
        ("object([])", {}),
        ("object([['a', 1], ['a', 2]])", {"a": 2}),
        ("sort(['b', 'B', 'a'])", ["B", "a", "b"]),
        ("sort([2, 1.5])", [1.5, 2]),
        ("sort([])", []),
        ("sort([duration('1m'), duration('1s')])", ["1s", "1m"]),
        ("hash([1.0]) == hash([1])", True),
        ("hash({'a': 1, 'b': 2}) == hash({'b': 2, 'a': 1})", True),
        ("hash(null).size()", 64),
    ],
)
def test_edges(source: str, wanted: Any) -> None:
    found = value(source)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("string(null)", NullValue, "null"),
        ("int('1.5')", EvalError, "'1.5' is not a whole number"),
        ("int(' 1')", EvalError, "whole number"),
        ("int('٣')", EvalError, "whole number"),
        ("int('9223372036854775808')", EvalError, "64 bits"),
        ("int(1e19)", EvalError, "64 bits"),
        ("double('abc')", EvalError, "'abc' is not a number"),
        ("double('nan')", EvalError, "not a number"),
        ("double('1e999')", EvalError, "not finite"),
        ("bool('yes')", EvalError, "neither true nor false"),
        ("'a'.matches('(')", EvalError, "not valid"),
        ("'a'.matches('')", EvalError, "empty pattern"),
        ("join([null])", NullValue, "join does not take null"),
        ("join([[1]])", WrongType, "not list"),
        ("parse_json('{')", EvalError, "not JSON"),
        ("parse_json('NaN')", EvalError, "not JSON"),
        ("parse_json('[' + join(range(70).map(i, '['), ''))", EvalError, "not JSON"),
        ("unbase64('!')", EvalError, "base64"),
        ("unbase64('/w==')", EvalError, "base64"),
        ("unbase64('é')", EvalError, "base64"),
        ("min([])", EvalError, "empty list"),
        ("max([1, 'a'])", WrongType, "integer and string"),
        ("max([null])", NullValue, "null"),
        ("sum(['a'])", WrongType, "string"),
        ("sum([true])", WrongType, "boolean"),
        ("sum([9223372036854775807, 1])", EvalError, "64 bits"),
        ("sum([1e308, 1e308])", EvalError, "finite"),
        ("object([1])", WrongType, "key, value"),
        ("object([['a']])", EvalError, "key, value"),
        ("object([[1, 2]])", WrongType, "integer"),
        ("sort([[1]])", WrongType, "list"),
        ("timestamp('2026-01-31')", EvalError, "RFC 3339"),
        ("duration('1')", EvalError, "not a duration"),
        ("range('a')", WrongType, "range does not take string"),
        ("range(1.5)", WrongType, "range does not take number"),
        ("lower(1)", WrongType, "lower does not take integer"),
        ("timestamp(duration('1s'))", WrongType, "timestamp does not take duration"),
        ("bool(1)", WrongType, "bool does not take integer"),
    ],
)
def test_errors(source: str, kind: type[EvalError], says: str) -> None:
    with pytest.raises(EvalError) as caught:
        value(source)
    assert type(caught.value) is kind
    assert says in caught.value.message
    assert caught.value.offset is not None


def test_a_long_text_is_cut_in_a_message() -> None:
    with pytest.raises(EvalError) as caught:
        value("int(s)", s="x" * 1000)
    assert len(caught.value.message) < 80


def test_no_text_brings_a_nul_into_being() -> None:
    assert value("parse_json(s)", s='"\\u0000"') == "\ufffd"
    assert value("unbase64('AA==')") == "\ufffd"
    assert value("parse_json(s)", s='"\\ud800"') == "\ufffd"


def test_a_moment_without_a_stored_copy_of_a_file() -> None:
    with pytest.raises(EvalError):
        value("string(steps)", steps=object())
    file = {"$file": "h", "name": "n", "size": 1, "media_type": "t"}
    assert value("string(f)", f=file) == '{"$file":"h","media_type":"t","name":"n","size":1}'
