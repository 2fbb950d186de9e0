"""``orch db``: copies, room and tables of an SQLite store; the others are under contract in ``tests/contract``."""

from __future__ import annotations

import json
import resource
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Orch = Callable[..., str]

STORE = "sqlite:///runs.db"
PIPELINE = "version: 1\nsteps:\n  a: {run: 'head -c 200000 /dev/urandom | base64'}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with nothing of this machine's user."""
    for name in ("ORCH_STORE", "GITHUB_ACTIONS", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(PIPELINE)
    return tmp_path


@pytest.fixture
def orch(folder: Path, capfd: pytest.CaptureFixture[str]) -> Orch:
    """What a command prints; where another exit code is expected, what it says."""

    def call(*args: str, code: int = 0) -> str:
        capfd.readouterr()
        found = main([*args, "--store", STORE])
        printed = capfd.readouterr()
        assert found == code, printed.out + printed.err
        return printed.out if code == 0 else printed.err

    return call


def test_a_backup_is_a_store(folder: Path, orch: Orch) -> None:
    orch("run", "one.yaml", "--id", "x")
    assert json.loads(orch("db", "backup", "copy.db")) == {"format": "orch.db/1", "store": f"sqlite:{folder}/runs.db"}
    assert (folder / "copy.db").stat().st_mode & 0o777 == 0o600
    before = orch("export", "x")
    for name in folder.glob("runs.db*"):
        name.rename(folder / f"away-{name.name}")
    (folder / "copy.db").rename(folder / "runs.db")
    assert orch("export", "x") == before
    orch("db", "check")
    orch("run", "one.yaml", "--id", "y")


def test_a_backup_overwrites_nothing_and_leaves_no_half(folder: Path, orch: Orch) -> None:
    orch("run", "one.yaml", "--id", "x")
    (folder / "there").write_text("mine")
    assert "File exists" in orch("db", "backup", "there", code=9)
    assert (folder / "there").read_text() == "mine"
    assert "No such file or directory" in orch("db", "backup", "nowhere/copy.db", code=9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert "failed" in orch("db", "backup", "copy.db", code=9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (folder / "copy.db").exists()


def test_room_is_given_back(folder: Path, orch: Orch) -> None:
    for number in range(5):
        orch("run", "one.yaml", "--id", f"x{number}")
    with closing(sqlite3.connect(folder / "runs.db")) as db, db:
        db.execute("UPDATE blobs SET touched_at = 0")
    assert len(json.loads(orch("gc", "--older-than", "0s", "--yes"))["runs"]) == 5
    before = (folder / "runs.db").stat().st_size
    orch("db", "vacuum")
    assert (folder / "runs.db").stat().st_size < before / 2
    orch("db", "check")


def test_tables_are_brought_up_to_date_where_there_are_some(folder: Path, orch: Orch) -> None:
    assert "there is no database" in orch("db", "migrate", code=9)
    assert not (folder / "runs.db").exists()
    orch("db", "init")
    assert json.loads(orch("db", "migrate"))["applied"] == []


def test_a_store_that_offers_no_copies_says_what_does(orch: Orch) -> None:
    assert "orch export" in orch("db", "backup", "copy.db", "--url", "memory:", code=2)


def test_check_names_all_that_is_missing(folder: Path, orch: Orch) -> None:
    orch("db", "init")
    with closing(sqlite3.connect(folder / "runs.db")) as db:
        db.executescript("DROP TABLE inbox; DROP TABLE memory")
    said = orch("db", "check", code=1)
    assert "table inbox is missing" in said
    assert "table memory is missing" in said
    assert "orch db check" not in said


def test_migrate_goes_on_where_a_table_is_there_and_its_version_is_not(folder: Path, orch: Orch) -> None:
    orch("db", "init")
    with closing(sqlite3.connect(folder / "runs.db")) as db, db:
        db.execute("DELETE FROM schema_version WHERE version = 2")
    assert json.loads(orch("db", "migrate"))["applied"] == [2]
    orch("db", "check")
