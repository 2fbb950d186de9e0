from __future__ import annotations

import json

import pytest

from orchestrator.errors import Exit
from orchestrator.spec.diagnostics import (
    Diagnostic,
    Mark,
    Note,
    Severity,
    SpecErrors,
    has_errors,
    in_order,
    render,
    render_text,
    warning,
)

TEXT = "\n" * 11 + "      timout: 30s\n"
TIMOUT = Diagnostic(
    "E104",
    "unknown field `timout` in step `fetch`",
    Mark("pipeline.yaml", 12, 7, 12, 13),
    "did you mean `timeout`?",
)


def test_text_shows_the_line_and_carets() -> None:
    assert render_text(TIMOUT, {"pipeline.yaml": TEXT}) == (
        "error[E104]: unknown field `timout` in step `fetch`\n"
        "  --> pipeline.yaml:12:7\n"
        "   |\n"
        "12 |       timout: 30s\n"
        "   |       ^^^^^^ did you mean `timeout`?\n"
    )


def test_text_does_without_a_source_or_a_place() -> None:
    assert render_text(TIMOUT, {}) == (
        "error[E104]: unknown field `timout` in step `fetch`\n  --> pipeline.yaml:12:7\n  = did you mean `timeout`?\n"
    )
    assert render_text(Diagnostic("E122", "no such file", hint="look"), {}) == "error[E122]: no such file\n  = look\n"
    assert render_text(Diagnostic("E122", "no such file"), {}) == "error[E122]: no such file\n"
    beyond = Diagnostic("E102", "m", Mark("x", 9, 9, 9, 9))
    assert render_text(beyond, {"x": "a"}) == "error[E102]: m\n  --> x:9:9\n"


def test_notes_show_their_own_place() -> None:
    note = Note("it stands here first", Mark("x", 1, 1, 1, 2))
    twice = Diagnostic("E110", "twice", Mark("x", 2, 1, 2, 2), notes=(note,))
    assert render_text(twice, {"x": "a: 1\na: 2\n"}).split("\n")[5:] == [
        "  note: it stands here first",
        "  --> x:1:1",
        "  |",
        "1 | a: 1",
        "  | ^",
        "",
    ]


def test_carets_stand_under_wide_characters_tabs_and_the_end_of_a_line() -> None:
    def under(text: str, start: int, end: int, *, end_line: int = 1) -> list[str]:
        shown = render_text(Diagnostic("E106", "m", Mark("x", 1, start, end_line, end)), {"x": text})
        return [line.removeprefix("1 | ").removeprefix("  | ") for line in shown.split("\n")[3:5]]

    assert under("a: 日本 x", 4, 6) == ["a: 日本 x", "   ^^^^"]
    assert under("\ta: x", 2, 3) == [" a: x", " ^"]
    assert under("a:", 3, 3) == ["a:", "  ^"]
    assert under("a: |\n  b", 4, 4, end_line=2) == ["a: |", "   ^"]
    assert under("a: {b: [\n]}", 4, 3, end_line=2) == ["a: {b: [", "   ^^^^^"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("store: postgresql://me:sesame@h/d", "store: postgresql://me:******@h/d"),
        ("store: postgresql://me:se?s/a@me@h/d", "store: postgresql://me:*********@h/d"),
        ("store: mysql://h/d?pasword=sesame&pool=2", "store: mysql://h/d?pasword=******&pool=2"),
        ("store: mysql://me:${{ secrets.PW }}@h/d", "store: mysql://me:${{ secrets.PW }}@h/d"),
        ("url: https://h:80/d?q=word", "url: https://h:80/d?q=word"),
    ],
)
def test_no_line_shows_the_password_of_an_url(line: str, shown: str) -> None:
    found = render_text(Diagnostic("E920", "no", Mark("a", 1, 8, 1, len(line) + 1)), {"a": line})
    assert f"1 | {shown}\n  |        {'^' * (len(line) - 7)}\n" in found


def test_a_long_line_is_cut_around_its_place() -> None:
    text = "x" * 5000 + "HERE" + "y" * 5000
    shown = render_text(Diagnostic("E106", "m", Mark("x", 1, 5001, 1, 5005)), {"x": text}).split("\n")
    assert max(map(len, shown)) < 200
    at = shown[4].index("^")
    assert shown[3][at : at + 4] == "HERE"
    assert shown[4].count("^") == 4


