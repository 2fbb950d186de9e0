from __future__ import annotations

import pytest

from tests.unit.compiler.helpers import compiled


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("topic", "did you mean `inputs.topic`?"),
        ("find.output", "did you mean `steps.find.output`?"),
        ("input.topic", "did you mean `inputs`?"),
        ("zzz", "known: inputs, run, steps"),
        ("item", "an item is seen inside a map's `do` and `key`, by the name in `as`"),
        (
            "secrets.X",
            "secrets may stand in `headers`, `env`, `auth`, `query`, `url` and `api_key` alone, or they could leak",
        ),
        ("steps.fnd.output", "did you mean `find`?"),
        ("inputs.topik", "did you mean `topic`?"),
    ],
)
def test_an_unknown_name_comes_with_the_way_on(field: str, hint: str) -> None:
    found = compiled(f"""
        inputs: {{topic: string}}
        steps:
          find: {{set: {{x: "${{{{ inputs.topic }}}}"}}}}
          a: {{set: {{x: "${{{{ {field} }}}}"}}}}
    """)
    (only,) = found.diagnostics
    assert only.hint is not None
    assert {part.strip() for part in only.hint.split(",")} == {part.strip() for part in hint.split(",")}
    assert only.mark is not None
    assert only.mark.end_column - only.mark.column == len(field)


def test_limits_see_inputs_alone_and_say_so() -> None:
    found = compiled("""
        steps:
          a: {map: '[1]', max_items: "${{ steps.b.output.x }}", concurrency: "${{ run.id }}", do: {set: {x: 1}}}
          b: {set: {x: 1}}
    """)
    assert [(one.code, one.hint) for one in found.diagnostics] == [("E235", "limits take `inputs` alone")] * 2


def test_models_see_no_steps_and_rules_no_run() -> None:
    found = compiled("""
        models: {default: {provider: scripted, replies: [{text: "${{ steps.a.output }} ${{ run.id }}"}]}}
        steps: {a: {agent: {}, prompt: Hi}}
    """)
    assert [one.code for one in found.diagnostics] == ["E235", "E235"]
