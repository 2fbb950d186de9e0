"""What is wrong with a file's shape, and with its meaning: both are said, and nothing that only follows from the first.

Most of what is left out, and of what is not, stands in the files ``both_*.yaml`` of the corpus.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.compiler import compile as compile_
from orchestrator.spec.codes import SHAPE
from orchestrator.spec.diagnostics import Diagnostic, SpecErrors, has_errors
from orchestrator.spec.load import load
from orchestrator.spec.prune import Doubts, prune
from orchestrator.spec.read import read_spec, spec_of
from orchestrator.spec.shape import MAX_SHOWN, document_of
from tests.unit.spec.corpus import TESTS, VALID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.spec.prune import Pruned

FILES = [*sorted((TESTS.parent / "specs").glob("*.yaml")), *sorted(VALID.glob("*.yaml"))]
PROVE = os.environ.get("ORCH_PROVE") == "1"
COUNT = 120
WRONG: tuple[Any, ...] = (5, True, None, "x", [5], [], {})


def pruned(text: str) -> Pruned:
    loaded = load(f"version: 1\n{text}".encode(), name="x.yaml")
    document, errors = document_of(loaded)
    assert document is None
    return prune(loaded, errors)


def said(text: str, **options: Any) -> list[tuple[str, str]]:
    found = compile_(load(f"version: 1\n{text}".encode()), **options)
    assert found.graph is None
    return [(one.code, one.message) for one in found.diagnostics]


def codes(text: str, **options: Any) -> list[str]:
    return [code for code, _ in said(text, **options)]


def places(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    for key, item in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(item, (*path, key))


def spoiled(data: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
    """The data with one slip at a place: a key that is written otherwise, one more, one less, or another value."""

    def holder() -> tuple[Any, Any]:
        whole = copy.deepcopy(data)
        inner = whole
        for part in path[:-1]:
            inner = inner[part]
        return whole, inner

    key = path[-1]
    for new in (f"{key}x", f"{key}"[:1] + f"{key}"[2:], "zzz") if isinstance(key, str) else ():
        whole, inner = holder()
        if new not in inner:
            items = [(new if name == key else name, item) for name, item in inner.items()]
            inner.clear()
            inner.update(items)
            yield whole
    if isinstance(key, str):
        whole, inner = holder()
        inner["unheard_of"] = 1
        yield whole
    for value in WRONG:
        whole, inner = holder()
        inner[key] = value
        yield whole
    whole, inner = holder()
    del inner[key]
    yield whole


def slips() -> Iterator[tuple[Path, Any]]:
    """Every slip in every good file; without ORCH_PROVE so many of them, chosen by a seed."""
    whole = [(path, {key: item for key, item in load(path).data.items() if key != "imports"}) for path in FILES]
    if PROVE:
        yield from ((path, one) for path, data in whole for place in places(data) for one in spoiled(data, place))
        return
    chance = random.Random(20261123)
    for _ in range(COUNT):
        path, data = chance.choice(whole)
        yield path, chance.choice(list(spoiled(data, chance.choice(list(places(data))))))


@pytest.mark.timeout(3600)
def test_one_slip_in_a_good_file_leads_to_nothing_else_than_its_own_problem() -> None:
    own: dict[Path, set[tuple[str, str]]] = {}
    tried = 0
    for path, data in slips():
        loaded = load(json.dumps(data).encode(), name=str(path), folder=path.parent)
        if document_of(loaded)[0] is not None:
            continue
        tried += 1
        if path not in own:
            own[path] = {(one.code, one.message) for one in compile_(load(path)).diagnostics}
        found = compile_(loaded)
        assert found.graph is None
        more = [str(one) for one in found.diagnostics if is_more(one, own[path])]
        assert not more, json.dumps(data)
    assert tried > 50


@pytest.mark.timeout(7200)
def test_many_slips_at_once_give_diagnostics_and_nothing_else_within_a_second() -> None:
    chance = random.Random(20261124)
    whole = [(path, {key: item for key, item in load(path).data.items() if key != "imports"}) for path in FILES]
    tried = 0
    for _ in range(20_000 if PROVE else 60):
        path, data = chance.choice(whole)
        for _ in range(chance.choice((2, 3, 5, 10))):
            every = list(places(data))
            data = chance.choice(list(spoiled(data, chance.choice(every)))) if every else data
        text = json.dumps(data)
        began = time.process_time()
        try:
            found = compile_(load(text.encode(), name=str(path), folder=path.parent))
        except SpecErrors:
            continue
        except Exception as error:
            error.add_note(text)
            raise
        assert time.process_time() - began < 5, text
        assert (found.graph is None) == has_errors(found.diagnostics)
        tried += 1
    assert tried > 40


def is_more(one: Diagnostic, own: set[tuple[str, str]]) -> bool:
    return one.code not in SHAPE and (one.code, one.message) not in own


def test_a_slip_hides_nothing_elsewhere() -> None:
    text = "steps: {a: {run: x, timout: 30s}, b: {set: {x: '${{ steps.aa.output }}'}}}"
    assert said(text) == [
        ("E104", "unknown field `timout` in step `a`"),
        ("E230", "unknown step `aa`"),
    ]


def test_marks_hold_where_an_item_before_is_left_out() -> None:
    found = compile_(load(b"version: 1\nsteps:\n  a: {run: x}\n  b:\n    needs: [5, a, c]\n    run: x\n")).diagnostics
    assert [(one.code, one.mark and (one.mark.line, one.mark.column)) for one in found] == [
        ("E106", (5, 13)),
        ("E230", (5, 19)),
    ]


def test_a_field_that_says_nothing_of_others_leaves_its_step_known() -> None:
    found = pruned("steps: {a: {run: x, retry: 5}, b: {run: x, tiemout: 5s}, c: {run: x, prompt: x}}")
    assert found.doubts.vague == frozenset()
    assert found.loaded.data["steps"] == {"a": {"run": "x"}, "b": {"run": "x"}, "c": {"run": "x"}}
    assert found.lost == {("steps", "a"), ("steps", "b"), ("steps", "c")}


def test_a_step_that_cannot_be_read_keeps_its_name_alone() -> None:
    found = pruned("steps: {a: {run: x, set: {}}, b: {switch: x, cases: {y: 5}}, c: {run: x, on_error: {promt: y}}}")
    steps = found.loaded.data["steps"]
    assert steps["a"] == {"set": {}}
    assert steps["b"]["cases"] == {"y": {"set": {}}}
    assert steps["c"]["on_error"] == {"set": {}}
    assert found.doubts.vague == {
        ("steps", "a"),
        ("steps", "b", "cases", "y"),
        ("steps", "c", "on_error"),
    }


def test_a_key_that_is_no_name_gets_one() -> None:
    found = pruned("steps: {My-Step: {run: x}, B: {run: x, set: {}}}\ninputs: {In: string}")
    assert list(found.loaded.data["steps"].values()) == [{"run": "x"}, {"set": {}}]
    assert {"My-Step", "My", "Step", "B", "In"} <= found.doubts.names
    text = "steps: {My-Step: {run: x}, b: {set: {x: '${{ steps.My-Step.output }}'}, needs: My-Step}}"
    assert codes(text) == ["E108", "E108"]


def test_an_empty_file_of_steps_is_said_once() -> None:
    assert codes("steps: {}\noutputs: {x: '${{ steps.a.output }}'}") == ["E107"]
    assert codes("steps: [a]\noutputs: {x: '${{ steps.a.output }}', y: '${{ 1 + }}'}") == ["E106", "E200"]
    assert codes("version: 1\nsteps: {a: {run: x}}".removeprefix("version: 1\n") + "\nnane: x") == ["E104"]
    found = compile_(load(b"version: 2\nsteps: {a: {set: {x: '${{ steps.b.output }}'}}}")).diagnostics
    assert [one.code for one in found] == ["E107", "E230"]


@pytest.mark.parametrize(
    "text",
    [
        "inputs: topic",
        "inptus: topic",
        "secrets: A",
        "secrets: [5]",
        "secrets: {}",
        "include: ./common.yaml",
        "include: [./common.yaml]",
        "agents: []",
        "tools: []",
        "models: []",
        "types: []",
    ],
)
def test_of_a_section_that_is_not_read_no_name_is_unknown(text: str) -> None:
    kind = text.partition(":")[0]
    uses = {
        "inputs": "run: x, dir: '${{ inputs.y }}'",
        "inptus": "run: x, dir: '${{ inputs.y }}'",
        "secrets": "run: x, env: {Y: '${{ secrets.Y }}'}",
        "include": "tool: y, output: t",
        "agents": "agent: y, prompt: x",
        "tools": "tool: y.z",
        "models": "agent: {}, prompt: x",
        "types": "run: x, output: y",
    }
    (shape,) = codes(f"{text}\nsteps: {{a: {{{uses[kind]}}}}}")
    assert shape in ("E104", "E106")


def test_a_model_that_is_not_read_may_answer_for_another_one() -> None:
    text = "models: {m: {provider: 5}, n: {provider: anthropic, model: x}}\nsteps: {a: {agent: {model: m}, prompt: x}}"
    assert codes(text, models={"m": "n"}) == ["E106"]
    assert codes(text, models={"o": "n"}) == ["E405", "E106"]
    assert codes("models: []\nsteps: {a: {run: x}}", models={"o": "n"}) == ["E106"]


def test_a_rule_about_several_fields_is_said_where_all_of_them_are_there() -> None:
    """It is only asked once each field is right, in a file that was pruned before."""
    assert codes("steps: {a: {fail: x, output: string, xyz: 1}}") == ["E127", "E104"]
    assert codes("models: {m: {provider: 5, replies: [{text: x}]}}\nsteps: {a: {run: x}}") == ["E106"]
    reply = "{when: 'true', text: x, output: 1, usage: {xyz: 1}}"
    text = f"models: {{m: {{provider: scripted, replies: [{reply}]}}}}\nsteps: {{a: {{run: x}}}}"
    assert "E104" in codes(text)


def test_rules_that_are_asked_one_by_one_are_asked_a_few_times() -> None:
    entry = "{provider: anthropic, model: m, xyz: 1, replies: [{text: x}], api: chat, fallback: [m]}"
    text = f"models: {{m: {entry}}}\nsteps: {{a: {{set: {{x: '${{{{ steps.b.output }}}}'}}}}}}"
    assert codes(text) == ["E104", "E127", "E230"]
    ask = "ask: {message: x, choices: [a], schema: string, on_timeout: b, xyz: 1}"
    text = f"steps: {{a: {{ask: {{message: x, choices: [a]}}, timeout: 5m, on_error: {{{ask}}}}}}}"
    assert codes(text) == ["E127", "E109", "E104"]


def test_a_file_full_of_problems_is_not_looked_at_further() -> None:
    steps = "".join(f"  s{index}: {{run: x, zzz: 1}}\n" for index in range(MAX_SHOWN + 1))
    text = f"version: 1\nsteps:\n{steps}  last: {{set: {{x: '${{{{ steps.nope.output }}}}'}}}}\n".encode()
    with pytest.raises(SpecErrors):
        spec_of(load(text))
    found = compile_(load(text))
    assert found.graph is None
    assert {one.code for one in found.diagnostics} == {"E104"}


def test_a_whole_document_is_wanted_to_read_a_spec() -> None:
    with pytest.raises(SpecErrors) as caught:
        read_spec(b"version: 1\nbudget: {usd: x}\nsteps: {a: {run: x}}")
    assert [one.code for one in caught.value.diagnostics] == ["E106"]
    assert spec_of(load(b"version: 1\nsteps: {a: {run: x}}")).doubts is None


def test_doubts_are_of_a_place_and_what_is_inside_of_it() -> None:
    doubts = Doubts(vague=frozenset({("steps", "a")}), names=frozenset({"b"}), silent=frozenset({"E231"}))
    assert doubts.cover("E205", ("steps", "a", "if"))
    assert not doubts.cover("E205", ("steps", "aa", "if"))
    assert not doubts.cover("E230", ("steps", "a", "if"))
    assert doubts.cover("E231", ())
    assert doubts.name("b.read")
    assert not doubts.name("c.b")
