from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import pytest

from orchestrator.spec.diagnostics import SpecErrors
from orchestrator.spec.load import Loaded, load, read_part
from orchestrator.spec.nodes import Mapping, Node, Scalar, Sequence, mark_in
from tests.unit.spec.corpus import VALID


def loaded(text: str) -> Loaded:
    return load(text.encode(), name="x.yaml")


def span(text: str, path: tuple[str | int, ...], *, key: bool = False) -> str:
    """What the mark at a path covers."""
    read = loaded(text)
    mark = read.key_mark(path) if key else read.mark(path)
    lines = text.split("\n")
    if mark.line == mark.end_line:
        return lines[mark.line - 1][mark.column - 1 : mark.end_column - 1]
    middle = lines[mark.line : mark.end_line - 1]
    return "\n".join(
        [lines[mark.line - 1][mark.column - 1 :], *middle, lines[mark.end_line - 1][: mark.end_column - 1]]
    )


def inside(text: str, path: tuple[str | int, ...], part: str) -> tuple[int, int, int, int]:
    """Where ``mark_in`` finds a part of a scalar."""
    read = loaded(text)
    value = read.data
    for element in path:
        value = value[element]
    start = value.index(part)
    mark = read.mark_in(path, start, start + len(part))
    return mark.line, mark.column, mark.end_line, mark.end_column


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("2026-11-23", "2026-11-23"),
        ("12:30:00", "12:30:00"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        ("012", 12),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1E-2", -0.01),
        (".", "."),
        ("-", None),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("1" * 4300, int("1" * 4300)),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    if text == "-":
        assert loaded("a:\n  -\n").data == {"a": [None]}
        return
    read = loaded(f"a: {text}\n").data["a"]
    assert read == value
    assert type(read) is type(value)


def test_json_is_yaml() -> None:
    assert loaded('{"a": [1, 2.5, true, null, "x\\ud83d\\ude00\\n"], "b": {"c": {}}}').data == {
        "a": [1, 2.5, True, None, "x\U0001f600\n"],
        "b": {"c": {}},
    }


TEXT = "steps:\n  fetch:\n    timout: 30s\n    list: [1, 'two', {three: 3}]\n    long: |\n      a\n      b\n  next: x\n"


def test_every_value_has_its_place() -> None:
    assert span(TEXT, ("steps", "fetch", "timout")) == "30s"
    assert span(TEXT, ("steps", "fetch", "timout"), key=True) == "timout"
    assert span(TEXT, ("steps", "fetch", "list")) == "[1, 'two', {three: 3}]"
    assert span(TEXT, ("steps", "fetch", "list", 1)) == "'two'"
    assert span(TEXT, ("steps", "fetch", "list", 1), key=True) == "'two'"
    assert span(TEXT, ("steps", "fetch", "list", 2, "three")) == "3"
    assert span(TEXT, ("steps", "fetch", "long")) == "|\n      a\n      b"
    assert span(TEXT, ("steps", "fetch"), key=True) == "fetch"


def test_a_path_to_nothing_has_the_place_around_it() -> None:
    assert span(TEXT, ("steps", "next", "more", 5), key=True) == "next"
    assert span(TEXT, ("steps", "next", "more", 5)) == "x"
    assert loaded(TEXT).mark(("nothing",)).line == 1
    assert loaded(TEXT).key_mark(()).line == 1


def test_lines_end_as_they_like() -> None:
    for end in ("\n", "\r\n", "\r"):
        read = loaded(end.join(["a:", "  b: x", "", "  c: y", ""]))
        assert (read.mark(("a", "c")).line, read.mark(("a", "c")).column) == (4, 6)


def test_a_byte_order_mark_is_no_column() -> None:
    read = load(b"\xef\xbb\xbfa: x", name="x.yaml")
    assert (read.mark(("a",)).column, read.mark(("a",)).end_column) == (4, 5)


def test_columns_count_code_points() -> None:
    assert loaded("{\U0001f600: é, b: x}").mark(("b",)).column == 11


def test_an_alias_is_what_it_stands_for() -> None:
    text = "a: &one\n  b: [x, y]\nc: *one\n"
    read = loaded(text)
    assert read.data == {"a": {"b": ["x", "y"]}, "c": {"b": ["x", "y"]}}
    assert read.mark(("c", "b", 1)) == read.mark(("a", "b", 1))


def test_an_anchor_is_no_part_of_its_scalar() -> None:
    assert span("a: &name  text\n", ("a",)) == "text"
    assert inside("a: &n ab cd", ("a",), "cd") == (1, 10, 1, 12)


@pytest.mark.parametrize(
    ("text", "part", "place"),
    [
        ("a: one two three", "two", (1, 8, 1, 11)),
        ("a: 'it''s two'", "two", (1, 11, 1, 14)),
        ("a: 'it''s two'", "'s", (1, 7, 1, 10)),
        ('a: "one two"', "two", (1, 9, 1, 12)),
        ("a: one\n  two\n  three four", "four", (3, 9, 3, 13)),
        ("a: one\n\n  two", "two", (3, 3, 3, 6)),
        ("a: 'one\n\n\n  two'", "two", (4, 3, 4, 6)),
        ("a: |\n  one\n  two three\n", "three", (3, 7, 3, 12)),
        ("a: |\n\n  one\n    two\n\n  three\n", "two", (4, 5, 4, 8)),
        ("a: |\n\n  one\n    two\n\n  three\n", "three", (6, 3, 6, 8)),
        ("a: |2\n    one\n   two\n", "two", (3, 4, 3, 7)),
        ("a:\n  b: |-\n    one\n    two", "two", (4, 5, 4, 8)),
        ("a: |\r\n  one\r\n  two\r\n", "two", (3, 3, 3, 6)),
        ("a: >\n  one two\n", "two", (2, 7, 2, 10)),
        ("a: |\n  one\n  two\nb: x\n", "two", (3, 3, 3, 6)),
    ],
)
def test_a_part_of_a_text_has_its_own_place(text: str, part: str, place: tuple[int, int, int, int]) -> None:
    path = ("a", "b") if "  b:" in text else ("a",)
    assert inside(text, path, part) == place


@pytest.mark.parametrize("text", ['a: "one\\ttwo"', "a: >\n  one\n  two\n", 'a: "one\\\n  two"', "a: one\u2028  two"])
def test_where_escapes_or_folds_hide_it_the_place_is_the_beginning(text: str) -> None:
    assert inside(text, ("a",), "two")[:2] == (1, 4)


def test_the_place_of_an_empty_part_and_of_the_end() -> None:
    read = loaded("a: text")
    assert read.mark_in(("a",), 4, 4).column == 8
    assert read.mark_in(("a",), 2, 99).column == 4
    assert read.mark_in(("b",), 0, 1).line == 1


def test_keys_of_cases_are_text() -> None:
    assert list(loaded("cases: {true: 1, 200: 2, 1.5: 3, x: 4}").data["cases"]) == ["true", "200", "1.5", "x"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a: x == '#1 #2'", "` #`"),
        ("a: {b: f(x, y)}", None),
        ("a: [f(x, y)]", "comma or bracket"),
        ("a: 'x' # y", None),
        ("a: x", None),
    ],
)
def test_what_cut_a_text_short_is_known(text: str, hint: str | None) -> None:
    try:
        read = loaded(text)
    except SpecErrors as error:
        assert [one.code for one in error.diagnostics] == ["E103"]  # noqa: PT017 (the flow mapping is refused at once)
        return
    found = read.quoting_hint(("a", 0) if "[" in text else ("a",))
    assert hint in (found or "") if hint else found is None


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a: 1")))
    read = load("-")
    assert (read.data, read.file, read.folder) == ({"a": 1}, "<stdin>", Path.cwd())


