from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from orchestrator.tools.functions import NoFunction, find_function
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
    if True:
        def either(x: str) -> str: ...
    else:
        def either(y: str) -> str: ...
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


@pytest.mark.parametrize("name", ["hidden", "made", "partial", "either"])
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
        ("plain_module:local", "no function"),
        ("plain_module:Box.none", "no function"),
        ("plain_package.none:f", "no module"),
        ("broken_module:f", "broken_module.py"),
    ],
)
def test_what_is_not_found_says_why(tmp_path: Path, ref: str, problem: str) -> None:
    (tmp_path / "plain_module.py").write_text("def f():\n  local = 1\nclass Box:\n  def put(): pass\n")
    (tmp_path / "plain_package").mkdir()
    (tmp_path / "plain_package" / "__init__.py").touch()
    (tmp_path / "broken_module.py").write_text("def f(:\n")
    found = inspect_function(ref, [str(tmp_path)])
    assert found["found"] is False
    assert problem in found["problem"]


HIDDEN = [
    "from os import *",
    "if 1:\n  from os import *",
    "try:\n  from os import *\nexcept ImportError:\n  pass",
    "def __getattr__(name): ...",
    "from lazy import __getattr__",
    "__getattr__ = lazy('x')",
    "globals()['any' + 'thing'] = print",
    "globals().update(more)",
    "import sys\nsetattr(sys.modules[__name__], 'anything', print)",
    "import sys\nsys.modules[__name__] = Other()",
    "exec(source)",
    "vars()['anything'] = print",
    "anything, other = make()",
    "[anything] = make()",
    "for anything in functions: pass",
    "while (anything := make()) is None: pass",
    "with make() as anything: pass",
    "try:\n  pass\nexcept ImportError:\n  def anything(): ...",
    "try:\n  pass\nexcept* E:\n  def anything(): ...",
    "match make():\n  case [anything]: pass",
    "match make():\n  case 1:\n    def anything(): ...",
    "match make():\n  case {**anything}: pass",
    "match make():\n  case [*anything]: pass",
    "for _ in [1]:\n  def anything(): ...",
    "def init():\n  global anything\n  anything = print",
    "import thing as anything",
    "import anything.sub",
]


@pytest.mark.parametrize("source", HIDDEN)
def test_names_that_may_be_there_are_left_open(tmp_path: Path, source: str) -> None:
    (tmp_path / "more_than_shown.py").write_text(source + "\n")
    found = inspect_function("more_than_shown:anything", [str(tmp_path)])
    assert (found["found"], found.get("params")) == (True, None), found


@pytest.mark.parametrize(
    "body",
    [
        "class Box(Base): ...",
        "class Box(metaclass=M): ...",
        "@made\nclass Box: ...",
        "Box = make()",
        "from x import Box",
    ],
)
def test_methods_that_may_be_inherited_are_left_open(tmp_path: Path, body: str) -> None:
    (tmp_path / "more_than_shown.py").write_text(body + "\n")
    assert inspect_function("more_than_shown:Box.method", [str(tmp_path)])["found"] is True


@pytest.mark.parametrize(
    "ref",
    [
        "os:getcwd",
        "os.path:join",
        "time:sleep",
        "sys:exit",
        "math:sqrt",
        "_struct:pack",
        "posix:getcwd",
        "posixpath:join",
        "builtins:print",
        "json:dumps",
        "operator:add",
        "functools:reduce",
        "random:random",
        "socket:gethostname",
        "string:capwords",
        "anyio:sleep",
        "orchestrator:ToolError",
        "collections.abc:Sequence",
        "importlib.metadata:version",
        "pathlib:Path.cwd",
        "datetime:datetime.now",
        "decimal:Decimal",
        "concurrent.futures:wait",
        "xml.etree.ElementTree:parse",
        "jsonschema_rs:is_valid",
        "yaml_that_is_not.os:path.join",
    ],
)
def test_what_can_be_imported_here_is_never_called_missing(ref: str) -> None:
    found = inspect_function(ref, [])["found"]
    try:
        find_function(ref, [])
    except NoFunction:
        assert not found
    else:
        assert found


def test_modules_that_a_package_may_make_are_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, source in (("orch_makes", "import sys\nsys.modules['orch_makes.x'] = make()"), ("orch_plain", "x = 1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    assert inspect_function("orch_makes.x:f", [])["found"] is True
    assert inspect_function("orch_plain.x:f", [])["found"] is False


def test_a_finder_that_fails_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "orch_unfindable":
                raise RuntimeError

    monkeypatch.setattr(sys, "meta_path", [object(), Finder(), *sys.meta_path])
    assert inspect_function("orch_unfindable:f", [])["found"] is True
    assert inspect_function("orch_really_missing:f", [])["found"] is False
