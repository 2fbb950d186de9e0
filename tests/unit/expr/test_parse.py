from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import OrchError
from orchestrator.expr.nodes import (
    MACROS,
    Binary,
    Call,
    Conditional,
    Index,
    ListLiteral,
    Literal,
    Macro,
    MapLiteral,
    Name,
    Select,
    Unary,
    walk,
)
from orchestrator.expr.parse import (
    MAX_DEPTH,
    MAX_LENGTH,
    ExprSyntaxError,
    Reference,
    parse,
    parse_template,
    path_of,
    references,
    unparse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.expr.nodes import Expr


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("null", Literal(None)),
        ("true", Literal(True)),
        ("12", Literal(12)),
        ("0x1F", Literal(31)),
        ("-9223372036854775808", Literal(-(2**63))),
        ("1.5", Literal(1.5)),
        (".5", Literal(0.5)),
        ("1e3", Literal(1000.0)),
        ("-2.5", Literal(-2.5)),
        ("'a\\'b'", Literal("a'b")),
        ('"a\\n\\x41\\u00e9\\U0001F600\\101"', Literal("a\nAé😀A")),
        (r"r'\d'", Literal(r"\d")),
        ("'''a\n'b'\n'''", Literal("a\n'b'\n")),
        ('""', Literal("")),
        ("a // the rest is a comment", Name("a")),
        ("a.b.c", Select(Select(Name("a"), "b"), "c")),
        ("a.in", Select(Name("a"), "in")),
        ("a[0]['k']", Index(Index(Name("a"), Literal(0)), Literal("k"))),
        ("f(a, 1,)", Call("f", (Name("a"), Literal(1)))),
        ("a.f(1)", Call("f", (Name("a"), Literal(1)))),
        ("f()", Call("f", ())),
        ("[]", ListLiteral(())),
        ("[1, 2,]", ListLiteral((Literal(1), Literal(2)))),
        ("{}", MapLiteral(())),
        ("{'a': 1,}", MapLiteral(((Literal("a"), Literal(1)),))),
        ("!a", Unary("!", Name("a"))),
        ("--a", Unary("-", Unary("-", Name("a")))),
        ("1 - -1", Binary("-", Literal(1), Literal(-1))),
        ("1 + 2 * 3", Binary("+", Literal(1), Binary("*", Literal(2), Literal(3)))),
        ("1 - 2 - 3", Binary("-", Binary("-", Literal(1), Literal(2)), Literal(3))),
        ("(1 + 2) * 3", Binary("*", Binary("+", Literal(1), Literal(2)), Literal(3))),
        ("a in b && c", Binary("&&", Binary("in", Name("a"), Name("b")), Name("c"))),
        ("a || b && c", Binary("||", Name("a"), Binary("&&", Name("b"), Name("c")))),
        ("a ? b : c ? d : e", Conditional(Name("a"), Name("b"), Conditional(Name("c"), Name("d"), Name("e")))),
        ("a || b ? c : d", Conditional(Binary("||", Name("a"), Name("b")), Name("c"), Name("d"))),
        ("xs.map(x, x)", Macro("map", Name("xs"), "x", Name("x"))),
        ("map(xs, x, x)", Macro("map", Name("xs"), "x", Name("x"))),
        ("xs.map(x, w, x)", Macro("map", Name("xs"), "x", Name("x"), Name("w"))),
        ("xs.sort_by(x, x.n)", Macro("sort_by", Name("xs"), "x", Select(Name("x"), "n"))),
    ],
)
def test_parse(source: str, tree: Expr) -> None:
    assert parse(source) == tree


def test_numbers_of_different_types_are_different_expressions() -> None:
    assert Literal(1) != Literal(1.0)
    assert Literal(1) != Literal(True)
    assert Literal(1) != Name("a")
    assert len({Literal(1), Literal(1), Literal(1.0), Literal(True)}) == 3


