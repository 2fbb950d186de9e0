"""``orch export`` and ``orch import``: a run moves with all that it needs, or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Orch = Callable[..., str]

OLD, NEW = "sqlite:///old.db", "sqlite:///new.db"
PIPELINE = """\
version: 1
name: reader
inputs:
  note: {type: file}
steps:
  first: {run: "echo one"}
  read: {needs: [first], run: 'test -e ROOT/go && cat "$1"', args: ["${{ inputs.note }}"]}
outputs:
  said: ${{ steps.read.output.stdout }}
"""


MESSAGE = {"inbox": "q", "kind": "cancel", "path": "", "by": "ada", "at": 7, "body": {"reason": "enough"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with nothing of this machine's user."""
    for name in ("ORCH_STORE", "GITHUB_ACTIONS", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reader.yaml").write_text(PIPELINE.replace("ROOT", str(tmp_path)))
    (tmp_path / "note.txt").write_text("hello\n")
    return tmp_path


@pytest.fixture
def orch(folder: Path, capfd: pytest.CaptureFixture[str]) -> Orch:
    """What a command prints; where another exit code is expected, what it says."""

    def call(*args: str, code: int = 0) -> str:
        capfd.readouterr()
        found = main(list(args))
        printed = capfd.readouterr()
        assert found == code, printed.out + printed.err
        return printed.out if code == 0 else printed.err

    return call


@pytest.fixture
def file(folder: Path, orch: Orch) -> Path:
    """The export of a run that failed for want of a file ``go``."""
    orch("run", "reader.yaml", "--id", "x", "--label", "team=a", "-i", "note=note.txt", "--store", OLD, code=1)
    exported = folder / "x.jsonl"
    exported.write_text(orch("export", "x", "--store", OLD))
    return exported


def rewritten(file: Path, change: Callable[[list[dict[str, Any]]], Any]) -> str:
    """Another file, with something changed; its name."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines)
    other = file.with_name("other.jsonl")
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(other)


def test_a_run_moves_with_its_files_and_ends_elsewhere(folder: Path, file: Path, orch: Orch) -> None:
    said = json.loads(orch("import", str(file), "--store", NEW))
    assert said == {"format": "orch.import/1", "run": "x", "store": f"sqlite:{folder}/new.db"}
    assert orch("export", "x", "--store", NEW) == file.read_text()
    (row,) = json.loads(orch("list", "--store", NEW))["runs"]
    (old,) = json.loads(orch("list", "--store", OLD))["runs"]
    assert row == old | {"updated_at": row["updated_at"]}
    (folder / "old.db").unlink()
    shutil.rmtree(folder / "old.db.files")
    (folder / "note.txt").unlink()
    (folder / "go").touch()
    assert json.loads(orch("resume", "x", "--retry-failed", "--store", NEW)) == {"said": "hello\n"}
    assert json.loads(orch("verify", "x", "--store", NEW))["ok"]


def test_it_is_found_where_it_went(folder: Path, file: Path, orch: Orch) -> None:
    orch("import", str(file), "--store", NEW)
    assert json.loads(orch("show", "x"))["run"]["labels"] == {"team": "a"}


def test_it_is_found_under_the_prefix_of_its_tables(file: Path, orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_TABLE_PREFIX", "mine_")
    orch("import", str(file), "--store", NEW)
    monkeypatch.delenv("ORCH_TABLE_PREFIX")
    assert json.loads(orch("show", "x"))["run"]["labels"] == {"team": "a"}


def test_it_comes_through_a_pipe(file: Path, orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    orch("import", "-", "--store", NEW)
    assert orch("export", "x", "--store", NEW) == file.read_text()


def before_its_end(lines: list[dict[str, Any]]) -> None:
    """As the export would have been before the run failed."""
    lines[:] = [line for line in lines if line.get("kind") not in ("run_finished", "failed")]
    last = max((line for line in lines if "seq" in line), key=lambda line: line["seq"])
    lines[0].update(head=last["seq"], head_sum=last["sum"])


def with_messages(lines: list[dict[str, Any]], *messages: dict[str, Any]) -> None:
    """As the export would have been with these in the inbox."""
    lines[0]["inbox"] += len(messages)
    lines[-1:-1] = messages


def test_a_run_that_has_not_ended_rests(file: Path, orch: Orch) -> None:
    orch("import", rewritten(file, before_its_end), "--store", NEW)
    (row,) = json.loads(orch("list", "--store", NEW))["runs"]
    assert (row["status"], row["reason"], row["wake_at"]) == ("paused", "imported", None)
    orch("resume", "x", "--store", NEW, code=5)


def test_what_waits_in_its_inbox_comes_along(file: Path, orch: Orch) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        before_its_end(lines)
        lines[0]["inbox"] = 1
        lines.insert(-2, MESSAGE)

    moved = rewritten(file, change)
    orch("import", moved, "--store", NEW)
    assert MESSAGE in [json.loads(line) for line in orch("export", "x", "--store", NEW).splitlines()]
    assert "enough" not in orch("export", "x", "--redact", "--store", NEW)
    orch("resume", "x", "--store", NEW, code=1)
    (row,) = json.loads(orch("list", "--store", NEW))["runs"]
    assert row["status"] == "cancelled"


@pytest.fixture
def nowhere(folder: Path, orch: Orch) -> Path:
    """The export of a run whose copies of files are below what this machine knows as a file."""
    (folder / "far").mkdir()
    orch("run", "reader.yaml", "--id", "x", "-i", "note=note.txt", "--store", "sqlite:///far/old.db", code=1)
    exported = folder / "x.jsonl"
    exported.write_text(orch("export", "x", "--store", "sqlite:///far/old.db"))
    shutil.rmtree(folder / "far")
    (folder / "far").write_text("")
    (folder / "go").touch()
    return exported


def test_files_of_a_machine_that_is_not_ours_are_put_beside_the_store(folder: Path, nowhere: Path, orch: Orch) -> None:
    orch("import", str(nowhere), "--store", NEW)
    assert json.loads(orch("resume", "x", "--retry-failed", "--store", NEW)) == {"said": "hello\n"}
    assert json.loads(orch("verify", "x", "--store", NEW))["ok"]
    assert [path.read_text() for path in (folder / "new.db.files").iterdir()] == ["hello\n"]


def test_files_that_can_be_put_nowhere(folder: Path, nowhere: Path, orch: Orch) -> None:
    orch("import", str(nowhere), "--store", NEW)
    (folder / "new.db.files").write_text("")
    said = orch("resume", "x", "--retry-failed", "--store", NEW, code=9)
    assert "new.db.files is not writable" in said
    (folder / "new.db.files").unlink()
    assert json.loads(orch("resume", "x", "--retry-failed", "--store", NEW)) == {"said": "hello\n"}


def test_what_is_there_stays_as_it_is(folder: Path, file: Path, orch: Orch) -> None:
    orch("import", str(file), "--store", NEW)
    (folder / "go").touch()
    orch("resume", "x", "--retry-failed", "--store", NEW)
    before = orch("export", "x", "--store", NEW)
    said = orch("import", str(file), "--store", NEW, code=2)
    assert "exists already" in said
    assert "name another store" in said
    assert "exists already" in orch("import", str(file), "--store", OLD, code=2)
    assert orch("export", "x", "--store", NEW) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines.pop(2), "the row is missing"),
        (lambda lines: lines.__delitem__(slice(1, None)), "its records end at seq 0"),
        (lambda lines: (lines[0].update(head=0), lines.__delitem__(slice(1, -2))), "does not begin a run"),
        (lambda lines: lines[0].update(head_sum="0" * 64), "its last record is not the one"),
        (lambda lines: lines[0].update(inbox=1), "0 of the 1 messages"),
        (lambda lines: lines[0].pop("head"), "does not say where the run ends"),
        (lambda lines: lines[0].update(inbox=True), "does not say where the run ends"),
        (lambda lines: lines[1]["body"].update(name="other"), "its sum does not match"),
        (lambda lines: lines[2].update(seq="2"), "line 3 is no row"),
        (lambda lines: lines[0].update(run="../x"), "rows of another run"),
        (lambda lines: lines[0].update(row={"labels": {"a": 1}}), "does not say how the run stands"),
        (lambda lines: lines[0].update(row={"root_id": 7}), "does not say how the run stands"),
        (lambda lines: lines[0]["graph"].update(name="other"), "its graph is not the one"),
        (lambda lines: (lines.pop(-2), lines[-1].update(contents=0)), "it lacks the stored content"),
        (lambda lines: lines[-2].update(base64="AAAA"), "is not the one that its name says"),
        (lambda lines: lines[-2].update(base64="?"), "a stored content of it cannot be read"),
        (lambda lines: lines[0].update(format="orch.export/2"), "its first line is not of format"),
        (lambda lines: with_messages(lines, {"inbox": "q"}), "a message of it cannot be read"),
        (lambda lines: with_messages(lines, MESSAGE, MESSAGE), "a message of it cannot be read"),
        (lambda lines: with_messages(lines, MESSAGE | {"at": True}), "a message of it cannot be read"),
    ],
)
def test_a_file_that_is_not_right_makes_no_run(
    file: Path, orch: Orch, change: Callable[[list[dict[str, Any]]], Any], says: str
) -> None:
    assert says in orch("import", rewritten(file, change), "--store", NEW, code=7)
    assert json.loads(orch("db", "init", "--url", NEW))
    assert json.loads(orch("list", "--store", NEW))["runs"] == []


def test_no_beginning_of_an_export_is_taken_for_the_whole(folder: Path, file: Path, orch: Orch) -> None:
    orch("import", rewritten(file, lambda lines: with_messages(lines, MESSAGE)), "--store", "sqlite:///waiting.db")
    file.write_text(orch("export", "x", "--store", "sqlite:///waiting.db"))
    lines = file.read_text().splitlines(keepends=True)
    assert {"head", "head_sum", "inbox"} <= set(json.loads(lines[0]))
    cut = folder / "cut.jsonl"
    for end in range(len(lines)):
        cut.write_text("".join(lines[:end]))
        assert "error[E706]" in orch("import", str(cut), "--store", NEW, code=7)
        assert "error[E706]" in orch("verify", str(cut), code=7)
    orch("verify", str(file))


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_run_that_lacks_a_row_is_not_exported_as_whole(folder: Path, file: Path, orch: Orch, seq: int) -> None:
    with contextlib.closing(sqlite3.connect(folder / "old.db")) as db, db:
        (head,) = db.execute("SELECT head FROM runs").fetchone()
        db.execute("DELETE FROM journal WHERE seq = ?", (seq if seq < 3 else head,))
    assert "E701" in orch("export", "x", "--store", OLD, code=7)
    assert "E701" in orch("export", "x", "--redact", "--store", OLD, code=7)


def test_a_redacted_export_makes_no_run(folder: Path, file: Path, orch: Orch) -> None:
    redacted = folder / "redacted.jsonl"
    redacted.write_text(orch("export", "x", "--redact", "--store", OLD))
    assert "hello" not in redacted.read_text()
    assert "base64" not in redacted.read_text()
    assert "its values were left out" in orch("import", str(redacted), "--store", NEW, code=7)
    assert "No such file" in orch("import", "nowhere.jsonl", "--store", NEW, code=7)
