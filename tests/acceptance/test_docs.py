"""Whole pipelines that stand in the documentation are valid, and run where they need no input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.verbs import VERBS
from orchestrator.spec import availability

ROOT = Path(__file__).parents[2]
PAGES = [*{*ROOT.glob("*.md")} - {ROOT / "report.md"}, *(ROOT / "docs").rglob("*.md")]
WHOLE = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in sorted(PAGES)
    for number, text in enumerate(re.findall(r"(?ms)^```yaml\n(version: 1\n.*?)^```", page.read_text()))
]


def orch(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *args], cwd=folder, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )  # fmt: skip


@pytest.mark.parametrize("text", WHOLE)
def test_a_pipeline_of_the_documentation_runs(text: str, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(text)
    found = orch(tmp_path, "validate", "--strict", "pipeline.yaml")
    assert found.returncode == 0, found.stdout + found.stderr
    done = orch(tmp_path, "run", "pipeline.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert isinstance(json.loads(done.stdout), dict)


def test_there_are_pipelines_to_look_at() -> None:
    assert len(WHOLE) >= 3


def test_the_page_lists_what_is_not_available_yet() -> None:
    section = (ROOT / "docs" / "language.md").read_text().split("## Not available yet")[1]
    said = {word for code in re.findall(r"`([^`$]+)`", section) for word in code.partition(":")[0].split()}
    known = {word for _, names in availability._FIELDS for word in names.split()}
    known |= {name for _, name, _ in availability._VALUES}
    # What a sentence says around the keys.
    assert (
        said - {"orch", "validate", "FILE", "E190", "none", "never", "anthropic", "scripted", "plan", "kinds"} == known
    )


def test_the_page_of_the_command_line_has_every_verb() -> None:
    said = re.findall(r"(?m)^\| `([a-z]+)", (ROOT / "docs" / "cli.md").read_text())
    assert sorted(said) == sorted(VERBS)
