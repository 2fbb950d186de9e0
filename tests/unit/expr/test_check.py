from __future__ import annotations

from typing import Any

import pytest

from orchestrator.expr.check import Namespace, check, known_when
from orchestrator.expr.kinds import kinds_of
from orchestrator.expr.parse import parse
from orchestrator.expr.signatures import FUNCTIONS
from orchestrator.spec.types import ANY, INTEGER, STRING, Type, nullable, parse_type


def typed(form: Any) -> Type:
    return parse_type(form, names={})


SCOPE: dict[str, Any] = {
    "inputs": typed(
        {
            "n": "integer",
            "num": "number",
            "s": "string",
            "o?": "string",
            "flag": "boolean",
            "xs": ["integer"],
            "ns": ["integer?"],
            "lists": [["integer"]],
            "os": [{"a": "string", "b?": "integer", "in?": {"c?": "string"}}],
            "e": {"enum": ["ship", "stop"]},
            "sizes": {"enum": [1, 2]},
            "mixed": {"enum": [1, "a"]},
            "f": "file",
            "any": "any",
            "on": "{a: string, on: {b?: integer}}?",
            "lo": "[string]?",
            "lim": {"type": "integer", "minimum": 1},
            "open": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        }
    ),
    "steps": Namespace(
        {"find": typed({"output": {"urls": ["string"]}, "error": "{code: string}?", "status": "string"})}, "step"
    ),
    "secrets": Namespace({"KEY": STRING, "OPT": nullable(STRING)}, "secret"),
    "item": STRING,
    "empty": Namespace({}),
}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("null", "null"),
        ("1", "integer"),
        ("1.0", "number"),
        ("'a'", "string"),
        ("true", "boolean"),
        ("[]", "[any]"),
        ("[1, 2.5]", "[number]"),
        ("[1, 'a']", "[any]"),
        ("[1, null]", "[integer?]"),
        ("[null]", "[null]"),
        ("{}", "{}"),
        ("{'a': 1, 'b': [null, 'x']}", "{a: integer, b: [string?]}"),
        ("{inputs.s: 1}", "{...}"),
        ("{inputs.s: 1}.x", "any"),
        ("inputs.n + 1", "integer"),
        ("inputs.lim + 1", "integer"),
        ("inputs.n + 1.5", "number"),
        ("inputs.n / 2", "integer"),
        ("inputs.n % 2", "integer"),
        ("-inputs.num", "number"),
        ("-inputs.sizes", "integer"),
        ("inputs.sizes + 1", "integer"),
        ("inputs.e + 'x'", "string"),
        ("inputs.any + 1", "any"),
        ("inputs.any + inputs.any", "any"),
        ("[1] + inputs.any", "any"),
        ("inputs.xs + [2.5]", "[number]"),
        ("inputs.xs + []", "[integer]"),
        ("!inputs.flag", "boolean"),
        ("inputs.n > 1.5 && 'a' < 'b'", "boolean"),
        ("inputs.any > 1", "boolean"),
        ("inputs.flag ? 1 : 2.5", "number"),
        ("inputs.flag ? 1 : null", "integer?"),
        ("inputs.flag ? 1 : 'a'", "any"),
        ("inputs.flag ? inputs.e : 'x'", "string"),
        ("inputs.flag ? {'a': 1} : {'b': 1}", "{a?: integer, b?: integer}"),
        ("inputs.e", 'enum("ship", "stop")'),
        ("inputs.f", "file"),
        ("inputs.f.size", "integer"),
        ("inputs.f['name']", "string"),
        ("inputs.f[inputs.s]", "any"),
        ("inputs['n']", "integer"),
        ("inputs[inputs.s]", "any"),
        ("inputs.os[0].b", "integer?"),
        ("inputs.any[0].x['y']", "any"),
        ("inputs.open.a", "string?"),
        ("inputs.open.zz", "any"),
        ("steps.find.output.urls[0]", "string"),
        ("steps['find'].status", "string"),
        ("secrets.KEY + 'x'", "string"),
        ("'Bearer ' + (has(secrets.OPT) ? secrets.OPT : '')", "string"),
        ("secrets.OPT == null ? ['x', secrets.KEY] : [default(secrets.OPT, '')]", "[string]"),
        ("{'k': secrets.KEY}", "{k: string}"),
        ("default(inputs.o, 'x')", "string"),
        ("default(inputs.o, null)", "string?"),
        ("default(null, 1)", "integer"),
        ("default(null, null)", "any"),
        ("default(inputs.o, 1)", "any"),
        ("default(inputs.lo, [])", "[string]"),
        ("default(inputs.any, 1)", "any"),
        ("default(inputs.on.on.b, 1)", "integer"),
        ("default(steps.find.error.code, '')", "string"),
        ("default(inputs.lo[0], '')", "string"),
        ("default(null[0], null.x, 1)", "integer"),
        ("has(inputs.on.a)", "boolean"),
        ("inputs.on.a == null", "boolean"),
        ("inputs.on != null && inputs.on.a == 'x'", "boolean"),
        ("inputs.on == null || inputs.on.a == 'x'", "boolean"),
        ("has(inputs.on.on.b) ? inputs.on.on.b + 1 : 0", "integer"),
        ("!has(inputs.o) ? 'x' : inputs.o + 'y'", "string"),
        ("inputs.o == 'a' ? inputs.o + 'y' : ''", "string"),
        ("'a' != inputs.o ? '' : inputs.o + 'y'", "string"),
        ("!(inputs.o == null || inputs.flag) && size(inputs.o) > 0", "boolean"),
        ("inputs.o != null && inputs.flag && size(inputs.o) > 0", "boolean"),
        ("inputs.o == inputs.s", "boolean"),
        ("inputs.lo == null", "boolean"),
        ("[inputs.n] == [1.5]", "boolean"),
        ("[] == inputs.xs", "boolean"),
        ("1 in inputs.xs", "boolean"),
        ("null in inputs.ns", "boolean"),
        ("inputs.n in [null]", "boolean"),
        ("inputs.o == inputs.on", "boolean"),
        ("inputs.o in ['a']", "boolean"),
        ("'a' in inputs.open", "boolean"),
        ("1 in inputs.any", "boolean"),
        ("inputs.xs.map(x, x * 2.0)", "[number]"),
        ("inputs.xs.map(x, x > 1, string(x))", "[string]"),
        ("inputs.ns.map(x, x != null, x + 1)", "[integer]"),
        ("inputs.xs.filter(x, x > 1)", "[integer]"),
        ("inputs.ns.filter(x, x != null)", "[integer]"),
        ("inputs.os.filter(x, x.b != null).map(x, x.b + 1)", "[integer]"),
        ("inputs.os.filter(x, x.in.c != null).map(x, x.in.c + '')", "[string]"),
        ("inputs.any.filter(x, x.y != null)", "[any]"),
        ("inputs.open.filter(k, k > 'a')", "[string]"),
        ("inputs.any.map(x, 1)", "[integer]"),
        ("inputs.xs.all(x, x > 0) || inputs.xs.exists(x, x < 0) || inputs.xs.exists_one(x, x == 0)", "boolean"),
        ("inputs.os.sort_by(x, x.a)", None),
        ("compact(inputs.ns)", "[integer]"),
        ("compact(inputs.any)", "[any]"),
        ("string(inputs.xs)", "string"),
        ("json(inputs.o)", "string"),
        ("parse_json('1')", "any"),
        ("split('a', ',')", "[string]"),
        ("join(inputs.xs, ',')", "string"),
        ("join([], ',')", "string"),
        ("min(inputs.xs)", "integer"),
        ("min(1, 2.5)", "number"),
        ("max(inputs.any)", "any"),
        ("max(5)", "integer"),
        ("max(inputs.any, 1)", "any"),
        ("sum(inputs.xs)", "integer"),
        ("sum([1, 2.5])", "number"),
        ("sum(inputs.any)", "any"),
        ("sum([inputs.sizes])", "integer"),
        ("sum([])", "any"),
        ("slice(inputs.xs, 1)", "[integer]"),
        ("slice('abc', 1, 2)", "string"),
        ("slice(inputs.e, 1)", "string"),
        ("slice(inputs.any, 1)", "any"),
        ("flatten(inputs.lists)", "[integer]"),
        ("flatten(inputs.xs)", "[integer]"),
        ("flatten(inputs.any)", "[any]"),
        ("distinct(inputs.xs)", "[integer]"),
        ("sort(inputs.any)", "[any]"),
        ("keys(inputs)", "[string]"),
        ("values({'a': 1, 'b': 2.5})", "[number]"),
        ("values({})", "[any]"),
        ("values(inputs.open)", "[any]"),
        ("values(inputs.any)", "[any]"),
        ("object([['a', 1]])", "{...}"),
        ("object(inputs.os.map(x, [x.a, x.b]))", "{...}"),
        ("object(inputs.any)", "{...}"),
        ("object([inputs.any])", "{...}"),
        ("object([['a', 'b'], split('a,b', ',')])", "{...}"),
        ("range(3)", "[integer]"),
        ("now()", "string"),
        ("timestamp(now())", "string"),
        ("[timestamp(now()) - timestamp(now())]", "[string]"),
        ("{'d': duration('1s')}", "{d: string}"),
        ("inputs.flag ? duration('1s') : null", "string?"),
        ("timestamp(now()) + duration('1s') > timestamp(now())", "boolean"),
        ("double(duration('1s')) + 1", "number"),
    ],
)
def test_types(source: str, shown: str | None) -> None:
    checked = check(parse(source), SCOPE)
    assert not checked.problems
    assert shown is None or str(checked.type) == shown


