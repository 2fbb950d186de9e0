from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.compiler import compile as compile_spec
from orchestrator.expr.values import Const, Expression, FilePart, ListOf, MapOf, Prompt, Text, TextPart
from orchestrator.graph.nodes import (
    AgentConfig,
    CallConfig,
    FailConfig,
    GroupConfig,
    Join,
    MapConfig,
    OnDoubt,
    Retry,
    SetConfig,
    SwitchConfig,
)
from orchestrator.spec.load import load
from tests.unit.compiler.helpers import MODELS, codes, compiled, graph_of, node_of, said

if TYPE_CHECKING:
    from pathlib import Path


def test_a_set_keeps_constants_types_and_text() -> None:
    node = node_of("""
        inputs: {n: integer}
        steps:
          a:
            set: {one: 1, list: [a, "${{ inputs.n }}"], text: "n is ${{ inputs.n }}", alone: "${{ inputs.n }}"}
    """)
    assert node.kind == "set"
    assert node.config == SetConfig(
        values=MapOf(
            {
                "one": Const(1),
                "list": ListOf((Const("a"), Expression("inputs.n"))),
                "text": Text(("n is ", Expression("inputs.n"))),
                "alone": Expression("inputs.n"),
            }
        )
    )
    assert node.at == "pipeline.yaml:5:3"
    assert (node.name, node.id, node.needs) == ("a", "a", ())


def test_modifiers_become_fields_of_the_node() -> None:
    node = node_of("""
        inputs: {n: integer}
        steps:
          a:
            if: ${{ inputs.n > 1 }}
            run: "true"
            effect: read
            retry: {attempts: "${{ inputs.n }}", delay: 1m, backoff: 3, max_delay: 1h, on: [timeout, 503]}
            timeout: 1h30m
            on_error: continue
            dir: out/${{ inputs.n }}
            description: Does nothing
            output: {x: integer}
    """)
    assert node.condition == "inputs.n > 1"
    assert node.retry == Retry(
        attempts=Expression("inputs.n"), delay=60_000_000, backoff=3, max_delay=3_600_000_000, on=("timeout", 503)
    )
    assert node.timeout == Const(5_400_000_000)
    assert node.on_error == "continue"
    assert node.dir == Text(("out/", Expression("inputs.n")))
    assert node.description == "Does nothing"
    assert node.output == {
        "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False,
    }  # fmt: skip
    assert node.lenient


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("true", "true"),
        ('"1 < 2"', "1 < 2"),
        ("' inputs.b '", "inputs.b"),
        ("' ${{ inputs.b && true }} '", "inputs.b && true"),
    ],
)
def test_a_bare_field_takes_an_expression_with_or_without_braces(text: str, source: str) -> None:
    node = node_of(f"""
        inputs: {{b: boolean}}
        steps:
          a:
            if: {text}
            set: {{x: "${{{{ inputs.b }}}}"}}
    """)
    assert node.condition == source


def test_a_list_of_yaml_is_a_literal_with_expressions_in_it() -> None:
    node = node_of("""
        inputs: {n: integer}
        steps:
          a:
            map: [1, "${{ inputs.n }}", 'x"', null, true, {k: 1.5}]
            do: {set: {x: "${{ item }}"}}
    """)
    assert isinstance(node.config, MapConfig)
    assert node.config.over == '[1, (inputs.n), "x\\"", null, true, {"k": 1.5}]'


def test_a_list_of_yaml_takes_no_mixed_text() -> None:
    assert codes('inputs: {n: integer}\nsteps: {a: {map: ["n ${{ inputs.n }}"], do: {set: {x: 1}}}}') == ["E240"]


def test_a_list_of_yaml_whose_text_does_not_parse_is_said_once() -> None:
    assert codes('steps: {a: {map: ["${{ 1 + }}"], do: {set: {x: 1}}}}') == ["E200"]


