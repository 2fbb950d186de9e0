from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from orchestrator.tools.inspection import inspect_function

if TYPE_CHECKING:
    from pathlib import Path

TEXT, INT, NUMBER, BOOL, NULL = ({"type": kind} for kind in ("string", "integer", "number", "boolean", "null"))

SOURCE = """
    raise SystemExit("this module must not run")
    import dataclasses
    from dataclasses import dataclass
    from typing import *
    from functools import cache, partial

    class Row(TypedDict):
        id: int
        name: NotRequired[str]

    class Loose(TypedDict, total=False):
        id: Required[int]
        name: str

    @dataclass(frozen=True)
    class Point:
        kinds: ClassVar[int] = 3
        x: float
        rows: "list[Row]" = ()
        odd: complex = 0

    @dataclasses.dataclass
    class Tree:
        below: "list[Tree]"

    class Model(BaseModel):
        a: int

    def f(a: str, b: int = 1, *, c: bool, d: float = 0.5, context=None) -> None: ...
    async def g(a, **more): ...
    @cache
    def cached(a: int) -> int: ...
    @decorated
    def hidden(a: int) -> int: ...
    made = partial(f, 1)
    if True:
        def inner(x: str) -> str: ...
    else:
        def inner(y: str) -> str: ...
    class Box:
        @staticmethod
        def put(x: int) -> bool: ...
"""
ANNOTATIONS: list[tuple[str, Any]] = [
    ("str", TEXT),
    ("int", INT),
    ("float", NUMBER),
    ("bool", BOOL),
    ("None", NULL),
    ("Any", {}),
    ("dict", {"type": "object"}),
    ("list", {"type": "array"}),
    ("list[str]", {"type": "array", "items": TEXT}),
    ("List[list[int]]", {"type": "array", "items": {"type": "array", "items": INT}}),
    ("tuple[int, ...]", {"type": "array", "items": INT}),
    ("dict[str, float]", {"type": "object", "additionalProperties": NUMBER}),
    ("Mapping[str, Any]", {"type": "object", "additionalProperties": {}}),
    ("Optional[int]", {"anyOf": [INT, NULL]}),
    ("int | None", {"anyOf": [INT, NULL]}),
    ("Union[int, str, None]", {"anyOf": [INT, TEXT, NULL]}),
    ("int | str | None", {"anyOf": [INT, TEXT, NULL]}),
    ("'int | None'", {"anyOf": [INT, NULL]}),
    ("Literal['a', 'b']", {"enum": ["a", "b"]}),
    ("Annotated[int, 'why']", INT),
    ("datetime.datetime", TEXT),
    ("Path", TEXT),
    (
        "Row",
        {"type": "object", "properties": {"id": INT, "name": TEXT}, "required": ["id"], "additionalProperties": False},
    ),
    (
        "Loose",
        {"type": "object", "properties": {"id": INT, "name": TEXT}, "required": ["id"], "additionalProperties": False},
    ),
    ("complex", None),
    ("Model", None),
    ("None_Such", None),
    ("dict[int, str]", None),
    ("list[complex]", None),
    ("Callable[[int], str]", None),
    ("'no python ('", None),
    ("1 + 2", None),
    ("lambda: 1", None),
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    source = textwrap.dedent(SOURCE)
    for number, (annotation, _) in enumerate(ANNOTATIONS):
        source += f"def r{number}() -> {annotation}: ...\n"
    (tmp_path / "orch_looked_at.py").write_text(source)
    return str(tmp_path)


def look(folder: str, name: str) -> dict[str, Any]:
    found = inspect_function(f"orch_looked_at:{name}", [folder])
    assert found["found"], found
    return found


def test_parameters(folder: str) -> None:
    found = look(folder, "f")
    assert found["params"] == [
        {"name": "a", "required": True, "schema": TEXT},
        {"name": "b", "required": False, "schema": INT},
        {"name": "c", "required": True, "schema": BOOL},
        {"name": "d", "required": False, "schema": NUMBER},
    ]
    assert (found["context"], found["extra"], found["async"], found["returns"]) == (True, False, False, NULL)
    assert found["file"] == f"{folder}/orch_looked_at.py"
    assert found["line"] > 20
    found = look(folder, "g")
    assert (found["context"], found["extra"], found["async"], found["returns"]) == (False, True, True, None)
    assert look(folder, "cached")["returns"] == INT
    assert look(folder, "Box.put")["returns"] == BOOL
    assert look(folder, "inner")["params"][0]["schema"] == TEXT


@pytest.mark.parametrize("number", range(len(ANNOTATIONS)))
def test_annotations_become_schemas(folder: str, number: int) -> None:
    schema = look(folder, f"r{number}")["returns"]
    assert schema == ANNOTATIONS[number][1]
    if schema is not None:
        jsonschema_rs.meta.validate(schema)


def test_dataclasses_with_what_is_not_simple_inside(folder: str) -> None:
    (part,) = [p for p in [look_at(folder, "Point")] if p]
    assert part["required"] == ["x", "rows", "odd"]
    assert part["properties"]["odd"] == {}
    assert part["properties"]["rows"]["items"]["required"] == ["id"]
    assert look_at(folder, "Tree")["properties"] == {"below": {}}


def look_at(folder: str, annotation: str) -> Any:
    file = f"{folder}/orch_looked_at.py"
    with open(file, "a") as source:  # noqa: PTH123  appended to
        source.write(f"def last() -> {annotation}: ...\n")
    return look(folder, "last")["returns"]


@pytest.mark.parametrize("name", ["hidden", "made", "partial"])
def test_what_the_source_does_not_tell_is_left_open(folder: str, name: str) -> None:
    found = look(folder, name)
    assert found["params"] is None
    assert found["extra"] is True


def test_nothing_is_run(folder: str) -> None:
    before = set(sys.modules)
    look(folder, "f")
    assert inspect_function("json.decoder:JSONDecoder.decode", [])["found"]
    assert inspect_function("xml.dom.minidom:parse", [])["params"][0]["name"] == "file"
    assert not [name for name in set(sys.modules) - before if name.startswith(("orch_looked", "xml"))]


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ("none_such:f", "no module"),
        ("json.none_such:f", "no module"),
        ("bad_ref", "pkg.mod:function"),
        ("plain_module:none", "no function"),
        ("broken_module:f", "broken_module.py"),
    ],
)
def test_what_is_not_found_says_why(tmp_path: Path, ref: str, problem: str) -> None:
    (tmp_path / "plain_module.py").write_text("def f(): pass\n")
    (tmp_path / "broken_module.py").write_text("def f(:\n")
    found = inspect_function(ref, [str(tmp_path)])
    assert found["found"] is False
    assert problem in found["problem"]


def test_modules_that_may_have_more_than_they_show_are_left_open(tmp_path: Path) -> None:
    (tmp_path / "starry.py").write_text("from os import *\n")
    (tmp_path / "lazy.py").write_text("def __getattr__(name): ...\n")
    for module in ("starry", "lazy", "_struct"):
        assert inspect_function(f"{module}:anything", [str(tmp_path)])["found"] is True
