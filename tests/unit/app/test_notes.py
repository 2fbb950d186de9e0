from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.app.notes import Note, notes_path, read_notes, write_note

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def note(run: str, store: str = "sqlite:/a.db") -> Note:
    return Note(run, store, "/base", "/work", 5)


def test_notes_come_back_newest_first_and_the_last_of_a_run_counts() -> None:
    for each in (note("a"), note("b"), note("a", "sqlite:/moved.db")):
        write_note(each)
    assert read_notes() == [note("a", "sqlite:/moved.db"), note("b")]


def test_no_notes_where_there_are_none() -> None:
    assert read_notes() == []


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@db/runs", "mysql://me:@db/runs", "mysql://db/runs?password=x"]
)
def test_a_url_with_a_password_is_not_kept(url: str) -> None:
    write_note(note("a", url))
    assert not notes_path().exists()


def test_the_prefix_of_the_tables_is_kept() -> None:
    noted = Note("a", "sqlite:/a.db", "/base", "/work", 5, "orch_")
    write_note(noted)
    assert read_notes() == [noted]


def test_a_url_with_a_reference_is_kept_as_written() -> None:
    url = "postgresql://me:${{ secrets.DB }}@db/runs"
    write_note(note("a", url))
    assert read_notes()[0].store == url


def test_damaged_lines_are_passed_over() -> None:
    write_note(note("a"))
    with notes_path().open("ab") as file:
        file.write(b'\xff\n[]\n{"run": 5}\n{"run": "b", "store": "s", "base": "b", "folder": "f", "at": true}\n{"ru')
    assert [each.run for each in read_notes()] == ["a"]


def test_a_long_file_loses_its_older_half() -> None:
    path = notes_path()
    path.parent.mkdir(parents=True)
    line = '{"run": "run-%d", "store": "sqlite:/%s.db", "base": "/", "folder": "/work", "at": 5}\n'
    path.write_text("".join(line % (number, "x" * 200) for number in range(5_000)))
    write_note(note("last"))
    kept = read_notes()
    assert kept[0].run == "last"
    assert kept[1].run == "run-4999"
    assert kept[-1].run == "run-2500"


def test_a_state_directory_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    write_note(note("a"))
    assert read_notes() == []
