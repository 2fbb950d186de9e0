from __future__ import annotations

import pytest

from orchestrator.spec.codes import SHAPE
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, render
from orchestrator.spec.read import read_spec
from tests.unit.spec.corpus import Broken, Expected, broken_specs

OURS = {*SHAPE, "W501"}
SPECS = [spec for spec in broken_specs() if spec.codes <= OURS]


def found(spec: Broken) -> tuple[tuple[Diagnostic, ...], dict[str, str]]:
    try:
        read = read_spec(spec.path)
    except SpecErrors as error:
        return error.diagnostics, error.texts
    return read.diagnostics, read.loaded.texts


def place(diagnostic: Diagnostic) -> Expected:
    assert diagnostic.mark is not None
    return Expected(diagnostic.code, diagnostic.mark.line, diagnostic.mark.column, diagnostic.mark.file)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.path.stem)
def test_each_problem_has_its_code_and_its_place(spec: Broken) -> None:
    diagnostics, texts = found(spec)
    assert tuple(sorted(map(place, diagnostics))) == spec.expected, render(diagnostics, texts=texts)
    for form in ("text", "concise", "json", "sarif", "github"):
        assert render(diagnostics, form, texts=texts)


def test_the_corpus_is_large_and_every_file_says_what_is_wrong() -> None:
    assert len(SPECS) >= 80
    assert all(spec.expected for spec in broken_specs())
