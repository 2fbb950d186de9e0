"""Sandboxes and processes of their own, through `orch` as a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator.tools.sandbox import why_none
from tests.acceptance.test_specs import ENV

if TYPE_CHECKING:
    from pathlib import Path

STORE = "sqlite:///runs.db"
FILE = """
version: 1
name: boxed
steps:
  look: {run: "cat ../canary 2>/dev/null || echo nothing; ls", dir: work, sandbox: MODE, effect: read}
outputs: {said: "${{ steps.look.output.stdout }}"}
"""
CRASHES = """
version: 1
name: crashes
steps:
  dies: {python: "helpers:dies", isolate: process, effect: read, on_error: continue}
  goes_on: {python: "helpers:fine", isolate: process, needs: [dies]}
outputs: {status: "${{ steps.dies.status }}", fine: "${{ steps.goes_on.output }}"}
"""


def orch(folder: Path, *args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *args],
        cwd=folder,
        env=env if path is None else env | {"PATH": path},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for mode in ("preferred", "required"):
        (tmp_path / f"{mode}.yaml").write_text(FILE.replace("MODE", mode))
    (tmp_path / "canary").write_text("a canary that sings\n")
    (tmp_path / "crashes.yaml").write_text(CRASHES)
    (tmp_path / "helpers.py").write_text("import ctypes\ndef dies(): ctypes.string_at(0)\ndef fine(): return 'fine'\n")
    (tmp_path / "bin").mkdir()
    for name in ("bash", "cat", "ls"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def test_a_script_in_a_sandbox_sees_its_folder_alone(folder: Path) -> None:
    why = why_none()
    if why is not None and not os.environ.get("ORCH_TEST_REQUIRE"):
        pytest.skip(why)
    done = orch(folder, "run", "required.yaml", "--store", STORE)
    assert json.loads(done.stdout) == {"said": "nothing\n"}, done.stderr
    assert "W650" not in done.stderr
    checks = {one["name"]: one for one in json.loads(orch(folder, "doctor", "--json").stdout)["checks"]}
    assert checks["sandbox"]["status"] == "ok"


def test_without_bubblewrap_required_refuses_before_anything_starts(folder: Path) -> None:
    path = str(folder / "bin")
    done = orch(folder, "run", "required.yaml", "--store", STORE, path=path)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (2, "E650")
    assert "bubblewrap" in error["message"]
    assert "install bubblewrap" in done.stderr
    assert not (folder / "work").exists()
    assert not (folder / "runs.db").exists()
    checks = {one["name"]: one for one in json.loads(orch(folder, "doctor", "--json", path=path).stdout)["checks"]}
    assert checks["sandbox"]["status"] == "warn"


def test_without_bubblewrap_preferred_runs_and_says_so(folder: Path) -> None:
    done = orch(folder, "run", "preferred.yaml", "--store", STORE, path=str(folder / "bin"))
    assert json.loads(done.stdout) == {"said": "a canary that sings\n"}, done.stderr
    assert done.stderr.count("warning[W650]: `run` without a sandbox: bubblewrap (bwrap) is not installed") == 1
    lines = orch(folder, "export", "@last", "--store", STORE).stdout.splitlines()
    assert [line for line in lines if '"unsandboxed"' in line]


def test_a_function_that_crashes_crashes_alone(folder: Path) -> None:
    done = orch(folder, "run", "crashes.yaml", "--store", STORE)
    assert json.loads(done.stdout) == {"status": "failed", "fine": "fine"}, done.stderr
    assert "SIGSEGV" in done.stderr
    assert orch(folder, "verify", "@last", "--store", STORE).returncode == 0
