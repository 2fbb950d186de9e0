"""What agents keep, through `orch` as a process: facts over runs, and skills that a run has from its start."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.acceptance.test_specs import SPECS, orch, outputs

if TYPE_CHECKING:
    from pathlib import Path

STORE = ("--store", "sqlite:///runs.db")
GATED = """
version: 1
models:
  default:
    provider: scripted
    replies:
      - when: turn == 1
        calls: [{tool: skill, with: {name: changelog}}]
      - text: ${{ results[0] }}
steps:
  gate:
    run: test -e open
    effect: read
  write:
    needs: [gate]
    if: steps.gate.output.exit == 0
    agent:
      instructions: [{file: AGENTS.md}]
      skills: [skills]
    prompt: Write.
outputs: {said: "${{ steps.write.output }}"}
"""


def test_facts_outlive_the_runs_that_kept_them(tmp_path: Path) -> None:
    for said in ("I have learned something.", "I know it from another run - Bergen has trams."):
        assert outputs(tmp_path, "memory.yaml", "-i", "city=Bergen") == {"said": said}
    assert outputs(tmp_path, "memory.yaml", "-i", "city=Oslo") == {"said": "I have learned something."}
    gone = orch(tmp_path, "gc", "--older-than", "0s", "--yes", *STORE)
    assert gone.returncode == 0, gone.stderr
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert [key for (key,) in db.execute("SELECT key FROM memory ORDER BY key")] == ["bergen", "oslo"]
    assert outputs(tmp_path, "memory.yaml", "-i", "city=Oslo") == {
        "said": "I know it from another run - Oslo has trams."
    }


def test_a_resume_needs_no_files_and_says_which_have_changed(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GATED)
    (tmp_path / "AGENTS.md").write_text("Be short.\n")
    shutil.copytree(SPECS / "data" / "skills", tmp_path / "skills")
    text = (tmp_path / "skills" / "changelog" / "SKILL.md").read_text().split("---\n")[2].strip()
    closed = orch(tmp_path, "run", "p.yaml", *STORE)
    assert closed.returncode == 1, closed.stderr
    (tmp_path / "open").touch()
    (tmp_path / "AGENTS.md").write_text("Be long.\n")
    shutil.rmtree(tmp_path / "skills")
    done = orch(tmp_path, "resume", "@last", "--retry-failed", *STORE)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["said"]
    assert said.startswith(text)
    assert said.endswith("- examples/good.md\n")
    told = next(line for line in done.stderr.splitlines() if "changed since" in line)
    assert all(name in told for name in ("AGENTS.md", "skills/changelog/SKILL.md", "skills/release/SKILL.md"))
    assert "p.yaml" not in told


def test_a_file_of_a_skill_that_is_new_is_seen_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GATED)
    (tmp_path / "AGENTS.md").write_text("Be short.\n")
    (tmp_path / "open").touch()
    shutil.copytree(SPECS / "data" / "skills", tmp_path / "skills")
    for new in ("a.md", "b.md"):
        (tmp_path / "skills" / "changelog" / new).write_text("x")
        done = orch(tmp_path, "run", "p.yaml", *STORE, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        assert f"- {new}\n" in json.loads(done.stdout)["said"]
