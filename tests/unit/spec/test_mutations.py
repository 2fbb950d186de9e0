from __future__ import annotations

import os
import time
from collections import Counter

import pytest

from orchestrator.compiler import compile as compile_
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, has_errors, render
from orchestrator.spec.load import load
from tests.unit.spec.corpus import TESTS, VALID
from tests.unit.spec.mutations import mutated

FILES = [*sorted((TESTS.parent / "specs").glob("*.yaml")), *sorted(VALID.glob("*.yaml"))]
COUNT = 200_000 if os.environ.get("ORCH_PROVE") == "1" else 300


def pieces() -> list[str]:
    """The example files, and the large one in parts, so that a mutation meets each of its keys."""
    texts: list[str] = []
    for path in FILES:
        lines = path.read_text(encoding="utf-8").split("\n")
        if len(lines) <= 80:
            texts.append("\n".join(lines))
        tops = [n for n, line in enumerate(lines) if line and line[0].isalpha()] + [len(lines)]
        sections = ["\n".join(lines[a:b]) for a, b in zip(tops, tops[1:], strict=False)]
        texts += [f"version: 1\n{one}\nsteps: {{z: {{run: x}}}}\n" for one in sections if len(one) < 3000]
    steps = [
        line for line in (VALID / "every_key.yaml").read_text(encoding="utf-8").split("\n") if line.startswith("  ")
    ]
    texts += [f"version: 1\nsteps:\n  z: {{run: x}}\n{line}\n" for line in steps if line[2].isalpha()]
    return texts


def problems(body: bytes) -> tuple[Diagnostic, ...]:
    """What is found in a text. Whatever else is raised fails the test, as does a place outside of the text."""
    try:
        loaded = load(body, name="x.yaml", folder=VALID)
        compiled = compile_(loaded)
        found, texts = compiled.diagnostics, loaded.texts
        assert (compiled.graph is None) == has_errors(found)
    except SpecErrors as error:
        found, texts = error.diagnostics, error.texts
        assert found
    assert bool(render(found, texts=texts)) == bool(found)
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for one in found:
        if one.mark is not None and one.mark.file == "x.yaml":
            assert 1 <= one.mark.line <= len(lines)
            assert 1 <= one.mark.column <= len(lines[one.mark.line - 1]) + 1
            assert (one.mark.line, one.mark.column) <= (one.mark.end_line, one.mark.end_column)
    return found


@pytest.mark.timeout(7200)
def test_mutated_files_give_diagnostics_and_nothing_else() -> None:
    codes: Counter[str] = Counter()
    fine = 0
    for body in mutated(pieces(), seed=20261123, count=COUNT):
        began = time.process_time()
        try:
            found = problems(body)
        except Exception as error:
            error.add_note(f"body: {body!r}")
            raise
        assert time.process_time() - began < 5, body
        codes.update({one.code for one in found})
        fine += not any(one.severity == "error" for one in found)
    assert COUNT * 0.01 < fine < COUNT * 0.6
    assert len(codes) >= 12
