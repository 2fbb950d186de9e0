"""What ``orch gc`` takes away, what it leaves, and what it asks first."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    Orch = Callable[..., Any]

ROOT = Path(__file__).parents[3]

STORE = "sqlite:///runs.db"
DAY = 86_400_000_000

FILES = """\
version: 1
name: files
inputs:
  note: {type: file}
steps:
  copy: {run: 'cat "$1" > "out.txt"', args: ["${{ inputs.note }}"]}
"""
FAILS = """\
version: 1
name: fails
steps:
  bad: {run: "exit 3"}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with nothing of this machine's user."""
    for name in ("ORCH_STORE", "GITHUB_ACTIONS", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def orch(here: Path, capfd: pytest.CaptureFixture[str]) -> Orch:
    """What a command prints, as JSON; where another exit code is expected, what it says."""

    def call(*args: str, code: int = 0) -> Any:
        capfd.readouterr()
        found = main(list(args))
        printed = capfd.readouterr()
        assert found == code, printed.err
        return json.loads(printed.out) if code == 0 else printed.err

    return call


@pytest.fixture
def folder(here: Path, orch: Orch) -> Path:
    (here / "files.yaml").write_text(FILES)
    (here / "fails.yaml").write_text(FAILS)
    for number in "ab":
        (here / "note.txt").write_text(f"note {number}")
        orch("run", "files.yaml", "--id", number, "-i", "note=note.txt", "--store", STORE)
    orch("run", "fails.yaml", "--id", "c", "--store", STORE, code=1)
    age(here, "a", "c", days=40)
    return here


def age(folder: Path, *runs: str, days: int) -> None:
    """Let these runs have ended so long ago, and every content of the store lie there as long."""
    with closing(sqlite3.connect(folder / "runs.db")) as db, db:
        for run in runs:
            db.execute("UPDATE runs SET finished_at = finished_at - ? WHERE run_id = ?", (days * DAY, run))
        db.execute("UPDATE blobs SET touched_at = touched_at - ?", (days * DAY,))


def listed(orch: Orch) -> list[str]:
    return sorted(run["id"] for run in orch("list", "--store", STORE)["runs"])


def test_a_dry_run_says_what_goes_and_takes_nothing(folder: Path, orch: Orch) -> None:
    said = orch("gc", "--dry-run", "--store", STORE)
    assert (said["format"], said["dry_run"], sorted(said["runs"])) == ("orch.gc/1", True, ["a", "c"])
    assert listed(orch) == ["a", "b", "c"]
    went = orch("gc", "--yes", "--store", STORE)
    assert went == said | {"dry_run": False}
    # The note of the first run, and the graph that only the failed one had.
    assert went["blobs"] == 2
    assert listed(orch) == ["b"]
    assert orch("verify", "b", "--store", STORE)["ok"]
    assert orch("gc", "--yes", "--store", STORE) == went | {"runs": [], "blobs": 0, "bytes": 0}


def test_copies_of_files_go_with_their_contents(folder: Path, orch: Orch) -> None:
    copies = folder / "runs.db.files"
    before = {path.name for path in copies.iterdir()}
    assert orch("gc", "--yes", "--store", STORE)["blobs"] == 2
    assert len(before) == 2
    assert len({path.name for path in copies.iterdir()} & before) == 1


def test_status_and_age_choose(folder: Path, orch: Orch) -> None:
    assert orch("gc", "--dry-run", "--status", "failed", "--store", STORE)["runs"] == ["c"]
    assert orch("gc", "--dry-run", "--older-than", "41d", "--store", STORE)["runs"] == []
    went = orch("gc", "--yes", "--older-than", "0s", "--store", STORE)
    assert sorted(went["runs"]) == ["a", "b", "c"]
    assert listed(orch) == []


def test_a_content_that_came_today_stays(folder: Path, orch: Orch) -> None:
    with closing(sqlite3.connect(folder / "runs.db")) as db, db:
        db.execute("UPDATE blobs SET touched_at = ?", (time.time_ns() // 1000 - DAY + 60_000_000,))
    went = orch("gc", "--yes", "--store", STORE)
    assert (len(went["runs"]), went["blobs"]) == (2, 0)


def test_processes_that_were_killed_are_forgotten_after_a_day(folder: Path, orch: Orch) -> None:
    now = time.time_ns() // 1000
    with closing(sqlite3.connect(folder / "runs.db")) as db, db:
        for owner, age in (("yesterday", DAY + 60_000_000), ("today", DAY - 60_000_000)):
            db.execute("INSERT INTO drivers VALUES (?, 'h', 'b', 'n', 1, 2, ?, 0)", (owner, now - age))
    orch("gc", "--yes", "--store", STORE)
    with closing(sqlite3.connect(folder / "runs.db")) as db:
        assert db.execute("SELECT owner FROM drivers").fetchall() == [("today",)]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--older-than", "30"], "is not a duration"),
        (["--older-than", "-1d"], "is not a duration"),
        (["--older-than", "99999999999d"], "--older-than does not take '99999999999d'"),
        (["--older-than", f"{'9' * 400}d"], "longer ago than a store can say"),
        (["--status", "running"], "only runs that have ended go"),
        (["--status", "dnoe"], "only runs that have ended go"),
        ([], "nobody said that they may"),
    ],
)
def test_nothing_goes_by_mistake(orch: Orch, args: list[str], says: str) -> None:
    assert says in orch("gc", *args, "--store", STORE, code=2)
    assert listed(orch) == ["a", "b", "c"]


def test_where_there_is_no_store_there_is_nothing_to_take(here: Path, orch: Orch) -> None:
    assert orch("gc", "--yes")["runs"] == []
    assert "there is no database" in orch("gc", "--yes", "--store", STORE, code=9)
    assert not (here / "runs.db").exists()


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, ["b"]), ("n", 130, ["a", "b", "c"])])
def test_a_person_is_asked(folder: Path, orch: Orch, answer: str, code: int, left: list[str]) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "gc", "--store", STORE],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    said = read_until(master, "[y/N]")
    assert "fails" in said
    os.write(master, f"{answer}\n".encode())
    assert process.wait(timeout=30) == code
    os.close(master)
    assert listed(orch) == left


def read_until(descriptor: int, wanted: str) -> str:
    said = ""
    while wanted not in said:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, f"it never said {wanted!r}: {said}"
        said += os.read(descriptor, 65536).decode(errors="replace")
    return said
