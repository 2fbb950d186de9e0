from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.expr import ABSENT, EvalError, ExprSyntaxError, NullValue, secret_marker
from orchestrator.expr.values import (
    BadValue,
    Const,
    EachPart,
    Expression,
    FilePart,
    ListOf,
    MapOf,
    Prompt,
    Text,
    TextPart,
    Value,
    ValueSyntaxError,
    compile_value,
    render,
    render_prompt,
    value_from_json,
    value_references,
)

FILE = {"$file": "abc", "name": "n.txt", "size": 3, "media_type": "text/plain"}
ENV: dict[str, Any] = {
    "n": 2.0,
    "s": "a b/c",
    "url": "https://example.com/x",
    "xs": [1, 2.0, None],
    "o": {"b": 1, "a": True},
    "none": None,
    "gone": ABSENT,
    "file": FILE,
    "secret": secret_marker("KEY"),
    "injected": "${{ n }}",
}


def rendered(value: Value, **env: Any) -> Any:
    return render(value, ENV | env, now=0, seed="seed", stored=lambda file: f"/stored/{file['$file']}")


def prompt(*parts: TextPart | EachPart | FilePart, **env: Any) -> Any:
    made = Prompt(parts)
    assert value_from_json(json.loads(json.dumps(made.to_json()))) == made
    return render_prompt(made, ENV | env, now=0, seed="seed", stored=lambda file: f"/stored/{file['$file']}")


@pytest.mark.parametrize(
    ("data", "stored", "wanted"),
    [
        (None, ["c", None], None),
        (5, ["c", 5], 5),
        ("plain", ["c", "plain"], "plain"),
        ("", ["c", ""], ""),
        ([1, {"a": "b"}], ["c", [1, {"a": "b"}]], [1, {"a": "b"}]),
        ("${{ n }}", ["e", "n"], 2.0),
        ("${{ (n + 1) * 2 }}", ["e", "(n + 1) * 2"], 6.0),
        (" ${{ n }}", ["t", "", [" ", ["e", "n"]]], " 2"),
        ("n=${{ n }}, ${{s}}!", ["t", "", ["n=", ["e", "n"], ", ", ["e", "s"], "!"]], "n=2, a b/c!"),
        ("${{ xs }} ${{ o }}", ["t", "", [["e", "xs"], " ", ["e", "o"]]], '[1,2,null] {"a":true,"b":1}'),
        ("at ${{ file }}", ["t", "", ["at ", ["e", "file"]]], "at /stored/abc"),
        ("${{ '${{' }} x", ["t", "", [["e", "'${{'"], " x"]], "${{ x"),
        ("<${{ injected }}>", ["t", "", ["<", ["e", "injected"], ">"]], "<${{ n }}>"),
        ("Bearer ${{ secret }}", ["t", "", ["Bearer ", ["e", "secret"]]], "Bearer \0secret:KEY\0"),
        (["${{ n }}", 1], ["l", ["e", "n"], ["c", 1]], [2.0, 1]),
        ({"a": ["x", "${{ none }}"]}, ["m", {"a": ["l", ["c", "x"], ["e", "none"]]}], {"a": ["x", None]}),
        ("${{ gone }}", ["e", "gone"], ABSENT),
        ("x ${{ gone }}", ["t", "", ["x ", ["e", "gone"]]], ABSENT),
        (["${{ gone }}"], ["l", ["e", "gone"]], ABSENT),
        ({"a": "${{ gone }}"}, ["m", {"a": ["e", "gone"]}], ABSENT),
    ],
)
def test_compile_store_and_render(data: Any, stored: Any, wanted: Any) -> None:
    value = compile_value(data)
    assert value.to_json() == stored
    assert value_from_json(json.loads(json.dumps(stored))) == value
    assert rendered(value) == wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("${{ n }}", "2"),
        ("${{ xs }}", "[1,2,null]"),
        ("${{ file }}", "/stored/abc"),
        (80, "80"),
        (1.0, "1"),
        (True, "true"),
        (None, None),
        ({"PORT": 80, "N": "${{ n }}"}, {"PORT": "80", "N": "2"}),
        (["--n", "${{ n }}"], ["--n", "2"]),
    ],
)
def test_text_only(data: Any, wanted: Any) -> None:
    assert rendered(compile_value(data, text=True)) == wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("https://h/${{ s }}?q=${{ s }}", "https://h/a%20b%2Fc?q=a%20b%2Fc"),
        ("${{ url }}/${{ s }}", "https://example.com/x/a%20b%2Fc"),
        ("${{ s }}${{ s }}", "a b/ca%20b%2Fc"),
        ("https://h/${{ 'a/' + secret + '&b' }}", "https://h/a%2F\0secret:KEY\0%26b"),
        ("https://h/é", "https://h/é"),
    ],
)
def test_urls(data: str, wanted: str) -> None:
    value = compile_value(data, text=True, encode="url")
    assert rendered(value) == wanted
    assert value_from_json(value.to_json()) == value


