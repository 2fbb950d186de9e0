from __future__ import annotations

import pytest

from orchestrator.compiler import compile as compile_spec
from orchestrator.graph.nodes import graph_from_json, to_json
from orchestrator.spec.codes import SHAPE
from orchestrator.spec.diagnostics import FORMATS, SpecErrors, render
from orchestrator.spec.load import load
from orchestrator.tools.inspection import inspect_function
from tests.unit.spec.corpus import TESTS, Broken, Expected, broken_specs

SPECS = broken_specs()
MEANT = [spec for spec in SPECS if not spec.codes <= {*SHAPE, "W501"}]
BOTH = [spec for spec in MEANT if spec.codes & SHAPE.keys() - {"E190"}]
EXAMPLES = sorted((TESTS.parent / "specs").glob("*.yaml"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.path.stem)
def test_each_mistake_has_its_code_and_its_place(spec: Broken) -> None:
    graph = None
    try:
        loaded = load(spec.path)
        compiled = compile_spec(loaded, inspect=inspect_function)
        found, graph, texts = compiled.diagnostics, compiled.graph, loaded.texts
    except SpecErrors as error:
        found, texts = error.diagnostics, error.texts
    places = [Expected(one.code, one.mark.line, one.mark.column, one.mark.file) for one in found if one.mark]
    assert tuple(sorted(places)) == spec.expected, render(found, texts=texts)
    for form in FORMATS:
        assert render(found, form, texts=texts)
    assert (graph is None) == any(one.code.startswith("E") for one in spec.expected)


def test_the_corpus_has_many_mistakes_of_meaning() -> None:
    assert len(MEANT) >= 35
    assert len(BOTH) >= 20
    assert len({code for spec in MEANT for code in spec.codes} - set(SHAPE)) >= 25


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_compiles_without_a_word_and_survives_its_json_form(path) -> None:
    found = compile_spec(load(path), inspect=inspect_function)
    assert found.diagnostics == ()
    assert found.graph is not None
    assert graph_from_json(to_json(found.graph)) == found.graph
