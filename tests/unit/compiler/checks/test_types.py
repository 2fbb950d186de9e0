from __future__ import annotations

import pytest

from tests.unit.compiler.helpers import MODELS, codes, said

TOP = """
inputs: {s: string, n: integer, o: string?, l: [integer], b: boolean}
tools:
  read: {http: {url: "https://x.example/"}, output: {a: integer, b?: string}}
"""


def steps(text: str, top: str = TOP) -> list[str]:
    """Codes of what is wrong with some steps, without warnings."""
    return [code for code in codes(f"{top}steps:\n{text}") if code.startswith("E")]


@pytest.mark.parametrize(
    "field",
    [
        "steps.a.output.x + 1", "steps.a.status == 'done'", "steps.a.error == null",
        "default(steps.a.error.code, 'none') + '!'",
        "steps.m.ok + steps.m.failed + steps.m.output[0].y", "steps.m.items[0].key + 1", "steps.k.items[0].key + '!'",
        "steps.g.output.i.z + '!'", "steps.g.items[0].key + '!'", "steps.w.output.y + 1",
        "steps.r.output.exit + 1", "steps.r.output.stdout + steps.r.files.f.name",
        "steps.t.output.a + 1", "default(steps.t.output.b, '') + '!'", "steps.h.output.x", "run.id + run.status",
        "steps.e.output.message + '!'",
    ],
)  # fmt: skip
def test_every_kind_has_the_type_of_its_result(field: str) -> None:
    text = f"""
  q: {{set: {{v: "${{{{ {field} }}}}"}}}}
  a: {{set: {{x: 1}}}}
  m: {{map: inputs.l, do: {{set: {{y: "${{{{ item }}}}"}}}}}}
  k: {{map: inputs.l, key: string(item), do: {{set: {{y: "${{{{ item }}}}"}}}}}}
  g: {{steps: {{i: {{set: {{z: x}}}}}}}}
  w: {{switch: inputs.s, cases: {{x: {{set: {{y: 1}}}}}}, default: {{fail: no}}}}
  r: {{run: echo, files: {{f: out}}}}
  t: {{tool: read}}
  h: {{set: {{x: "a"}}, output: {{x: string}}}}
  e: {{fail: no, on_error: {{set: {{message: "${{{{ error.message }}}}"}}}}}}
"""
    assert steps(text) == []
    assert steps(text.replace("${{ " + field, "${{ [" + field + "].q")) == ["E202"]


def test_a_condition_narrows_its_step_and_what_is_inside() -> None:
    assert steps("  a: {if: inputs.o != null, set: {x: '${{ inputs.o + inputs.s }}'}}") == []
    assert steps("  a: {if: inputs.o != null, steps: {i: {set: {x: 'a ${{ inputs.o }}'}}}}") == []
    assert steps("  a: {set: {x: 'a ${{ inputs.o }}'}}") == ["E206"]
    assert steps("  a: {if: inputs.b, set: {x: 'a ${{ inputs.o }}'}}") == ["E206"]


def test_a_condition_of_a_part_narrows_its_text() -> None:
    part = "{if: inputs.o != null, text: '${{ inputs.o }}'}"
    assert codes(f"{MODELS}inputs: {{o: string?}}\nsteps: {{a: {{agent: {{}}, prompt: [{part}]}}}}") == []
    more = f"[{part}, '${{{{ inputs.o }}}}']"
    assert codes(f"{MODELS}inputs: {{o: string?}}\nsteps: {{a: {{agent: {{}}, prompt: {more}}}}}") == ["E206"]


@pytest.mark.parametrize("text", ["${{ null }}", "a ${{ null }}"])
def test_null_does_not_stand_in_text(text: str) -> None:
    assert codes(f"{MODELS}steps: {{a: {{agent: {{}}, prompt: '{text}'}}}}") == ["E206"]


def test_what_is_written_is_held_to_output() -> None:
    good = "  a: {set: {x: [1, '${{ inputs.n }}'], y: {z: '${{ inputs.s }}'}}, output: {x: [integer], y: {z: string}}}"
    assert steps(good) == []
    assert steps(good.replace("x: [integer]", "x: [string]")) == ["E241", "E205"]
    assert steps(good.replace("x: [integer]", "x: integer")) == ["E241"]
    assert steps(good.replace("{z: string}", "[string]")) == ["E241"]
    assert steps(good.replace("{z: string}", "any")) == []
    assert steps(good.replace("{z: string}", "{z: string, w: string}")) == ["E242"]
    assert steps(good.replace("{z: string}", "{w?: string}")) == ["E243"]
    assert steps("  a: {steps: {i: {set: {x: 1}}}, outputs: {y: '${{ inputs.n }}'}, output: {y: string}}") == ["E205"]
    assert steps("  a: {map: inputs.l, do: {set: {x: 1}}, output: [string]}") == ["E241"]


def test_a_constant_is_checked_in_full() -> None:
    a = "  a: {set: {x: [1, 2, 3]}, output: {x: {type: [integer], maxItems: 2}}}"
    assert said(f"steps:\n{a}") == [("E241", "this does not fit: [1,2,3] has more than 2 items")]
    assert codes(f"steps:\n{a.replace('maxItems: 2', 'maxItems: 3')}") == []


def test_timeouts_are_durations_as_text() -> None:
    assert steps("  a: {run: echo, timeout: '${{ inputs.s }}'}") == []
    assert steps("  a: {run: echo, timeout: '${{ inputs.n }}m'}") == []
    assert steps("  a: {run: echo, timeout: '${{ inputs.n }}'}") == ["E205"]


def test_items_have_the_type_of_the_list() -> None:
    assert steps("  a: {map: inputs.l, as: n, do: {set: {x: '${{ n + index }}'}}}") == []
    assert steps("  a: {map: inputs.l, as: n, do: {set: {x: '${{ n.y }}'}}}") == ["E202"]
    assert steps("  a: {map: [[1], [2]], do: {map: item, do: {set: {x: '${{ item + 1 }}'}}}}") == []
    assert (
        steps(
            "  t: {tool: {http: {url: 'https://x'}}}\n  a: {map: steps.t.output.body, do: {set: {x: '${{ item.y }}'}}}"
        )
        == []
    )


def test_a_condition_that_is_false_is_told() -> None:
    assert codes("steps: {a: {if: false, set: {x: 1}}}") == ["W503"]


def test_keys_of_a_map_are_text_or_whole_numbers() -> None:
    text = "  a: {{map: inputs.l, key: '{}', do: {{set: {{x: 1}}}}}}"
    for key, expected in (("item", []), ("string(item)", []), ("item > 1", ["E241"]), ("inputs.o", ["E241"])):
        assert steps(text.format(key)) == expected


def test_only_what_failed_further_inside_has_a_step() -> None:
    assert steps("  a: {set: {x: 1}}\n  b: {if: steps.a.error != null, set: {x: 'in ${{ steps.a.error.step }}'}}") == [
        "E206"
    ]
    assert steps("  a: {set: {x: 1}, on_error: {set: {x: 'in ${{ error.step }}'}}}") == []