@pytest.mark.parametrize(
    ("source", "code", "span", "says", "hint"),
    [
        ("xs", "E201", "xs", "unknown name 'xs'", "inputs.xs"),
        ("find.output", "E201", "find", "unknown name", "steps.find"),
        ("input.n", "E201", "input", "unknown name", "inputs"),
        ("zzz", "E201", "zzz", "unknown name", "names here"),
        ("inputs.nn.a", "E202", "nn", "unknown field 'nn'", "'n'"),
        ("inputs['nn']", "E202", "'nn'", "unknown field 'nn'", "'n'"),
        ("inputs.zzzzz", "E202", "zzzzz", "unknown field", "there is: "),
        ("{}.a", "E202", "a", "unknown field", "it has none"),
        ("steps.fnd.output", "E202", "fnd", "unknown step 'fnd'", "'find'"),
        ("inputs.f.nam", "E202", "nam", "a file has no field", "'name'"),
        ("inputs.n.x", "E202", "x", "integer has no field 'x'", None),
        ("inputs.os.a", "E202", "a", "a list has no field 'a'", "x.map(item, item.name)"),
        ("inputs.xs.a", "E202", "a", "[integer] has no field", "x[0]"),
        ("foo(zzz)", "E203", "foo", "unknown function 'foo'", "functions: size"),
        ("len(inputs.s)", "E203", "len", "unknown function", "size"),
        ("inputs.s.trimm()", "E203", "trimm", "unknown function", "trim"),
        ("inputs.s.split()", "E204", "inputs.s.split()", "1 argument", "split(text, separator, limit)"),
        ("now(1)", "E204", "now(1)", "1 argument", "now()"),
        ("default(1)", "E204", "default(1)", "1 argument", "default(a, b, ...)"),
        ("size(1, 2)", "E204", "size(1, 2)", "2 arguments", "size(x)"),
        ("inputs.s + 1", "E205", "inputs.s + 1", "string and integer", "string(x)"),
        ("inputs.s - 'a'", "E205", "inputs.s - 'a'", "string and string", None),
        ("1.5 % 2", "E205", "1.5 % 2", "number and integer", "int(x)"),
        ("inputs.any - 'a'", "E205", "'a'", "does not take string", None),
        ("inputs.flag * inputs.any", "E205", "inputs.flag", "boolean", None),
        ("-inputs.s", "E205", "inputs.s", "takes number, not string", "int(x)"),
        ("!inputs.n", "E205", "inputs.n", "takes boolean, not integer", "size(x) > 0"),
        ("inputs.n && true", "E205", "inputs.n", "'&&' takes boolean", "x != null"),
        ("inputs.xs ? 1 : 2", "E205", "inputs.xs", "a condition takes boolean", None),
        ("lower(inputs.n)", "E205", "inputs.n", "lower takes text, not integer", "string(x)"),
        ("lower(inputs.xs)", "E205", "inputs.xs", "lower takes text", None),
        ("size(1)", "E205", "1", "list or object or text", None),
        ("inputs.xs['a']", "E205", "'a'", "index of a list is an integer", None),
        ("inputs.xs[1.5]", "E205", "1.5", "index of a list is an integer", None),
        ("inputs[1]", "E205", "1", "key of an object is text", None),
        ("inputs.n[0]", "E205", "inputs.n", "integer has no items", None),
        ("{1: 2}", "E205", "1", "key of an object takes text", None),
        ("'a' in 'abc'", "E205", "'abc'", "takes a list or an object", "x.contains(y)"),
        ("1 in 2", "E205", "2", "takes a list or an object", None),
        ("1 in {'a': 1}", "E205", "1", "key of an object takes text", None),
        ("inputs.n.map(x, x)", "E205", "inputs.n", "map takes a list or an object", None),
        ("inputs.xs.filter(x, x)", "E205", "x", "filter takes boolean", None),
        ("inputs.xs.map(x, x, x)", "E205", "x", "map takes boolean", None),
        ("inputs.lists.sort()", "E205", "inputs.lists", "sort takes numbers", None),
        ("inputs.os.sort_by(x, x)", "E205", "x", "sort_by takes numbers", None),
        ("min(inputs.xs, 1)", "E205", "inputs.xs", "one list, or values", None),
        ("sum(['a'])", "E205", "['a']", "list of numbers", None),
        ("join(inputs.os)", "E205", "inputs.os", "list of scalars", "json(item)"),
        ("object([1])", "E205", "[1]", "[key, value]", None),
        ("object([[1, 2]])", "E205", "1", "takes text, not integer", None),
        ("object([inputs.xs])", "E205", "[inputs.xs]", "takes text, not integer", None),
        ("inputs.o + 'a'", "E206", "inputs.o", "inputs.o may be null", "default(inputs.o, ...)"),
        ("1 + null", "E206", "null", "does not take null", "default"),
        ("steps.find.error.code", "E206", "steps.find.error", "may be null", "default"),
        ("null.x", "E206", "null", "does not take null", None),
        ("inputs.lo[0]", "E206", "inputs.lo", "may be null", None),
        ("size(inputs.o)", "E206", "inputs.o", "may be null", None),
        ("string(inputs.o)", "E206", "inputs.o", "may be null", None),
        ("inputs.lo.map(x, x)", "E206", "inputs.lo", "may be null", None),
        ("inputs.o in inputs.open", "E206", "inputs.o", "may be null", None),
        ("sum(inputs.ns)", "E206", "inputs.ns", "may be null", "compact"),
        ("join(inputs.ns)", "E206", "inputs.ns", "may be null", "compact"),
        ("sort(inputs.ns)", "E206", "inputs.ns", "may be null", "compact"),
        ("min(inputs.ns)", "E206", "inputs.ns", "may be null", "compact"),
        ("flatten([inputs.lo])", "E206", "[inputs.lo]", "may be null", "compact"),
        ("object([[inputs.o, 1]])", "E206", "inputs.o", "may be null", None),
        ("inputs.o == null && size(inputs.o) > 0", "E206", "inputs.o", "may be null", None),
        (
            "default(inputs.flag ? inputs.o : inputs.o, inputs.o, 'averylongtext') == (inputs.flag ? null : inputs.o) + 'x'",
            "E206",
            "(inputs.flag ? null : inputs.o)",
            "may be null",
            None,
        ),
        (
            "(inputs.flag ? default(inputs.o, inputs.o, inputs.o) : default(inputs.o, inputs.o)) + 'x'",
            "E206",
            "(inputs.flag ? default(inputs.o, inputs.o, inputs.o) : default(inputs.o, inputs.o))",
            "this may be null",
            "default(x, ...)",
        ),
        ("inputs.n == 's'", "E207", "inputs.n == 's'", "never equal", "string(x)"),
        ("now() == timestamp(now())", "E207", "now() == timestamp(now())", "never equal", "timestamp(x)"),
        ("'1h' == duration('1h')", "E207", "'1h' == duration('1h')", "never equal", "duration(x)"),
        ("[1] == ['a']", "E207", "[1] == ['a']", "never equal", None),
        ("inputs.lo == inputs.n", "E207", "inputs.lo == inputs.n", "never equal", None),
        ("inputs.mixed == true", "E207", "true", "never True", None),
        ("inputs.e == 'shp'", "E207", "'shp'", "never 'shp'", "'ship'"),
        ("'zzz' != inputs.e", "E207", "'zzz'", "never 'zzz'", "one of: ship, stop"),
        ("'a' in inputs.xs", "E207", "'a' in inputs.xs", "never in", "int(x)"),
        ("'a' < 1", "E207", "'a' < 1", "does not compare", "int(x)"),
        ("inputs.xs < inputs.xs", "E207", "inputs.xs < inputs.xs", "does not compare", None),
        ("min(1, 'a')", "E207", "min(1, 'a')", "values of one kind", None),
        ("inputs.s.matches('(')", "E208", "'('", "not valid", None),
        ("inputs.s.matches('')", "E208", "''", "empty pattern", None),
        ("duration('1 h')", "E208", "'1 h'", "not a duration", None),
        ("timestamp('soon')", "E208", "'soon'", "RFC 3339", None),
        ("int('x')", "E208", "'x'", "whole number", None),
        ("inputs.n / 0", "E208", "inputs.n / 0", "division by zero", None),
        ("inputs.xs[-1]", "E208", "-1", "from 0", "size(x) - 1"),
        ("{'a': 1, 'a': 2}", "E208", "'a'", "stands twice", None),
        ("steps", "E209", "steps", "is no value, but a group of steps", "find"),
        ("empty", "E209", "empty", "is no value", None),
        ("json(secrets)", "E209", "secrets", "group of secrets", "KEY"),
        ("steps[inputs.s]", "E209", "inputs.s", "named by a constant", None),
        ("inputs.xs.map(item, item)", "E210", "inputs.xs.map(item, item)", "'item' is taken", "another name"),
        ("inputs.xs.map(x, inputs.xs.map(x, x))", "E210", "inputs.xs.map(x, x)", "'x' is taken", None),
        ("base64('u:' + secrets.KEY)", "E211", "secrets.KEY", "only be joined", None),
        ("secrets.KEY == 'a'", "E211", "secrets.KEY", "only be joined", None),
        ("secrets.KEY.size()", "E211", "secrets.KEY", "only be joined", None),
        ("secrets['KEY'] == 'a' ? 1 : 2", "E211", "secrets['KEY']", "only be joined", None),
        ("{secrets.KEY: 1}", "E211", "secrets.KEY", "only be joined", None),
    ],
)
def test_problems(source: str, code: str, span: str, says: str, hint: str | None) -> None:
    problems = check(parse(source), SCOPE).problems
    found = [problem for problem in problems if problem.code == code]
    assert found, problems
    problem = found[0]
    assert source[problem.offset : problem.end] == span
    assert says in problem.message
    if hint is not None:
        assert problem.hint is not None
        assert hint in problem.hint