def test_references_and_needs_and_sequence_are_edges() -> None:
    root = graph_of("""
        order: sequence
        steps:
          c: {set: {x: 1}}
          b: {needs: c, set: {x: 1}}
          a: {set: {x: "${{ steps.c.output.x }}"}}
        finally:
          z: {set: {x: "${{ steps.c.status }}"}}
          y: {set: {x: 1}}
    """).root
    assert {node.name: node.needs for node in root.nodes} == {"c": (), "b": ("c",), "a": ("b", "c")}
    assert {node.name: node.needs for node in root.finally_} == {"z": ("c",), "y": ("z",)}


def test_a_reference_from_inside_is_an_edge_of_the_outermost_step() -> None:
    root = graph_of("""
        steps:
          s: {set: {x: [1], y: true}}
          t: {set: {x: 1}}
          g:
            steps:
              i:
                map: steps.s.output.x
                do:
                  switch: steps.s.output.y
                  cases:
                    true: {set: {x: "${{ steps.t.output.x }}"}}
                  default: {set: {x: "${{ steps.j.output.x }}"}}
              j: {set: {x: 1}}
            on_error: {set: {x: "${{ steps.u.output.x }}", y: "${{ steps.i.status }}"}}
          u: {set: {x: 1}}
    """).root
    group = root.by_name["g"]
    assert group.needs == ("s", "t", "u")
    assert isinstance(group.config, GroupConfig)
    inner = group.config.block.by_name["i"]
    assert inner.needs == ("j",)
    assert isinstance(inner.config, MapConfig)
    assert inner.config.do.needs == ()
    assert group.fallback is not None
    assert (group.fallback.name, group.fallback.id, group.fallback.needs) == ("", "g/@error", ())
    assert group.on_error == "step"


def test_a_group_is_a_block_with_outputs_and_its_own_end() -> None:
    node = node_of("""
        steps:
          a:
            join: {mode: settled, min_success: 1}
            steps:
              i: {set: {x: 1}}
            finally:
              f: {set: {x: "${{ default(error.code, '') }}"}}
            outputs: {y: "${{ steps.i.output.x }}"}
    """)
    assert isinstance(node.config, GroupConfig)
    assert [one.id for one in (*node.config.block.nodes, *node.config.block.finally_)] == ["a/i", "a/f"]
    assert node.config.outputs == MapOf({"y": Expression("steps.i.output.x")})
    assert node.config.join == Join(mode="settled", min_success=Const(1))
    assert node.config.block.nodes[0].at == "pipeline.yaml:7:7"


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        ("all", Join()),
        ("settled", Join(mode="settled")),
        ("{mode: all}", Join()),
        ("{mode: settled}", Join(mode="settled")),
    ],
)
def test_join(join: str, expected: Join) -> None:
    node = node_of(f"steps: {{a: {{join: {join}, steps: {{i: {{set: {{x: 1}}}}}}}}}}")
    assert isinstance(node.config, GroupConfig)
    assert node.config.join == expected


def test_a_map_names_its_items_and_has_limits() -> None:
    node = node_of("""
        inputs: {l: [string], n: integer}
        steps:
          a:
            map: inputs.l
            as: word
            key: word + string(index)
            concurrency: 2
            max_items: ${{ inputs.n }}
            join: settled
            do: {set: {x: "${{ word }} ${{ index }}"}}
    """)
    assert node.config == MapConfig(
        over="inputs.l",
        do=node.config.do,  # pyright: ignore[reportAttributeAccessIssue]
        as_="word",
        key="word + string(index)",
        concurrency=Const(2),
        max_items=Expression("inputs.n"),
        join=Join(mode="settled"),
    )
    assert node.config.do.id == "a/do"
    assert node.config.do.name == ""


def test_a_map_has_defaults() -> None:
    node = node_of("steps: {a: {map: '[1]', do: {steps: {i: {set: {x: '${{ item }}'}}}}}}")
    assert isinstance(node.config, MapConfig)
    assert (node.config.as_, node.config.key) == ("item", None)
    assert (node.config.concurrency, node.config.max_items, node.config.join) == (Const(8), Const(1000), Join())
    assert isinstance(node.config.do.config, GroupConfig)
    assert node.config.do.config.block.nodes[0].id == "a/do/i"