@pytest.mark.parametrize(
    ("data", "segment"),
    [
        ("https://h/x/${{ '..' }}", ".."),
        ("https://h/x/${{ '.' }}/y", "."),
        ("https://h/x/${{ '..' }}?q=1", ".."),
        ("https://h/x/${{ '..' }}#f", ".."),
        ("https://h/x/${{ '.' }}${{ '.' }}/y", ".."),
        ("https://h/x/.${{ '.' }}/y", ".."),
        ("https://h/x/${{ '.' }}%2E/y", ".%2E"),
        ("https://h/x/..${{ '' }}/y", ".."),
        ("${{ url }}/${{ '..' }}", ".."),
        ("${{ url }}/a/${{ '.' }}${{ '.' }}", ".."),
    ],
)
def test_what_is_inserted_does_not_climb_a_url(data: str, segment: str) -> None:
    with pytest.raises(EvalError) as caught:
        rendered(compile_value(data, text=True, encode="url"))
    assert f"'{segment}' for a segment" in caught.value.message


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("https://h/x/../${{ 'a' }}", "https://h/x/../a"),  # the author's own
        ("https://h/x?f=${{ '..' }}", "https://h/x?f=.."),
        ("https://h/x?f=/${{ '..' }}/", "https://h/x?f=/../"),
        ("https://h/x#/${{ '..' }}", "https://h/x#/.."),
        ("https://h/x/${{ '...' }}", "https://h/x/..."),
        ("https://h/x/${{ '..' }}.txt", "https://h/x/...txt"),
        ("https://h/v${{ '1' }}.${{ '.' }}", "https://h/v1.."),
        ("https://h/x/${{ '../..' }}", "https://h/x/..%2F.."),
        ("https://h/x/${{ '%2e%2e' }}", "https://h/x/%252e%252e"),
        ("${{ 'https://h/x/..' }}", "https://h/x/.."),
        ("${{ '..' }}/${{ 'y' }}", "../y"),
    ],
)
def test_dots_that_are_no_segment_of_an_inserted_value_stay(data: str, wanted: str) -> None:
    assert rendered(compile_value(data, text=True, encode="url")) == wanted


@pytest.mark.parametrize("name", ["../abc", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "é", 1, None, ["abc"]])
def test_an_object_that_only_looks_like_a_file_is_no_path(name: Any) -> None:
    value = {"$file": name, "name": "x", "size": 1, "media_type": "text/plain"}
    shown = render(compile_value("at ${{ o }}"), {"o": value}, now=0, seed="s", stored=lambda file: "/stored/leak")
    assert json.loads(shown.removeprefix("at ")) == value


def test_dots_matter_in_urls_alone() -> None:
    assert rendered(compile_value("x/${{ '..' }}", text=True)) == "x/.."


def test_null_in_text_is_an_error_that_names_the_expression() -> None:
    with pytest.raises(NullValue, match="'none' is null"):
        rendered(compile_value("x ${{ none }}"))


def test_a_syntax_error_has_a_path() -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        compile_value({"a": ["x", "b ${{ 1 + }}"]})
    error = caught.value
    assert isinstance(error, ExprSyntaxError)
    assert error.path == ("a", 1)
    assert (error.offset, error.end) == (10, 11)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        ["x"],
        ["c"],
        ["e", 1],
        ["t", "other", []],
        ["t", "", [1]],
        ["t", "", [["c", 1]]],
        ["l", 1],
        ["m", []],
        ["p", ["text", ["c", 1]]],
        ["p", ["each", "xs", 1, ["c", ""]]],
    ],
)
def test_bad_json_is_refused(data: Any) -> None:
    with pytest.raises(BadValue, match="no compiled value"):
        value_from_json(data)