def test_all_problems_are_found_at_once_in_order() -> None:
    problems = check(parse("[zzz, inputs.nn, foo(1), inputs.n && 1]"), SCOPE).problems
    assert [problem.code for problem in problems] == ["E201", "E202", "E203", "E205", "E205"]


def test_kinds_of_what_may_be_null() -> None:
    assert kinds_of(nullable(STRING)) == {"text", "null"}


def test_an_empty_scope_has_no_hint() -> None:
    (problem,) = check(parse("a"), {}).problems
    assert problem.hint is None


@pytest.mark.parametrize(
    ("source", "expected", "codes"),
    [
        ("inputs.n", "number", []),
        ("inputs.num", "integer", ["E205"]),
        ("inputs.o", "string", ["E206"]),
        ("inputs.o", "string?", []),
        ("null", "string", ["E205"]),
        ("null", "string?", []),
        ("inputs.any", "string", []),
        ("now()", "string", []),
        ("timestamp(now())", "string", []),
        ("'ship'", {"enum": ["ship", "stop"]}, []),
        ("'shp'", {"enum": ["ship", "stop"]}, ["E205"]),
        ("'zzz'", {"enum": ["ship", "stop"]}, ["E205"]),
        ("inputs.s", {"enum": ["ship", "stop"]}, ["E205"]),
        ("inputs.flag ? 'ship' : 'stop'", {"enum": ["ship", "stop"]}, []),
        ("inputs.flag ? 'ship' : 'halt'", {"enum": ["ship", "stop"]}, ["E205"]),
        ("default(inputs.e, 'stop')", {"enum": ["ship", "stop"]}, []),
        ("default(inputs.o, 'stop')", {"enum": ["ship", "stop"]}, ["E205"]),
        ("default(inputs.o, inputs.o)", "string", ["E206"]),
        ("['ship']", [{"enum": ["ship", "stop"]}], []),
        ("['ship', 'x']", [{"enum": ["ship", "stop"]}], ["E205"]),
        ("[]", ["string"], []),
        ("{'a': 1}", {"a": "integer", "b?": "string"}, []),
        ("{'a': 1}", {"a": "string"}, ["E205"]),
        ("inputs.xs", ["string"], ["E205"]),
    ],
)
def test_expected(source: str, expected: Any, codes: list[str]) -> None:
    checked = check(parse(source), SCOPE, expected=typed(expected))
    assert [problem.code for problem in checked.problems] == codes


