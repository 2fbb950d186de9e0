from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.compiler import compile as compile_spec
from orchestrator.graph.nodes import graph_from_json, to_json
from orchestrator.jsonish import canonical
from orchestrator.spec.load import load

Edges = dict[str, list[tuple[str, bool]]]


@st.composite
def dags(draw: st.DrawFn) -> Edges:
    """Steps by name, in any order, each with those before it in a hidden order that it refers to, or only needs."""
    names = [f"s{index}" for index in range(draw(st.integers(2, 12)))]
    hidden = draw(st.permutations(names))
    edges = {
        name: [(other, draw(st.booleans())) for other in hidden[:at] if draw(st.integers(0, 2)) == 0]
        for at, name in enumerate(hidden)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


def source(edges: Edges) -> bytes:
    lines = ["version: 1", "steps:"]
    for name, others in edges.items():
        needs = ", ".join(other for other, refers in others if not refers)
        fields = ", ".join(f'{other}: "${{{{ steps.{other}.status }}}}"' for other, refers in others if refers)
        lines += [f"  {name}:", f"    needs: [{needs}]", f"    set: {{x: 1{', ' if fields else ''}{fields}}}"]
    return "\n".join(lines).encode()


def reaches(edges: Edges, start: str, end: str) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        for other, _ in edges[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return end in seen


@settings(max_examples=60, deadline=None)
@given(dags())
def test_any_order_without_a_cycle_compiles_to_its_edges(edges: Edges) -> None:
    found = compile_spec(load(source(edges)))
    assert found.graph is not None, found.diagnostics
    needs = {node.name: set(node.needs) for node in found.graph.root.nodes}
    assert needs == {name: {other for other, _ in others} for name, others in edges.items()}
    assert graph_from_json(to_json(found.graph)) == found.graph
    canonical(to_json(found.graph))


@settings(max_examples=60, deadline=None)
@given(dags(), st.data())
def test_one_edge_back_is_a_cycle_and_its_path_is_named(edges: Edges, data: st.DataObject) -> None:
    pairs = [(a, b) for a in edges for b in edges if a != b and reaches(edges, a, b)]
    if not pairs:
        return
    late, early = data.draw(st.sampled_from(pairs))
    changed = {**edges, early: [*edges[early], (late, data.draw(st.booleans()))]}
    found = compile_spec(load(source(changed)))
    assert found.graph is None
    said = [one for one in found.diagnostics if one.code == "E401"]
    (cycle,) = said
    ring = cycle.message.removeprefix("steps wait for each other: ").split(" → ")
    assert ring[0] == ring[-1]
    assert {early, late} <= set(ring)
    for before, after in zip(ring, ring[1:], strict=False):
        assert before in {other for other, _ in changed[after]}


def test_a_large_file_stays_quick() -> None:
    steps = "\n".join(
        f'  s{index}:\n    set: {{x: "${{{{ steps.s{index + 1}.output.x }}}}", y: "a ${{{{ 1 + {index} }}}}"}}'
        for index in range(1000)
    )
    loaded = load(f"version: 1\nsteps:\n{steps}\n  s1000:\n    set: {{x: 1}}\n".encode())
    start = time.perf_counter()
    found = compile_spec(loaded)
    assert found.graph is not None
    assert time.perf_counter() - start < 20


def test_results_that_grow_without_bound_become_any() -> None:
    steps = "".join(
        f'  s{index}: {{set: {{x: "${{{{ steps.s{index - 1}.output }}}}", y: "${{{{ steps.s{index - 1}.output }}}}"}}}}\n'
        for index in range(1, 100)
    )
    found = compile_spec(load(f"version: 1\nsteps:\n  s0: {{set: {{x: 1}}}}\n{steps}".encode()))
    assert found.graph is not None


def test_types_that_grow_without_bound_are_said() -> None:
    types = "".join(f"  t{index}: {{a: t{index + 1}, b: t{index + 1}}}\n" for index in range(40))
    text = f"version: 1\ntypes:\n{types}  t40: string\ninputs: {{a: t0}}\nsteps: {{a: {{set: {{x: 1}}}}}}"
    found = compile_spec(load(text.encode()))
    assert {one.code for one in found.diagnostics} == {"E116"}
    wide = ", ".join(f"f{index}: string" for index in range(1500))
    inputs = ", ".join(f"i{index}: t" for index in range(100))
    text = f"version: 1\ntypes: {{t: {{{wide}}}}}\ninputs: {{{inputs}}}\nsteps: {{a: {{set: {{x: 1}}}}}}"
    found = compile_spec(load(text.encode()))
    assert [one.code for one in found.diagnostics] == ["E116"]


def test_expressions_without_number_are_said_once() -> None:
    body = "${{ 1 }}" * 10_001
    text = f"version: 1\nsteps: {{a: {{set: {{x: '{body}', y: '${{{{ 1 }}}}'}}}}, b: {{if: 'true', set: {{x: 1}}}}}}"
    assert [one.code for one in compile_spec(load(text.encode())).diagnostics] == ["E116"]


def test_one_text_full_of_mistakes_is_said_a_few_times() -> None:
    text = f"version: 1\nsteps: {{a: {{set: {{x: '{'${{ zz }}' * 500}'}}}}}}"
    assert len(compile_spec(load(text.encode())).diagnostics) == 10


def test_a_long_cycle_is_shown_by_its_ends() -> None:
    steps = "".join(f"  s{index}: {{needs: [s{(index + 1) % 50}], set: {{x: 1}}}}\n" for index in range(50))
    (found,) = compile_spec(load(f"version: 1\nsteps:\n{steps}".encode())).diagnostics
    assert found.message.startswith("steps wait for each other: s0 → s49 → ")
    assert found.message.endswith(" → s1 → s0")
    assert " → … → " in found.message
    assert len(found.message) < 200
    assert len(found.notes) == 9
