from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.compiler.helpers import MODELS, codes, compiled, said

if TYPE_CHECKING:
    from pathlib import Path

SWITCH = """
inputs: {{x: {type}}}
steps:
  a:
    switch: inputs.x
    cases: {{{cases}}}
{default}
"""


def switch(kind: str, *cases: str, default: bool = False) -> list[str]:
    written = ", ".join(f"{case}: {{set: {{x: 1}}}}" for case in cases)
    return codes(SWITCH.format(type=kind, cases=written, default="    default: {fail: no}" if default else ""))


@pytest.mark.parametrize(
    ("kind", "cases", "default", "expected"),
    [
        ("{enum: [a, b]}", ("a", "b"), False, []),
        ("{enum: [a, b]}", ("a",), False, ["E244"]),
        ("{enum: [a, b]}", ("a",), True, []),
        ("{enum: [a, b]}", ("a", "b"), True, ["W503"]),
        ("{enum: [a, b]}", ("a", "b", "c"), False, ["E245"]),
        ("{enum: [1, 2.0, true]}", ("1", "2", "true"), False, []),
        ("{type: {enum: [a]}, default: a}", ("a",), False, []),
        ("boolean", ("true", "false"), False, []),
        ("boolean", ("true",), False, ["E244"]),
        ("boolean?", ("true", "false"), False, ["E244"]),
        ("boolean?", ("true", "false"), True, []),
        ("string", ("x",), False, ["E244"]),
        ("string", ("x",), True, []),
        ("integer", ("1", "-2"), True, []),
        ("integer", ("1", "x"), True, ["E245"]),
        ("any", ("x",), True, []),
    ],
)
def test_a_switch_has_a_case_for_every_value_and_none_besides(
    kind: str, cases: tuple[str, ...], default: bool, expected: list[str]
) -> None:
    assert switch(kind, *cases, default=default) == expected


RETRY = "retry: {attempts: 2}"


@pytest.mark.parametrize(
    ("step", "bad"),
    [
        (f"{{run: echo, {RETRY}}}", True),
        (f"{{run: echo, {RETRY}, effect: idempotent}}", False),
        (f"{{run: echo, {RETRY}, effect: read}}", False),
        ("{run: echo}", False),
        (f"{{{RETRY}, steps: {{i: {{run: echo}}}}}}", True),
        (f"{{{RETRY}, map: '[1]', do: {{run: echo}}}}", True),
        (f"{{{RETRY}, switch: '1', cases: {{1: {{run: echo}}}}, default: {{set: {{x: 1}}}}}}", True),
        (f"{{{RETRY}, switch: '1', cases: {{1: {{set: {{x: 1}}}}}}, default: {{run: echo}}}}", True),
        (f"{{set: {{x: 1}}, on_error: {{run: echo, {RETRY}}}}}", True),
        (f"{{tool: f.write, with: {{path: a, content: b}}, {RETRY}}}", False),
    ],
)
def test_a_write_is_not_tried_again(step: str, bad: bool) -> None:
    text = f"tools: {{f: {{files: {{root: ., operations: [write]}}}}}}\nsteps: {{a: {step}, b: {{tool: f.write, with: {{path: a, content: b}}}}}}"
    assert codes(text) == (["E403"] if bad else [])


def test_a_write_on_failure_is_found_too() -> None:
    assert codes(f"steps: {{a: {{set: {{x: 1}}}}}}\non_failure: {{run: echo, {RETRY}}}") == ["E403"]


def test_scripted_calls_name_tools() -> None:
    text = """
        models: {{default: {{provider: scripted, replies: [{{calls: [{{tool: {}}}]}}]}}}}
        tools: {{notes: {{files: {{root: .}}}}, ls: {{shell: {{argv: [ls]}}}}}}
        agents: {{g: {{tools: [notes, ls]}}}}
        steps: {{a: {{agent: g, prompt: Hi}}}}
    """
    for good in ("notes.read", "ls", "read_result", '"${{ prompt }}"'):
        assert codes(text.format(good)) == []
    for bad in ("notes", "notes.write", "lsx"):
        assert codes(text.format(bad)) == ["E233"]
    for absent in ("note", "board_get", "handoff", "plan", "todo", "remember", "recall", "skill", "spawn", "g"):
        assert codes(text.format(absent)) == ["E233"]
    hints = [one.hint for one in compiled(text.format("xyz")).diagnostics]
    assert hints == ["known: ls, notes.glob, notes.grep, notes.list, notes.read, read_result"]


def test_scripted_calls_name_tools_that_an_agent_has_for_what_it_keeps() -> None:
    text = """
        models: {{default: {{provider: scripted, replies: [{{calls: [{{tool: {}}}]}}]}}}}
        steps:
          a: {{agent: {{notes: true, todo: shared}}, prompt: Hi}}
          b: {{agent: {{share: [x], memory: {{scope: s, recall: false}}}}, prompt: Hi}}
    """
    for good in ("note", "todo", "board_get", "board_set", "remember"):
        assert codes(text.format(good)) == []
    for bad in ("recall", "skill"):
        assert codes(text.format(bad)) == ["E233"]


def test_rules_of_a_scripted_model_see_the_turn() -> None:
    text = """
        models:
          default:
            provider: scripted
            replies:
              - when: turn == 1 && size(results) == 0 && agent == 'a'
                text: "${{ prompt }} ${{ last }} ${{ inputs.t }}"
                thinking: "${{ last }}"
                usage: {input: "${{ turn }}", output: 3}
                delay: 10ms
              - {output: {x: "${{ results[0].y }}"}, delay: "${{ inputs.t }}", stop: max_tokens}
              - {error: rate_limit}
        inputs: {t: string}
        steps: {a: {agent: {}, prompt: Hi}}
    """
    assert codes(text) == []