def test_an_expression_is_parsed_once_per_source() -> None:
    assert Expression("a + b").expr is Expression("a + b").expr
    with pytest.raises(ExprSyntaxError):
        _ = Expression("a +").expr


def test_each_place_has_its_own_uuid() -> None:
    data = {"a": "${{ uuid() }}", "b": ["${{ uuid() }}", "x ${{ uuid() }} ${{ uuid() }}"]}
    first = rendered(compile_value(data))
    assert first == rendered(compile_value(data))
    assert len({first["a"], first["b"][0], *first["b"][1].split()[1:]}) == 4


def text(data: str, if_: str | None = None) -> TextPart:
    return TextPart(compile_value(data), if_)


def test_parts_are_joined_by_blank_lines() -> None:
    parts = (text("a\n\n"), text(""), text("\n"), text("b ${{ n }}\r\n"), text("c", "false"), text("d", "n > 1"))
    assert prompt(*parts) == ("a\n\nb 2\n\nd", [])


def test_lines_of_each_are_joined_by_newlines() -> None:
    each = EachPart("['a', '', 'b']", "x", compile_value("${{ x == '' ? '' : '- ' + x }}\n"))
    assert prompt(text("List:"), each) == ("List:\n\n- a\n- b", [])
    assert prompt(EachPart("[]", "x", Const("y"))) == ("", [])
    assert prompt(EachPart("[1]", "n", compile_value("${{ n }}"))) == ("1", [])


def test_files_are_attached() -> None:
    assert prompt(text("see"), FilePart(Expression("file"))) == ("see", [FILE])
    assert prompt(FilePart(Expression("[file, file]"))) == ("", [FILE, FILE])
    assert prompt(FilePart(Expression("none"))) == ("", [])
    assert prompt(text("at ${{ file }}")) == ("at /stored/abc", [])


@pytest.mark.parametrize(
    "part",
    [
        text("${{ gone }}"),
        text("x ${{ gone }}"),
        text("x", "gone"),
        EachPart("gone", "x", Const("a")),
        EachPart("[1]", "x", Expression("gone")),
        FilePart(Expression("gone")),
    ],
)
def test_an_absent_part_makes_the_prompt_absent(part: TextPart | EachPart | FilePart) -> None:
    assert prompt(text("a"), part) is ABSENT
    assert rendered(Prompt((part,))) is ABSENT


def test_what_a_false_condition_hides_is_not_looked_at() -> None:
    assert prompt(text("a"), text("${{ 1 / 0 }}", "false")) == ("a", [])


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (text("x", "n"), "neither true nor false"),
        (text("${{ none }}"), "'none' is null"),
        (TextPart(Const(None)), "null cannot stand in text"),
        (EachPart("none", "x", Const("a")), "'none' is null"),
        (EachPart("n", "x", Const("a")), "'n' is no list"),
        (FilePart(Expression("n")), "an attachment is a file"),
        (FilePart(Expression("[file, 1]")), "an attachment is a file"),
    ],
)
def test_errors_in_parts(part: TextPart | EachPart | FilePart, says: str) -> None:
    with pytest.raises(EvalError, match=says):
        prompt(part)


def test_plain_values_are_prompts_too() -> None:
    assert render_prompt(compile_value("hi ${{ n }}\n"), ENV, now=0, seed="") == ("hi 2", [])
    assert render_prompt(Const(5), ENV, now=0, seed="") == ("5", [])
    assert rendered(Prompt((text("a"), text("b")))) == "a\n\nb"


def test_references() -> None:
    value = MapOf(
        {
            "a": ListOf((Expression("steps.a.output"), Const(1))),
            "b": Text(("x", Expression("inputs.b"))),
            "p": Prompt(
                (
                    TextPart(Expression("inputs.t"), "steps.c.ok > 0"),
                    TextPart(Const("t")),
                    EachPart("steps.d.output", "x", Text((Expression("x.y + inputs.z"),))),
                    FilePart(Expression("inputs.f")),
                )
            ),
        }
    )
    found = [".".join((one.root, *one.fields)) for one in value_references(value)]
    assert found == [
        "steps.a.output",
        "inputs.b",
        "steps.c.ok",
        "inputs.t",
        "steps.d.output",
        "inputs.z",
        "inputs.f",
    ]