def test_a_condition_around_is_known() -> None:
    known = known_when(parse("inputs.on != null && inputs.o != null"), True)
    assert known == {("inputs",), ("inputs", "on"), ("inputs", "o")}
    assert not check(parse("inputs.on.a + inputs.o"), SCOPE, known=known).problems
    assert not known_when(parse("inputs.on != null"), False)
    assert not known_when(parse("inputs.flag"), True)
    assert not known_when(parse("inputs.flag && true"), False)
    assert not known_when(parse("f(x)[0] != null"), True)
    assert not known_when(parse("inputs.flag == inputs.flag"), True)


def test_what_is_known_of_a_name_outside_is_not_known_of_a_macros_name() -> None:
    scope = {"x": nullable(INTEGER), "ns": typed(["integer?"]), "y": ANY}
    problems = check(parse("x != null && ns.exists(x, x + 1 > 0)"), scope).problems
    assert {problem.code for problem in problems} == {"E206", "E210"}


@pytest.mark.parametrize(
    "source",
    [
        *(f"{name}(secrets.KEY)" for name in FUNCTIONS if name not in ("default", "has")),
        *(f"{name}('x' + secrets.KEY)" for name in ("json", "base64", "upper", "hash", "size", "url_encode")),
        *(f"secrets.KEY {operator} 'a'" for operator in ("==", "!=", "<", "<=", ">", ">=", "in")),
        "inputs.s == 'x' + secrets.KEY",
        "secrets.KEY in inputs.xs",
        "inputs.s in [secrets.KEY]",
        "[secrets.KEY][0]",
        "{'k': secrets.KEY}.k",
        "{'k': secrets.KEY}['k']",
        "[secrets.KEY].map(x, x)",
        "['a'].map(x, secrets.KEY + x)",
        "[secrets.KEY].exists(x, x == 'a')",
        "upper(default(secrets.OPT, 'x'))",
        "(has(secrets.OPT) ? secrets.OPT : 'x').upper()",
        "secrets.OPT == default(null, secrets.KEY)",
        "!secrets.KEY",
    ],
)
def test_a_secret_is_never_looked_at(source: str) -> None:
    assert "E211" in [problem.code for problem in check(parse(source), SCOPE).problems]


@pytest.mark.parametrize(
    "source",
    [
        "[secrets.KEY]",
        "{'k': secrets.KEY}",
        "[['a' + secrets.KEY]]",
        "['a'] + [secrets.KEY]",
        "has(secrets.OPT) ? [secrets.OPT] : []",
        "default(secrets.OPT == null ? null : [secrets.KEY], [])",
    ],
)
def test_a_list_with_a_secret_is_a_value_but_no_text(source: str) -> None:
    expr = parse(source)
    assert "E211" not in [problem.code for problem in check(expr, SCOPE).problems]
    assert "E211" in [problem.code for problem in check(expr, SCOPE, text=True).problems]


def test_a_secret_may_be_joined_to_text() -> None:
    for source in (
        "secrets.KEY",
        "'a' + secrets.KEY + 'b'",
        "has(secrets.OPT) ? default(secrets.OPT, '') : secrets.KEY",
    ):
        assert check(parse(source), SCOPE, text=True).problems == ()
