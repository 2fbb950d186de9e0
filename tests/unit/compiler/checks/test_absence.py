from __future__ import annotations

import pytest

from tests.unit.compiler.helpers import codes

TEXT = """
inputs: {{b: boolean, l: [integer]}}
steps:
  g:
    {join}
    steps:
      m: {{{modifier} set: {{x: 1}}}}
      n: {{set: {{x: 1}}}}
      p: {{set: {{x: "${{{{ steps.m.output.x }}}}"}}}}
    {outputs}
  use: {{set: {{x: "${{{{ {field} + 1 }}}}"}}}}
"""


def found(field: str, *, modifier: str = "if: inputs.b,", outputs: str = "", join: str = "join: all") -> list[str]:
    said = codes(TEXT.format(field=f"steps.g.output.{field}", modifier=modifier, outputs=outputs, join=join))
    return [code for code in said if code.startswith("E")]


def test_a_step_that_may_be_skipped_is_null_in_the_object_of_its_group() -> None:
    assert found("n.x") == []
    assert found("m.x") == ["E206"]
    assert found("p.x") == ["E206"]
    assert found("m.x", modifier="") == []
    assert found("p.x", modifier="") == []
    assert found("m.x", modifier="on_error: continue,") == ["E206"]
    assert found("n.x", join="join: settled") == ["E206"]


@pytest.mark.parametrize(
    ("entry", "nullable"),
    [
        ("steps.m.output.x", True),
        ("steps.m.output.x + 1", True),
        ("[steps.m.output.x][0]", True),
        ("default(steps.m.output.x, 1)", False),
        ("has(steps.m.output.x) ? 1 : 2", False),
        ("steps.m.output == null ? 1 : 2", False),
        ("null != steps.m.output ? 1 : 2", False),
        ("inputs.b ? steps.m.output.x : 1", False),
        ("steps.m.output.x > 1 ? 1 : 2", True),
        ("size(steps.m.status)", False),
        ("steps.n.output.x", False),
        ("1", False),
    ],
)
def test_an_absent_entry_of_outputs_is_null(entry: str, nullable: bool) -> None:
    outputs = f'outputs: {{y: "${{{{ {entry} }}}}"}}'
    assert found("y", outputs=outputs) == (["E206"] if nullable else [])


def test_entries_may_be_lists_and_texts() -> None:
    outputs = 'outputs: {y: {z: ["a ${{ steps.m.output.x }}"]}}'
    assert found("y.z", outputs=outputs) == ["E206", "E205"]
    assert found("y.z", outputs='outputs: {y: {z: ["a ${{ steps.n.output.x }}"]}}') == ["E205"]


def test_items_of_a_map_that_lean_on_what_may_be_absent_may_be_null() -> None:
    text = """
        inputs: {{b: boolean, l: [integer]}}
        steps:
          m: {{if: inputs.b, set: {{x: 1}}}}
          a: {{map: inputs.l, do: {{set: {{x: "${{{{ {} }}}}"}}}}}}
          c: {{set: {{x: "${{{{ steps.a.output[0].x + 1 }}}}"}}}}
    """
    assert codes(text.format("steps.m.output.x")) == ["E206"]
    assert codes(text.format("default(steps.m.output.x, 1)")) == []
