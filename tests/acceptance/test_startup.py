"""What each verb imports: start-up is imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ENV = {key: os.environ[key] for key in ("PATH", "LANG", "TZ", "TMPDIR") if key in os.environ}
NEVER = ("anthropic", "openai", "mcp", "asyncpg", "aiomysql", "httpx2", "rich.live", "pydantic")
NOT_TO_READ = (
    *NEVER,
    "orchestrator.spec.model",
    "ruamel.yaml",
    "jsonschema_rs",
    "re2",
    "rich",
    "orchestrator.compiler",
)
SPEC = "version: 1\nname: one\nsteps:\n  a: {set: {x: 1}}\noutputs: {x: '${{ steps.a.output.x }}'}\n"

# A process tells at its end which modules it has.
SCRIPT = """\
import json, sys
from orchestrator.cli.main import main
code = main(sys.argv[2:])
json.dump([code, sorted(sys.modules)], open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline, and a run of it that is done."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "one.yaml").write_text(SPEC)
    code, _ = modules(folder, "run", "one.yaml", "--id", "x")
    assert code == 0
    return folder


def modules(folder: Path, *args: str) -> tuple[int, set[str]]:
    report = folder / "modules.json"
    env = ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(report), *args],
        cwd=folder,
        env=env,
        capture_output=True,
        check=True,
        timeout=60,
    )
    code, found = json.loads(report.read_text())
    return code, set(found)


@pytest.mark.parametrize(
    "args",
    [["--help"], ["list"], ["show", "x"], ["validate", "one.yaml"], ["graph", "one.yaml"], ["schema"]],
    ids=" ".join,
)
def test_the_heavy_ones_are_not_imported(folder: Path, args: list[str]) -> None:
    code, found = modules(folder, *args)
    assert code == 0
    assert "orchestrator.cli.main" in found
    assert not found & set(NEVER)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["list"],
        ["show", "x"],
        ["logs", "x"],
        ["export", "x"],
        ["resume", "x"],
        ["verify", "x"],
        ["graph", "x"],
    ],
    ids=" ".join,
)
def test_what_reads_a_store_needs_no_yaml_and_no_models(folder: Path, args: list[str]) -> None:
    code, found = modules(folder, *args)
    assert code == 0
    assert not found & set(NOT_TO_READ)


def test_a_run_imports_no_sdk_and_no_screen(folder: Path) -> None:
    code, found = modules(folder, "run", "one.yaml")
    assert code == 0
    assert not found & set(NEVER)