@pytest.mark.parametrize(
    ("source", "offset", "end", "says", "hint"),
    [
        ("", 0, 0, "missing", None),
        ("   ", 3, 3, "missing", None),
        ("a = b", 2, 3, "'='", "=="),
        ("a === b", 4, 5, "'='", "=="),
        ("a !== b", 4, 5, "'='", "=="),
        ("a <> b", 3, 4, "'>'", "!="),
        ("a and b", 2, 5, "'and'", "&&"),
        ("a or b", 2, 4, "'or'", "||"),
        ("not a", 0, 3, "'not'", "!"),
        ("if a", 0, 2, "'if'", "? A : B"),
        ("a & b", 2, 3, "'&'", "&&"),
        ("a | upper", 2, 3, "'|'", "f(x)"),
        ("2 ** 3", 3, 4, "'*'", "power"),
        ("a?.b", 2, 3, "'.'", "default"),
        ("${{ a }}", 0, 1, "'$'", "as it is"),
        ("a ?? b", 3, 4, "'?'", None),
        ("'abc", 0, 4, "does not end", "close it with '"),
        ("'a\nb'", 0, 2, "does not end", "'''"),
        ("'''abc", 0, 6, "does not end", "'''"),
        (r"'\q'", 1, 3, "escape", r"r'...'"),
        (r"'\400'", 1, 3, "escape", "r'...'"),
        (r"'\x00'", 1, 5, "cannot stand", "NUL"),
        (r"'\ud800'", 1, 7, "cannot stand", "surrogate"),
        (r"'\U00110000'", 1, 11, "cannot stand", "no NUL"),
        ("b'x'", 0, 2, "byte strings", "leave out"),
        ("1u", 1, 2, "'u'", "unsigned"),
        ("1x", 1, 2, "'x'", None),
        ("9223372036854775808", 0, 19, "64 bits", None),
        ("-9223372036854775809", 1, 20, "64 bits", "1e20"),
        ("1" * 5000, 0, 5000, "64 bits", "1e20"),
        ("1e999", 0, 5, "too large", None),
        ("1 +", 3, 3, "unexpected end", None),
        ("a b", 2, 3, "'b'", None),
        ("a.", 2, 2, "field", None),
        ("a.1", 1, 3, "'.1'", None),
        ("(a", 0, 1, "does not end", "close it with )"),
        ("[a, b", 0, 1, "does not end", "close it with ]"),
        ("(a b)", 3, 4, "expected", None),
        ("{a: 1}", 1, 2, "quotes", "write 'a'"),
        ("{'a' 1}", 5, 6, "':'", None),
        ("a ? b", 2, 3, "':' is missing", "CONDITION"),
        ("a ? b c", 6, 7, "CONDITION", None),
        ("in", 0, 2, "'in'", None),
        ("None", 0, 4, "'None'", "write null"),
        ("xs.map(x)", 3, 9, "binds a name", "map(LIST, x"),
        ("xs.filter(1, x)", 10, 11, "plain name", "filter(LIST, x"),
        ("a; b", 1, 2, "';'", "one value"),
        ("%", 0, 1, "'%'", None),
    ],
)
def test_syntax_errors_say_where_and_how(source: str, offset: int, end: int, says: str, hint: str | None) -> None:
    with pytest.raises(ExprSyntaxError) as caught:
        parse(source)
    error = caught.value
    assert (error.offset, error.end) == (offset, end)
    assert says in error.message
    assert error.hint is None if hint is None else error.hint and hint in error.hint
    assert isinstance(error, OrchError)
    assert error.code == "E200"


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "[" * 5000,
        "!" * 5000 + "a",
        "-" * 5000 + "a",
        "a" + ".b" * 200,
        " + ".join("a" * 200),
        "a ? " * 200,
        "f(" * 200,
        "{'a': " * 200,
    ],
)
def test_depth_is_limited(source: str) -> None:
    with pytest.raises(ExprSyntaxError, match=f"at most {MAX_DEPTH} deep"):
        parse(source)


def test_a_chain_up_to_the_depth_is_fine() -> None:
    assert sum(isinstance(node, Name) for node in walk(parse(" + ".join("a" * MAX_DEPTH)))) == MAX_DEPTH


def test_length_is_limited() -> None:
    assert parse(f"'{'a' * (MAX_LENGTH - 2)}'") == Literal("a" * (MAX_LENGTH - 2))
    with pytest.raises(ExprSyntaxError, match=f"at most {MAX_LENGTH} characters"):
        parse(f"'{'a' * (MAX_LENGTH - 1)}'")


def test_offsets() -> None:
    source = " (a + bc).de[0] "
    tree = parse(source)
    assert isinstance(tree, Index)
    assert source[tree.offset : tree.end] == "(a + bc).de[0]"
    select = tree.target
    assert isinstance(select, Select)
    assert source[select.field_offset : select.end] == "de"
    inner = select.target
    assert isinstance(inner, Binary)
    assert source[inner.offset : inner.end] == "(a + bc)"
    assert source[inner.operator_offset] == "+"
    call = parse("x.trim()")
    assert isinstance(call, Call)
    assert (call.offset, call.name_offset, call.end) == (0, 2, 8)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain }} text", ("plain }} text",)),
        ("${{ a }}", (Name("a"),)),
        ("${{a}}${{b}}", (Name("a"), Name("b"))),
        ("x ${{ a }} y", ("x ", Name("a"), " y")),
        ("${{ '}}' }}!", (Literal("}}"), "!")),
        ("${{ '${{' }}", (Literal("${{"),)),
        (
            "${{ {'a': {'b': 1}}}} it's",
            (MapLiteral(((Literal("a"), MapLiteral(((Literal("b"), Literal(1)),))),)), " it's"),
        ),
        ("$ {{ ${ {{", ("$ {{ ${ {{",)),
        ("${{ a }} it's \" ` #", (Name("a"), " it's \" ` #")),
    ],
)
def test_parse_template(text: str, parts: tuple[str | Expr, ...]) -> None:
    assert parse_template(text) == parts