def test_what_was_read_is_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1")
    assert load(path).sources == {str(path): hashlib.sha256(b"a: 1").hexdigest()}
    assert load(b"a: 1").sources == {}


@pytest.mark.parametrize("name", ["none.yaml", "folder", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_read_is_a_diagnostic(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecErrors) as caught:
        load(tmp_path / name)
    assert [one.code for one in caught.value.diagnostics] == ["E122"]


def test_imported_nodes_keep_their_own_file() -> None:
    path = VALID / "imports.yaml"
    read = load(path)
    assert set(read.data["agents"]) == {"reader", "writer"}
    assert read.mark(("agents", "reader", "tools", 0)).file == str(VALID / "shared/common.yaml")
    assert read.mark(("agents", "writer", "model")).file == str(path)
    assert read.folder_of(("agents", "reader", "instructions", 1, "file")) == VALID / "shared"
    assert read.folder_of(("steps", "read")) == VALID
    assert set(read.texts) == {str(path), str(VALID / "shared/common.yaml")}
    assert set(read.sources) == set(read.texts)


def test_imports_leave_the_imported_data_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nmodels: {a: {}}\n")
    (tmp_path / "b.yaml").write_text("version: 1\nmodels: {b: {}}\n")
    main = tmp_path / "main.yaml"
    main.write_text("imports: [a.yaml, b.yaml, 5]\n")
    assert load(main).data["models"] == {"a": {}, "b": {}}
    main.write_text("imports: [a.yaml]\nmodels: 5\n")
    assert load(main).data["models"] == 5


def test_parts_are_read_within_bounds(tmp_path: Path) -> None:
    good = tmp_path / "good.md"
    good.write_bytes("\ufeffhé".encode())
    assert read_part(good) == ("hé", hashlib.sha256("\ufeffhé".encode()).hexdigest())
    for body, words in ((b"x" * 1_048_577, "over"), (b"\xff", "UTF-8"), (b"a\0", "NUL")):
        good.write_bytes(body)
        with pytest.raises(ValueError, match=words):
            read_part(good)
    with pytest.raises(ValueError, match="a folder"):
        read_part(tmp_path)
    with pytest.raises(ValueError, match="not a file"):
        read_part(Path("/dev/null"))


def scalars(node: Node) -> list[Scalar]:
    match node:
        case Scalar():
            return [node]
        case Sequence():
            return [one for item in node.items for one in scalars(item)]
        case Mapping():
            return [one for key, value in node.entries.values() for one in (key, *scalars(value))]


@pytest.mark.parametrize("path", sorted(VALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_character_of_a_text_is_found_in_its_source_or_the_text_as_a_whole(path: Path) -> None:
    found = 0
    for node in scalars(load(path).root):
        lines = node.source.text.split("\n")
        for at, char in enumerate(node.text):
            mark = mark_in(node, at, at + 1)
            if (mark.line, mark.column) == node.source.position(node.start) and char != node.source.text[node.start]:
                break
            if not char.isspace():
                assert lines[mark.line - 1][mark.column - 1] == char
                found += 1
    assert found > 100


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"a: " + b"x" * 1_048_576, "1,048,576 bytes"),
        (b"\n" * 60_001, "60,000 lines"),
        (b"a: " + b"x " * 250_001, "250,000 words"),
        (b"a: [" + b"x, " * 20_000 + b"]", "over 20,000 nodes"),
        (b"a: &a [" + b"x, " * 300 + b"]\nb: [" + b"*a, " * 70 + b"]", "aliases make over 20,000 nodes"),
        (b"a: &a " + b"[" * 40 + b"]" * 40 + b"\nb: " + b"[" * 30 + b"*a" + b"]" * 30, "64 deep by an alias"),
        (b"- !x y\n" * 1_500, "over 1,000 problems"),
    ],
)
def test_limits_stop_the_reading(body: bytes, words: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        load(body)
    (diagnostic,) = [one for one in caught.value.diagnostics if one.code == "E116"]
    assert words in diagnostic.message


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        (b"a: b\nc: \xff", "E101", (2, 4)),
        ("a: b".encode("utf-16"), "E101", (1, 1)),
        (b"", "E119", (1, 1)),
        (b"# nothing\n---\n", "E119", (1, 1)),
        (b"%YAML " + b"1" * 5000 + b".1\n---\na: b", "E102", (1, 1)),
        (b"a: b\nc: \x00", "E118", (2, 4)),
        (b"a: \xed\xa0\x80", "E101", (1, 4)),
    ],
)
def test_what_is_no_text_of_yaml_is_a_diagnostic(body: bytes, code: str, place: tuple[int, int]) -> None:
    with pytest.raises(SpecErrors) as caught:
        load(body)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.mark is not None
    assert (diagnostic.code, (diagnostic.mark.line, diagnostic.mark.column)) == (code, place)


def test_an_imported_file_is_read_within_the_same_limits(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    main = tmp_path / "main.yaml"
    main.write_text("imports: [a.yaml]\n")
    with pytest.raises(SpecErrors) as caught:
        load(main)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.mark is not None
    assert (diagnostic.code, diagnostic.mark.file) == ("E101", str(tmp_path / "a.yaml"))


def test_the_faults_inside_of_a_faulty_key_are_one() -> None:
    with pytest.raises(SpecErrors) as caught:
        load(b"? {a: [*x, {b: 1, b: 2}]}\n: 1")
    assert [one.code for one in caught.value.diagnostics] == ["E114"]