def test_no_text_reaches_a_terminal_with_its_escapes() -> None:
    evil = "\x1b[31m\u202ex\x9b\x07"
    shown = render(
        [Diagnostic("E104", evil, Mark(evil, 1, 1, 1, 2), evil, (Note(evil, Mark("x", 1, 1, 1, 1)),))],
        texts={evil: evil, "x": evil},
    )
    assert not set(shown) & set("\x1b\u202e\x9b\x07")
    assert not set(render([Diagnostic("E104", evil, Mark(evil, 1, 1, 1, 2), evil)], "concise")) & set("\x1b\u202e\x9b")


def test_color_paints_and_changes_no_word() -> None:
    import re

    painted = render([TIMOUT], texts={"pipeline.yaml": TEXT}, color=True)
    assert "\x1b[1;31merror[E104]\x1b[0m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == render([TIMOUT], texts={"pipeline.yaml": TEXT})
    assert "\x1b[1;33mwarning[W501]" in render([warning("W501", "cut")], color=True)


def test_concise_is_a_line_each_in_the_order_of_places() -> None:
    first = Diagnostic("E106", "before", Mark("pipeline.yaml", 3, 1, 3, 2))
    assert render([TIMOUT, first, TIMOUT], "concise") == (
        "pipeline.yaml:3:1: E106 before\n"
        "pipeline.yaml:12:7: E104 unknown field `timout` in step `fetch` (did you mean `timeout`?)\n"
    )


def test_json_has_every_field() -> None:
    note = Note("first", Mark("x", 1, 1, 1, 2))
    whole = json.loads(render([Diagnostic("E110", "m", Mark("x", 2, 1, 2, 2), notes=(note,))], "json"))
    place = {"file": "x", "line": 2, "column": 1, "end_line": 2, "end_column": 2}
    assert whole == {
        "format": "orch.diagnostics/1",
        "diagnostics": [
            {
                "code": "E110",
                "severity": "error",
                "message": "m",
                "hint": None,
                **place,
                "notes": [{"message": "first", **place, "line": 1, "end_line": 1}],
            }
        ],
    }
    assert json.loads(render([Diagnostic("E122", "m")], "json"))["diagnostics"][0]["line"] is None


def test_sarif_is_2_1_0() -> None:
    log = json.loads(
        render([TIMOUT, warning("W501", "cut", Mark("a b.yaml", 1, 1, 1, 2)), Diagnostic("E122", "m")], "sarif")
    )
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["E104", "E122", "W501"]
    assert [result["ruleId"] for result in run["results"]] == ["E122", "W501", "E104"]
    assert [run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] for result in run["results"]] == [
        "E122",
        "W501",
        "E104",
    ]
    assert run["results"][1]["level"] == "warning"
    where = run["results"][1]["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "a%20b.yaml"
    assert run["results"][2]["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 12,
        "startColumn": 7,
        "endLine": 12,
        "endColumn": 13,
    }
    assert run["results"][0]["locations"] == []


def test_github_commands_cannot_be_broken_out_of() -> None:
    evil = Diagnostic("E104", "a\n::error::b%", Mark("x,y:z.yaml", 1, 2, 1, 3), "h\r")
    assert render([evil], "github") == (
        "::error file=x%2Cy%3Az.yaml,line=1,col=2,endColumn=3,title=E104 unknown field::a%0A::error::b%25 (h%0D)\n"
    )
    assert render([Diagnostic("E122", "m")], "github") == "::error title=E122 a file cannot be read::m\n"
    assert "endColumn" not in render([Diagnostic("E122", "m", Mark("x", 1, 1, 2, 1))], "github")


def test_nothing_to_say() -> None:
    assert render([]) == render([], "concise") == render([], "github") == ""
    assert json.loads(render([], "json"))["diagnostics"] == []


def test_errors_carry_all_diagnostics() -> None:
    error = SpecErrors([TIMOUT, warning("W501", "cut", Mark("a", 1, 1, 1, 1))], texts={"a": "b"})
    assert [one.code for one in error.diagnostics] == ["W501", "E104"]
    assert error.exit is Exit.USAGE
    assert error.texts == {"a": "b"}
    assert str(error).split("\n")[1] == "pipeline.yaml:12:7: error[E104]: unknown field `timout` in step `fetch`"
    assert str(SpecErrors([]))
    assert has_errors([TIMOUT])
    assert not has_errors([warning("W501", "cut")])
    assert in_order([TIMOUT, TIMOUT]) == (TIMOUT,)
    assert warning("W501", "cut").severity is Severity.WARNING
