from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.spec.codes import SHAPE
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, render
from orchestrator.spec.read import read_spec
from tests.unit.spec.corpus import Broken, Expected, broken_specs

OURS = {*SHAPE, "W501"}
SPECS = [spec for spec in broken_specs() if spec.codes & OURS]
ALSO_OF_THE_COMPILER = {"E106", "E107", "E108", "E116", "E120", "E126", "E127", "E190"}
"""Codes of shape that the compiler has a use for too."""


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
def test_reading_finds_what_is_wrong_with_the_shape_and_nothing_else(spec: Broken) -> None:
    diagnostics, texts = found(spec)
    places = Counter(map(place, diagnostics))
    assert places <= Counter(spec.expected), render(diagnostics, texts=texts)
    unsaid = {one.code for one in (Counter(spec.expected) - places)} & OURS
    assert unsaid <= ALSO_OF_THE_COMPILER, render(diagnostics, texts=texts)


def test_the_corpus_is_large_and_every_file_says_what_is_wrong() -> None:
    assert len(SPECS) >= 80
    assert all(spec.expected for spec in broken_specs())
