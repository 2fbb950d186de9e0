"""Values that are hard to keep, through whole runs: every store gives the same outputs and the same errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.databases import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

FUNCTIONS = r"""
from orchestrator import ToolError

def hard():
    return {"nul": "a\0b", "lone": "a\ud800b", "key\0": "\udfff", "control": "\x01\x1f\x7f\u2028", "beyond": "\U0010ffff"}

def long(size: int):
    return "é" * size

def bad(size: int):
    raise ToolError("a\0b\ud800" + "e" * size, detail={"d\0": "\ud800" + "d" * size})
"""
PIPELINE = """\
version: 1
name: hard
inputs:
  fine: {type: boolean, default: true}
steps:
  hard: {python: "functions:hard", effect: read}
  kept: {python: "functions:long", with: {size: 7000000}, effect: read}
  over: {python: "functions:long", with: {size: 25000000}, effect: read, on_error: continue}
  bad: {python: "functions:bad", with: {size: 5000000}, effect: read, on_error: {set: {said: "${{ error }}"}}}
  last:
    if: "!inputs.fine"
    fail: {message: "${{ steps.kept.output }}", detail: "${{ steps.kept.output }}"}
outputs:
  hard: ${{ steps.hard.output }}
  kept: ${{ size(steps.kept.output) }}
  bad: ${{ steps.bad.output }}
"""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/runs.db"
        return
    with database(request.param) as found:
        yield found


def orch(folder: Path, url: str, *args: str, code: int = 0) -> Any:
    known = {name: text for name, text in os.environ.items() if not name.startswith(("ORCH_", "XDG_"))}
    command = [sys.executable, "-m", "orchestrator", *args, "--store", url, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=known | {"HOME": str(folder)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout)


def test_whatever_a_step_gives_is_kept_or_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "hard.yaml").write_text(PIPELINE)
    said = orch(tmp_path, url, "run", "hard.yaml", "--id", "well")
    hard = {"nul": "a\ufffdb", "lone": "a\ufffdb", "key\ufffd": "\ufffd", "beyond": "\U0010ffff"}
    assert said["hard"] == hard | {"control": "\x01\x1f\x7f\u2028"}
    assert said["kept"] == 7_000_000
    error = said["bad"]["said"]
    assert error["message"].startswith("a\ufffdb\ufffdeee")
    assert error["detail"]["d\ufffd"].startswith("\ufffdddd")
    assert len(json.dumps(error)) < 100_000
    shown = orch(tmp_path, url, "show", "well")
    assert {step["path"]: (step["error"] or {}).get("code") for step in shown["steps"]}["over"] == "too_large"
    failed = orch(tmp_path, url, "run", "hard.yaml", "--id", "badly", "-i", "fine=false", code=1)
    assert failed["error"]["message"].startswith("ééé")
    assert failed["error"]["message"].endswith("é… (cut; 7000000 characters)")
    assert failed["error"]["detail"]["cut"].endswith("é… (cut; 7000002 characters)")
    assert orch(tmp_path, url, "verify", "well")["ok"]
    assert orch(tmp_path, url, "verify", "badly")["ok"]
