from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.app.inputs import InputErrors, gather
from orchestrator.graph.nodes import InputDef
from orchestrator.jsonish import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

STRING = {"type": "string"}
NULLABLE = {"type": ["string", "null"]}
INTEGER = {"type": "integer", "minimum": 1}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}
LIST = {"type": "array", "items": {"type": "string"}}
ENUM = {"enum": ["fast", "slow", "1"]}
ANY: dict[str, Any] = {}
FILE = {
    "type": "object",
    "properties": {"$file": STRING, "name": STRING, "size": {"type": "integer"}, "media_type": STRING},
    "required": ["$file", "name", "size", "media_type"],
}


def one(schema: dict[str, Any], **more: Any) -> list[InputDef]:
    return [InputDef(name="x", schema=schema, **more)]


def codes(declared: Sequence[InputDef], *, environ: dict[str, str] | None = None, **given: Any) -> list[str]:
    with pytest.raises(InputErrors) as raised:
        gather(declared, environ=environ or {}, **given)
    return [each.code for each in raised.value.diagnostics]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (STRING, "5", "5"),
        (STRING, "a=b", "a=b"),
        (STRING, "", ""),
        (NULLABLE, "null", None),
        (NULLABLE, "12", "12"),
        (INTEGER, "5", 5),
        (INTEGER, "5.0", 5),
        (NUMBER, "5", 5),
        (BOOLEAN, "true", True),
        (LIST, '["a", "b"]', ["a", "b"]),
        (ENUM, "fast", "fast"),
        (ENUM, "1", "1"),
        (ANY, '{"a": 1}', {"a": 1}),
        (ANY, "text", "text"),
        ({"anyOf": [LIST, {"type": "null"}]}, '["a"]', ["a"]),
    ],
)
def test_a_pair_is_read_by_its_type(schema: dict[str, Any], text: str, value: Any) -> None:
    found = gather(one(schema), pairs=[f"x={text}"], environ={}).values["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("schema", "text"),
    [(INTEGER, "0"), (INTEGER, "many"), (INTEGER, "1.5"), (BOOLEAN, "yes"), (LIST, "a"), (ENUM, "x")],
)
def test_a_value_of_another_type_is_a_problem(schema: dict[str, Any], text: str) -> None:
    assert codes(one(schema), pairs=[f"x={text}"]) == ["E023"]


def test_all_problems_show_at_once() -> None:
    declared = [InputDef(name="topic", schema=STRING), InputDef(name="count", schema=INTEGER)]
    assert codes(declared, pairs=["tpoic=x", "count=zero", "broken"]) == ["E025", "E021", "E022", "E023"]


def test_an_unknown_name_comes_with_the_closest() -> None:
    with pytest.raises(InputErrors) as raised:
        gather([InputDef(name="topic", schema=STRING, required=False)], pairs=["tpoic=x"], environ={})
    assert raised.value.diagnostics[0].hint == "did you mean `topic`?"


def test_a_pair_wins_over_the_document_and_that_over_variable_and_default(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"x": "document"}')
    declared = one(STRING, required=False, has_default=True, default="default", env="X")
    env = {"X": "variable"}
    assert gather(declared, environ={}).values == {"x": "default"}
    assert gather(declared, environ=env).values == {"x": "variable"}
    assert gather(declared, environ=env, document=str(file)).values == {"x": "document"}
    assert gather(declared, environ=env, document=str(file), pairs=["x=pair"]).values == {"x": "pair"}


def test_an_omitted_optional_input_is_null() -> None:
    assert gather(one(NULLABLE, required=False), environ={}).values == {"x": None}


def test_the_same_pair_twice_is_a_problem() -> None:
    assert codes(one(STRING), pairs=["x=a", "x=b"]) == ["E025"]


def test_a_file_is_read_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = gather(one(FILE, is_file=True), pairs=["x=photo.png"], environ={})
    name = digest(b"\x89PNG\r\n\x1a\n")
    assert found.values["x"] == {"$file": name, "name": "photo.png", "size": 8, "media_type": "image/png"}
    assert found.files == {name: b"\x89PNG\r\n\x1a\n"}


@pytest.mark.parametrize("path", ["missing", ".", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_read_is_a_problem(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert codes(one(FILE, is_file=True), pairs=[f"x={path}"]) == ["E024"]


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"x": ' + b"9" * 5_000 + b"}", b"null"]
)
def test_a_document_that_holds_no_object_is_a_problem(body: bytes, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(body)
    assert "E026" in codes(one(STRING), document=str(file))


def test_a_document_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert codes(one(STRING, required=False), document=str(tmp_path / "none.json")) == ["E026"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(value=JSON, schema=st.sampled_from([STRING, NULLABLE, INTEGER, BOOLEAN, LIST, ENUM, ANY, FILE]))
def test_any_json_gives_values_or_problems(value: Any, schema: dict[str, Any], tmp_path_factory: Any) -> None:
    file: Path = tmp_path_factory.mktemp("in") / "in.json"
    file.write_text(json.dumps(value if isinstance(value, dict) else {"x": value}), encoding="utf-8")
    try:
        found = gather(one(schema, is_file=schema is FILE), document=str(file), environ={})
    except InputErrors as error:
        assert error.diagnostics  # noqa: PT017  either end is right
    else:
        assert set(found.values) == {"x"}
