"""The house: where things stand, and what may be imported where."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "orchestrator"
MODULES = sorted(PACKAGE.rglob("*.py"))
# The report is what a run of the quickstart leaves here.
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "report.md"})

# Each costs start-up time that `orch --help`, `orch list` or a resume must not pay.
HEAVY = ("anthropic", "openai", "mcp", "httpx2", "asyncpg", "aiomysql", "rich.live", "jsonschema_rs", "re2")
# These are themselves imported where they are needed alone.
LATE = {
    "rich.live": {"cli/render/live.py"},
    "asyncpg": {"stores/postgres.py"},
    "mcp": {"tools/mcp_gate.py", "tools/mcp_http.py", "tools/mcp_stdio.py"},
    "httpx2": {"tools/mcp_http.py"},
    "aiomysql": {"stores/mysql.py", "stores/mysql_wire.py"},
}


@cache
def imports(module: Path) -> tuple[tuple[str, bool], ...]:
    """What a module imports outside ``if TYPE_CHECKING``: each name, and whether at its own import."""

    def visit(node: ast.AST, top: bool) -> Iterator[tuple[str, bool]]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                for child in orelse:
                    yield from visit(child, top)
            case ast.Import(names=names):
                yield from ((alias.name, top) for alias in names)
            case ast.ImportFrom(module=name, names=names, level=0) if name:
                yield from ((f"{name}.{alias.name}", top) for alias in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, False)
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, top)

    return tuple(visit(ast.parse(module.read_text()), True))


def importers(name: str, *, at_top: bool = False) -> set[str]:
    """The modules that import ``name`` or something in it, as paths in the package."""
    return {
        module.relative_to(PACKAGE).as_posix()
        for module in MODULES
        for found, top in imports(module)
        if (found == name or found.startswith(name + ".")) and (top or not at_top)
    }


def dotted(module: str) -> str:
    """The name of a module by its path in the package."""
    return "orchestrator." + module.removesuffix(".py").replace("/", ".")


def test_importers_sees_what_it_looks_for() -> None:
    assert "errors.py" in importers("enum", at_top=True)
    assert "clock.py" in importers("orchestrator.platform")
    assert "clock.py" not in importers("orchestrator.platform", at_top=True)


def test_asyncio_is_a_matter_of_the_stores() -> None:
    # And of the tasks of effects: anyio's own cost five times as much.
    assert {module for module in importers("asyncio") if not module.startswith("stores/")} == {"engine/tasks.py"}


def test_pydantic_is_a_matter_of_the_sdks() -> None:
    assert importers("pydantic") == set()


def test_yaml_is_read_in_one_place() -> None:
    assert importers("ruamel") <= {"spec/load.py"}


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_modules_are_imported_where_they_are_needed(name: str) -> None:
    late = LATE.get(name, set())
    assert importers(name, at_top=True) <= late
    assert {other for module in late for other in importers(dotted(module), at_top=True)} <= late


def test_unit_tests_mirror_the_package() -> None:
    here = Path(__file__).parent
    folders = {file.parent.relative_to(here).as_posix() for file in here.rglob("test_*.py")}
    assert [folder for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(m.relative_to(ROOT))
        for m in MODULES
        if m.read_text().strip() and not ast.get_docstring(ast.parse(m.read_text()))
    ]
    assert silent == []


def slug(heading: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        anchors = {slug(heading) for heading in re.findall(r"(?m)^#+ (.+)$", other.read_text())} if anchor else {""}
        if not other.exists() or anchor not in anchors:
            broken.append(target)
    assert broken == []


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)", page.read_text())}
    assert named - targets == set()
