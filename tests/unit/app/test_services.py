from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.app.services import unguarded
from orchestrator.tools.sandbox import NoSandbox
from tests.unit.compiler.helpers import graph_of

if TYPE_CHECKING:
    from pathlib import Path

PREFERS = """
tools:
  t: {shell: {argv: [x]}, sandbox: preferred}
  u: {shell: {argv: [x]}}
steps:
  a: {tool: t}
  b: {tool: u}
  c: {run: x, sandbox: preferred}
"""


def test_what_prefers_a_sandbox_and_has_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unguarded(graph_of(PREFERS)) == ["run", "t"]
    assert unguarded(graph_of("steps:\n  a: {run: x}\n")) == []


def test_what_requires_one_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    graph = graph_of(PREFERS + "  d: {python: 'os:getpid', sandbox: required}\n")
    with pytest.raises(NoSandbox, match="`python` requires a sandbox, and there is none here: bubblewrap"):
        unguarded(graph)


def test_where_there_is_one_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unguarded(graph_of(PREFERS)) == []