def test_a_switch_has_nodes_by_key() -> None:
    node = node_of("""
        inputs: {s: string}
        steps:
          a:
            switch: inputs.s
            cases: {200: {set: {x: 1}}, true: {set: {x: 2}}}
            default: {fail: no}
    """)
    assert isinstance(node.config, SwitchConfig)
    assert node.config.on == "inputs.s"
    assert {key: case.id for key, case in node.config.cases.items()} == {"200": "a/@case:200", "true": "a/@case:true"}
    assert node.config.otherwise is not None
    assert node.config.otherwise.id == "a/@default"
    assert node.config.otherwise.config == FailConfig(message=Const("no"))


def test_a_fail_has_a_message_and_details() -> None:
    node = node_of("""
        inputs: {n: integer}
        steps:
          a:
            fail: {message: "n is ${{ inputs.n }}", code: bad, status: "${{ inputs.n }}", detail: {n: "${{ inputs.n }}"}}
    """)
    assert node.config == FailConfig(
        message=Text(("n is ", Expression("inputs.n"))),
        code=Const("bad"),
        status=Expression("inputs.n"),
        detail=MapOf({"n": Expression("inputs.n")}),
    )
    assert node_of("steps: {a: {fail: {message: no}}}").config == FailConfig(message=Const("no"))


def test_a_run_step_is_a_shell_tool_in_place() -> None:
    node = node_of("""
        secrets: [KEY]
        inputs: {n: integer}
        steps:
          a:
            run: echo "$1" "$K"
            args: [1, "${{ inputs.n }}"]
            env: {K: "${{ secrets.KEY }}", N: "${{ inputs.n }}"}
            stdin: {n: "${{ inputs.n }}"}
            shell: [node, "{0}"]
            launcher: [nice, "-n", "5"]
            files: {report: out/r.md}
            expect: [0, 3]
            effect: idempotent
            on_doubt: retry
    """)
    assert isinstance(node.config, CallConfig)
    tool = node.config.tool
    assert (node.kind, tool.name, tool.kind, tool.effect, tool.on_doubt) == (
        "run", "run", "shell", "idempotent", OnDoubt(mode="retry"),
    )  # fmt: skip
    assert tool.config == {
        "script": Const('echo "$1" "$K"'),
        "args": ListOf((Const(1), Expression("inputs.n"))),
        "stdin": MapOf({"n": Expression("inputs.n")}),
        "shell": Const(["node", "{0}"]),
        "expect": Const([0, 3]),
        "env": MapOf({"K": Expression("secrets.KEY"), "N": Expression("inputs.n")}),
        "launcher": Const(["nice", "-n", "5"]),
        "json": Const(False),
        "files": Const({"report": "out/r.md"}),
    }
    assert node.output is None


def test_a_list_of_names_in_env_is_passed_through() -> None:
    node = node_of("steps: {a: {run: env, env: [HOME, SSH_AUTH_SOCK]}}")
    assert isinstance(node.config, CallConfig)
    assert node.config.tool.config["env_names"] == Const(["HOME", "SSH_AUTH_SOCK"])
    assert node.config.tool.effect == "write"


def test_a_run_step_with_output_gives_json() -> None:
    node = node_of("steps: {a: {run: echo 1, output: integer}}")
    assert isinstance(node.config, CallConfig)
    assert node.config.tool.config["json"] == Const(True)
    assert node.output == {"type": "integer"}