def test_template_offsets_are_into_the_text() -> None:
    text = "Hello ${{ (a).b }}!"
    (_, expr, _) = parse_template(text)
    assert not isinstance(expr, str)
    assert text[expr.offset : expr.end] == "(a).b"


@pytest.mark.parametrize(
    ("text", "offset", "end", "says"),
    [
        ("ab ${{ c", 3, 6, "does not end"),
        ("ab ${{ c } }", 3, 6, "does not end"),
        ("ab ${{ }}", 7, 8, "missing"),
        ("${{", 3, 3, "missing"),
        ("${{ a b }}", 6, 7, "'b'"),
        ("${{ 'a }}", 4, 9, "does not end"),
        ("x" * 20_000 + "${{ = }}", 20_004, 20_005, "'='"),
    ],
)
def test_template_errors(text: str, offset: int, end: int, says: str) -> None:
    with pytest.raises(ExprSyntaxError, match=says) as caught:
        parse_template(text)
    assert (caught.value.offset, caught.value.end) == (offset, end)


def test_a_long_text_may_hold_short_expressions() -> None:
    parts = parse_template("x" * 100_000 + "${{ a }}")
    assert parts[1] == Name("a")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("steps.find.output.urls", [("steps", "find", "output", "urls")]),
        ("steps['find'].output", [("steps", "find", "output")]),
        ("steps.find.output[0].x", [("steps", "find", "output")]),
        ("steps.a.items[i].x", [("steps", "a", "items"), ("i",)]),
        ("xs.map(x, x.a + y.b)", [("xs",), ("y", "b")]),
        ("xs.map(x, xs.filter(y, y > x).size())", [("xs",), ("xs",)]),
        ("x.map(x, x)", [("x",)]),
        ("xs.map(x, x > w, x)", [("xs",), ("w",)]),
        ("{a.b: c ? [d] : f(-e)}", [("a", "b"), ("c",), ("d",), ("e",)]),
        ("1 + 2", []),
    ],
)
def test_references(source: str, found: list[tuple[str, ...]]) -> None:
    assert [(one.root, *one.fields) for one in references(parse(source))] == found


def test_references_know_their_place() -> None:
    source = "1 + steps.find.output[0]"
    assert references(parse(source)) == [Reference("steps", ("find", "output"), 4, 21)]


def test_path_of() -> None:
    assert path_of(parse("a.b['c']")) == ("a", "b", "c")
    assert path_of(parse("a[0]")) is None
    assert path_of(parse("f(a).b")) is None


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name not in {"true", "false", "null", "in", "and", "or", "not", "is", "if", "else", "nil", "undefined"}
)
CALLED = NAMES.filter(lambda name: name not in MACROS)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)
LITERALS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
).map(Literal)


def _nest(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    operators = st.sampled_from(["||", "&&", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"])
    few = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Select, inner, NAMES),
        st.builds(Index, inner, inner),
        st.builds(Unary, st.sampled_from("!-"), inner),
        st.builds(Binary, operators, inner, inner),
        st.builds(Conditional, inner, inner, inner),
        st.builds(ListLiteral, few),
        st.builds(MapLiteral, st.lists(st.tuples(inner, inner), max_size=3).map(tuple)),
        st.builds(Call, CALLED, few),
        st.builds(Macro, st.sampled_from(MACROS), inner, NAMES, inner),
        st.builds(Macro, st.just("map"), inner, NAMES, inner, inner),
    )


TREES = st.recursive(st.one_of(LITERALS, st.builds(Name, NAMES)), _nest, max_leaves=12)


@given(TREES)
def test_what_is_written_out_reads_back(tree: Expr) -> None:
    source = unparse(tree)
    again = parse(source)
    assert again == tree
    assert (again.offset, again.end) == (0, len(source))
    assert parse_template(f"a ${{{{{source}}}}} b") == ("a ", tree, " b")


@given(st.text(max_size=40) | st.text("abc.()[]{}'\"+-*/%!&|=<>?:, \\x0159$\n", max_size=40))
def test_any_text_is_an_expression_or_a_syntax_error(text: str) -> None:
    for read in (parse, parse_template):
        error = _failure(read, text)
        assert error is None or 0 <= error.offset <= error.end <= len(text)


def _failure(read: Callable[[str], object], text: str) -> ExprSyntaxError | None:
    try:
        read(text)
    except ExprSyntaxError as error:
        return error
    return None
