"""Runs that move from one store to another in the middle."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from orchestrator.app.exports import Exported, NotAnExport, export_lines, read_export
from orchestrator.app.imports import import_run
from orchestrator.journal.errors import Damaged, NoSuchRun, RunTaken
from orchestrator.stores import open_store
from tests.crash.checks import broken
from tests.crash.lab import ENDS, Case, Lab, records_of, rows_of
from tests.databases import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/other.db"
        return
    with database(request.param) as url:  # of each test its own: runs of two labs have the same ids
        yield url


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path, lease=1.0)
    yield found
    found.close()


def exported(case: Case, file: Path) -> Exported:
    async def lines() -> list[str]:
        store = open_store(case.url)
        await store.open()
        row = await store.get_run(case.run_id)
        out = [json.dumps(line) async for line in export_lines(store, row, redact=False)]
        await store.aclose()
        return out

    file.write_text("\n".join(anyio.run(lines)))
    return read_export(file)


def put(url: str, what: Exported) -> None:
    async def write() -> None:
        store = open_store(url)
        await store.open()
        try:
            await import_run(store, what, "x.jsonl")
        finally:
            await store.aclose()

    anyio.run(write)


def test_a_run_begun_on_sqlite_ends_elsewhere(lab: Lab, target: str, tmp_path: Path) -> None:
    whole = lab.case()
    assert lab.run(whole) == 0
    case = lab.case()
    assert lab.run(case, at=("after_commit", 7)) == -signal.SIGKILL
    what = exported(case, tmp_path / "run.jsonl")
    put(target, what)
    moved = replace(case, url=target)
    assert rows_of(moved) == rows_of(case)
    with pytest.raises(RunTaken):
        put(target, what)
    assert lab.finish(moved) == 0
    assert not broken(lab, moved, outputs=records_of(whole)[-1].body["outputs"])


def test_an_answer_that_nobody_has_read_moves_with_its_run(lab: Lab, target: str, tmp_path: Path) -> None:
    whole = lab.case()
    assert lab.run(whole) == 0
    for n in range(1, 40):
        case = lab.case()
        assert lab.run(case, at=("after_effect", n)) == -signal.SIGKILL
        if lab.run(case, resume=True) == ENDS["paused"]:
            break
    else:
        raise AssertionError("no effect of the pipeline is ever in doubt")
    lab.answer(case, old_driver_lives=False)
    lines = exported(case, tmp_path / "run.jsonl")
    assert [row.kind for row in lines.waiting] == ["resolve"]
    put(target, lines)
    moved = replace(case, url=target)
    assert lab.run(moved, resume=True) == 0
    assert not broken(lab, moved, outputs=records_of(whole)[-1].body["outputs"])


def test_an_export_that_makes_no_run(lab: Lab, target: str, tmp_path: Path) -> None:
    case = lab.case()
    assert lab.run(case) == 0
    what = exported(case, tmp_path / "run.jsonl")
    for wrong in (replace(what, redacted=True), replace(what, row={"labels": [1]}), replace(what, rows=[])):
        with pytest.raises(NotAnExport):
            put(target, wrong)
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "cut.jsonl").write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(Damaged):
        read_export(tmp_path / "cut.jsonl")

    async def look() -> None:
        store = open_store(target)
        await store.open()
        try:
            with pytest.raises(NoSuchRun):
                await store.get_run(case.run_id)
        finally:
            await store.aclose()

    anyio.run(look)