def test_a_python_step_knows_its_function(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "def f(a: int, b: str = '') -> dict[str, int]: ...\ndef g(**rest): ...\nh = lambda x: x\n", encoding="utf-8"
    )
    node = node_of('steps: {a: {python: "steps:f", with: {a: 1}}}', folder=tmp_path)
    assert isinstance(node.config, CallConfig)
    tool = node.config.tool
    assert (node.kind, tool.kind, tool.effect) == ("python", "python", "write")
    assert tool.config == {"ref": Const("steps:f"), "search": Const([str(tmp_path)])}
    assert tool.input is not None
    assert set(tool.input["properties"]) == {"a", "b"}
    assert node.output is not None
    assert node.output["type"] == "object"
    assert said('steps: {a: {python: "steps:f", with: {b: 1}}}', folder=tmp_path) == [
        ("E242", "the argument `a` is missing"),
        ("E241", 'this does not fit: 1 is not of type "string"'),
    ]
    assert codes('steps: {a: {python: "steps:f"}}', folder=tmp_path) == ["E242"]
    assert codes('steps: {a: {python: "steps:g", with: {any: 1}}}', folder=tmp_path) == []
    assert codes('steps: {a: {python: "steps:h", with: {any: 1}, output: integer}}', folder=tmp_path) == []


def test_functions_are_not_looked_at_without_an_inspector() -> None:
    source = b'{version: 1, steps: {a: {python: "no_such_module:f", with: {a: 1}}}}'
    assert compile_spec(load(source)).diagnostics == ()


def test_an_agent_in_place_goes_by_the_name_of_its_step() -> None:
    node = node_of(
        MODELS
        + """
steps:
  a:
    map: '[1]'
    do:
      agent: {instructions: Be brief, turns: 3, parallel_tools: false, output: string}
      prompt: Say ${{ item }}
      output: {x: integer}
"""
    )
    assert isinstance(node.config, MapConfig)
    config = node.config.do.config
    assert isinstance(config, AgentConfig)
    assert config.agent.name == "a"
    assert config.agent.instructions == Const("Be brief")
    assert (config.agent.turns, config.agent.parallel_tools) == (Const(3), False)
    assert config.prompt == Text(("Say ", Expression("item")))
    assert config.agent.output == node.config.do.output
    assert node.config.do.output is not None
    assert node.config.do.output["properties"] == {"x": {"type": "integer"}}
    assert not node.config.do.lenient


def test_a_prompt_in_parts(tmp_path: Path) -> None:
    (tmp_path / "brief.md").write_text("As it ${{ stands }}", encoding="utf-8")
    (tmp_path / "frame.md").write_text("About ${{ inputs.t }}", encoding="utf-8")
    node = node_of(
        MODELS
        + """
inputs: {t: string, l: [string]}
steps:
  a:
    agent: {}
    prompt:
      - Hello ${{ inputs.t }}
      - {text: there, if: inputs.t != ''}
      - {each: inputs.l, as: word, text: "- ${{ word }}"}
      - {file: ./brief.md, if: inputs.t != ''}
      - {template: frame.md}
""",
        folder=tmp_path,
    )
    assert isinstance(node.config, AgentConfig)
    prompt = node.config.prompt
    assert isinstance(prompt, Prompt)
    assert prompt.parts[0] == TextPart(Text(("Hello ", Expression("inputs.t"))))
    assert prompt.parts[1] == TextPart(Const("there"), "inputs.t != ''")
    assert prompt.parts[3] == TextPart(Const("As it ${{ stands }}"), "inputs.t != ''")
    assert prompt.parts[4] == TextPart(Text(("About ", Expression("inputs.t"))))


def test_a_mistake_in_a_template_is_shown_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "frame.md").write_text("One\nAbout ${{ inputs.x }}", encoding="utf-8")
    found = compiled(
        MODELS + "\ninputs: {t: string}\nsteps: {a: {agent: {}, prompt: [{template: frame.md}, '${{ inputs.t }}']}}",
        folder=tmp_path,
    )
    (only,) = found.diagnostics
    assert only.mark is not None
    assert (only.code, only.mark.file) == ("E231", str(tmp_path / "frame.md"))
    assert (only.mark.line, only.mark.column) == (2, 11)


def test_an_attachment_is_a_part_of_the_prompt() -> None:
    graph = graph_of(MODELS + "\ninputs: {f: file}\nsteps: {a: {agent: {}, prompt: [{file: '${{ inputs.f }}'}]}}")
    config = graph.root.nodes[0].config
    assert isinstance(config, AgentConfig)
    assert config.prompt == Prompt((FilePart(Expression("inputs.f")),))


