from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.app.compiled import cache_folder, recall
from orchestrator.app.pipeline import read_pipeline
from orchestrator.graph.fingerprint import graph_hash, stored

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
version: 1
store: sqlite:///own.db
imports: [./common.yaml]
steps:
  a: {python: "mod:f", with: {x: 1}}
  b: {agent: {}, prompt: [{file: ./brief.md}, "${{ steps.a.output }}"]}
"""
COMMON = "version: 1\nmodels:\n  default: {provider: scripted, replies: [{text: hi}]}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "p.yaml").write_text(SPEC)
    (work / "common.yaml").write_text(COMMON)
    (work / "brief.md").write_text("Be brief.\n")
    (work / "mod.py").write_text("def f(x: int) -> int:\n    return x\n")
    return work


def test_a_graph_comes_back_as_it_was() -> None:
    made = read_pipeline("p.yaml")
    entry = recall("p.yaml", {})
    assert entry is not None
    assert entry.graph == made.graph
    assert entry.graph.stored == made.graph.stored == stored(made.graph) == stored(entry.graph)
    assert graph_hash(entry.graph) == graph_hash(made.graph)
    assert entry.store == "sqlite:///own.db"
    again = read_pipeline("p.yaml")
    assert (again.graph, again.store, again.path) == (made.graph, made.store, made.path)


@pytest.mark.parametrize("name", ["p.yaml", "common.yaml", "brief.md", "mod.py"])
def test_a_change_in_any_file_that_was_read_counts(folder: Path, name: str) -> None:
    read_pipeline("p.yaml")
    assert recall("p.yaml", {}) is not None
    facts = (folder / name).stat()
    with (folder / name).open("a") as file:
        file.write("\n")
    os.utime(folder / name, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert recall("p.yaml", {}) is None


def test_other_models_another_name_and_another_folder_are_other_entries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_pipeline("p.yaml")
    assert recall("p.yaml", {"default": "other"}) is None
    assert recall("./p.yaml", {}) is None
    monkeypatch.chdir(folder.parent)
    assert recall("p.yaml", {}) is None


def test_what_has_a_finding_is_said_again(folder: Path) -> None:
    (folder / "p.yaml").write_text(SPEC + "agents:\n  unused: {instructions: nobody calls it}\n")
    assert read_pipeline("p.yaml").warnings
    assert read_pipeline("p.yaml").warnings
    assert not cache_folder().exists()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"files": {}, "graph": {}, "store": null}', b"\xff"])
def test_an_entry_that_cannot_be_read_is_made_again(body: bytes) -> None:
    made = read_pipeline("p.yaml")
    (entry,) = cache_folder().iterdir()
    entry.write_bytes(body)
    assert recall("p.yaml", {}) is None
    assert read_pipeline("p.yaml").graph == made.graph
    assert recall("p.yaml", {}) is not None


def test_a_graph_that_was_changed_is_made_again() -> None:
    read_pipeline("p.yaml")
    (entry,) = cache_folder().iterdir()
    entry.write_bytes(entry.read_bytes().replace(b"Be brief.", b"Be other."))
    assert recall("p.yaml", {}) is None


def test_a_folder_that_cannot_be_written_costs_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = folder / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert read_pipeline("p.yaml").graph.name