def test_settings_of_a_model_see_inputs_and_secrets_where_they_may() -> None:
    text = """
        secrets: [KEY]
        inputs: {h: string}
        models:
          default:
            provider: anthropic
            model: m
            base_url: https://${{ inputs.h }}/
            api_key: ${{ secrets.KEY }}
            headers: {x: "${{ secrets.KEY }}"}
            params: {x: ["${{ inputs.h }}"]}
            max_tokens: 5
        steps: {a: {agent: {}, prompt: Hi}}
    """
    assert codes(text) == []
    assert codes(text.replace("base_url: https://${{ inputs.h }}/", "base_url: 'https://${{ secrets.KEY }}/'")) == [
        "E239"
    ]


def test_a_secret_within_a_list_does_not_become_text() -> None:
    text = """
        secrets: [KEY]
        steps:
          a: {run: env, env: {K: "x ${{ [secrets.KEY] }}"}}
    """
    assert codes(text) == ["E211"]
    assert codes(text.replace("x ${{", "${{")) == []  # a list, which becomes JSON when the value is in it
    assert codes(text.replace("[secrets.KEY]", "json(secrets.KEY)")) == ["E211"]


def test_unused_things_are_told_where_nothing_is_wrong() -> None:
    text = MODELS + "inputs: {a: string}\nsecrets: [K]\ntools: {t: {shell: {argv: [ls]}}}\nsteps: {a: {set: {x: 1}}}"
    assert said(text) == [
        ("W502", "the model `default` is never used"),
        ("W502", "the input `a` is never used"),
        ("W502", "the secret `K` is never used"),
        ("W502", "the tool `t` is never used"),
    ]
    assert codes(text.replace("x: 1", "x: '${{ inputs.b }}'")) == ["E231"]


def test_inputs_as_a_whole_use_every_one() -> None:
    assert codes("inputs: {a: string}\nsteps: {a: {set: {x: '${{ inputs }}'}}}") == []


def test_what_is_imported_may_serve_others(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("version: 1\ntools: {t: {shell: {argv: [ls]}}}\n", encoding="utf-8")
    assert codes("imports: [common.yaml]\nsteps: {a: {set: {x: 1}}}", tmp_path) == []


def test_types_may_name_each_other_in_any_order() -> None:
    text = """
        types:
          a: {b: b, c: [c?], d: {type: string, default: b}, e: {object: {type: c}}}
          b: {enum: [a, b]}
          c: {schema: {type: string}}
        inputs: {x: a}
        steps: {s: {set: {x: "${{ inputs.x.b }}", y: "${{ inputs.x.e.type }}"}}}
    """
    assert codes(text) == []


def test_a_cycle_of_types_is_said_once_with_its_path() -> None:
    text = (
        "types: {a: {x: b}, b: [c], c: {a: a?}, d: {e: a}}\ninputs: {x: d}\nsteps: {s: {set: {x: '${{ inputs.x }}'}}}"
    )
    assert said(text) == [("E402", "types in a cycle: a → b → c → a")]


def test_a_document_that_is_none_says_what_the_loader_says() -> None:
    assert codes("steps: {a: {sett: {x: 1}}}") == ["E109"]


def test_everything_is_said_in_the_order_of_the_file() -> None:
    found = compiled("""
        steps:
          a: {set: {x: "${{ steps.q.output }}"}}
          b: {run: echo, retry: {attempts: 2}}
          c: {tool: none}
          d: {wait: 10m}
        outputs: {x: "${{ inputs.z }}"}
    """)
    assert [one.code for one in found.diagnostics] == ["E230", "E403", "E233", "E190", "E231"]
    lines = [one.mark.line for one in found.diagnostics if one.mark]
    assert lines == sorted(lines)


def test_steps_do_not_wait_for_what_runs_when_they_have_ended() -> None:
    text = "steps: {a: {needs: [z], set: {x: 1}}}\nfinally: {z: {needs: a, set: {x: 1}}, y: {needs: [z], set: {x: 1}}}"
    assert codes(text) == ["E236"]


def test_a_number_is_no_type() -> None:
    assert codes("inputs: {a: 3}\nsteps: {a: {set: {x: '${{ inputs.a }}'}}}") == ["E220"]


@pytest.mark.parametrize(
    ("tool", "bad"),
    [
        ("shell: {argv: [ls]}, env: [A], launcher: [nice], input: {}, output: any, with: {}", 0),
        ("python: 'json:dumps', env: [A], launcher: [nice]", 2),
        ("http: {url: 'https://x'}, env: {A: x}, launcher: [nice]", 2),
        ("files: {root: .}, env: [A], launcher: [x], input: {a: string}, output: string, with: {path: x}", 5),
    ],
)
def test_a_field_that_a_kind_of_tool_has_no_use_for_is_not_ignored(tool: str, bad: int) -> None:
    found = codes(f"tools: {{t: {{{tool}}}}}\nsteps: {{a: {{set: {{x: 1}}}}}}")
    assert [code for code in found if code.startswith("E")] == ["E127"] * bad


def test_a_name_that_stands_twice_in_needs_is_said() -> None:
    assert codes("steps: {a: {needs: [b, b], set: {x: 1}}, b: {needs: [], set: {x: 1}}}") == ["E404"]


def test_a_secret_that_is_passed_through_by_name_is_used() -> None:
    assert codes("secrets: [KEY]\nsteps: {a: {run: env, env: [KEY]}}") == []