def test_steps_that_are_not_available_yet_keep_their_place() -> None:
    found = said("""
        steps:
          a: {wait: 10m}
          b: {set: {x: "${{ steps.a.output.anything }}"}}
    """)
    assert [code for code, _ in found] == ["E190"]


def test_the_top_of_a_file() -> None:
    graph = graph_of("""
        name: brief
        description: Short
        inputs:
          a: {type: string, default: x, env: A, description: First}
          b: integer?
          c: {type: file}
        secrets: [KEY, OTHER?]
        store: postgres://me:${{ secrets.KEY }}@db/orch
        dir: out/${{ inputs.a }}
        labels: {team: core, n: 3, on: true}
        steps:
          s: {run: echo, env: {A: "${{ inputs.a }}", B: "${{ inputs.b }}", O: "${{ secrets.OTHER }}"}, args: ["${{ inputs.c }}"]}
        on_failure: {set: {x: "${{ error.code }} ${{ steps.s.status }}"}}
        outputs: {y: "${{ steps.s.output.stdout }}"}
    """)
    assert (graph.name, graph.description) == ("brief", "Short")
    a, b, c = graph.inputs
    assert (a.required, a.has_default, a.default, a.env, a.description) == (False, True, "x", "A", "First")
    assert (b.required, b.has_default, b.is_file) == (False, False, False)
    assert (c.required, c.is_file) == (True, True)
    assert [(one.name, one.optional) for one in graph.secrets] == [("KEY", False), ("OTHER", True)]
    assert graph.dir == Text(("out/", Expression("inputs.a")))
    assert graph.labels == {"team": "core", "n": "3", "on": "true"}
    assert graph.on_failure is not None
    assert graph.on_failure.id == "@on_failure"
    assert graph.outputs == {"y": Expression("steps.s.output.stdout")}


def test_a_file_without_a_name_goes_by_its_own() -> None:
    assert graph_of("steps: {a: {set: {x: 1}}}").name == "pipeline"


def test_labels_are_fixed_text() -> None:
    found = said('labels: {a: [x], b: "${{ run.id }}", c: null}\nsteps: {a: {set: {x: 1}}}')
    assert [code for code, _ in found] == ["E106", "E126", "E106"]


def test_the_folder_of_a_group_holds_for_what_is_inside() -> None:
    node = node_of("""
        steps:
          a:
            dir: one
            steps:
              i: {run: pwd}
              j: {run: pwd, dir: two}
              k: {set: {x: 1}}
    """)
    assert isinstance(node.config, GroupConfig)
    assert node.dir is None
    assert [one.dir for one in node.config.block.nodes] == [Const("one"), Const("two"), None]


def test_a_swapped_model_answers_for_the_other() -> None:
    text = """
        models:
          default: {provider: anthropic, model: claude-haiku-5-5}
          cheap: {provider: scripted, replies: [{text: hi}]}
        steps: {a: {agent: {}, prompt: Hi}}
    """
    plain, swapped = graph_of(text), graph_of(text, models={"default": "cheap"})
    config = swapped.root.nodes[0].config
    assert isinstance(config, AgentConfig)
    assert config.agent.model.name == "cheap"
    assert plain.root.nodes[0].definition != swapped.root.nodes[0].definition
    assert said(text, models={"default": "none"})[0] == ("E405", "--model: there is no model `none`")
    assert said(text, models={"x": "y"})[:2] == [
        ("E405", "--model: there is no model `x`"),
        ("E405", "--model: there is no model `y`"),
    ]


def test_an_input_whose_type_has_a_question_mark_may_be_left_out() -> None:
    graph = graph_of("""
        inputs: {a: any?, b: {type: any?}, c: any, d: string?, e: {type: integer, default: 1}}
        steps: {s: {set: {x: "${{ [inputs.a, inputs.b, inputs.c, inputs.d, inputs.e] }}"}}}
    """)
    assert [one.name for one in graph.inputs if one.required] == ["c"]
