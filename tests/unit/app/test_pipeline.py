from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.app.pipeline import examine, read_pipeline
from orchestrator.spec.diagnostics import SpecErrors

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "version: 1\nstore: {}\nsecrets: [PW]\nsteps: {{a: {{set: {{x: 1}}}}}}\n"


@pytest.mark.parametrize(
    ("store", "code"),
    [
        ("foo", "E920"),
        ("sqlite:///runs.db?mode=no", "E920"),
        ("redis://host/0", "E920"),
        ("postgresql://me:hunter2@host/runs?pool=many", "E920"),
    ],
)
def test_the_files_own_store_is_looked_at_with_the_rest(tmp_path: Path, store: str, code: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(TEXT.format(store) + "more: 1\n")
    found = examine(str(path)).diagnostics
    assert [(one.code, one.mark.line if one.mark else 0) for one in found] == [(code, 2), ("E104", 5)]
    assert not any("hunter2" in f"{one.message} {one.hint}" for one in found)
    path.write_text(TEXT.format(store))
    with pytest.raises(SpecErrors):
        read_pipeline(str(path))


@pytest.mark.parametrize(
    "store", ["sqlite:///runs.db", "'memory:'", "'postgresql://me:${{ secrets.PW }}@host/runs'", "mariadb://host/runs"]
)
def test_a_store_that_can_be_is_let_be(tmp_path: Path, store: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(TEXT.format(store))
    assert [one.code for one in examine(str(path)).diagnostics if one.code != "W502"] == []
    assert examine(str(path)).pipeline is not None
