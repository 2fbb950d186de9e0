from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.expr.values import Const, Expression, ListOf, MapOf, Text
from orchestrator.graph.nodes import AgentConfig, CallConfig, OnDoubt, ToolDef
from tests.unit.compiler.helpers import MODELS, codes, graph_of, node_of, said

if TYPE_CHECKING:
    from pathlib import Path


def tool_of(text: str, name: str = "a", **options: Any) -> ToolDef:
    config = node_of(text, name, **options).config
    assert isinstance(config, CallConfig)
    return config.tool


def http(body: str, more: str = "") -> ToolDef:
    return tool_of(f"""
tools:
  t: {{http: {{url: "https://x.example/", {body}}}{more}}}
steps:
  a: {{tool: t}}
""")


@pytest.mark.parametrize(
    ("body", "effect"),
    [
        ("follow: true", "read"),
        ("json: {a: 1}", "write"),
        ("body: text", "write"),
        ("method: GET, json: {a: 1}", "read"),
        ("method: HEAD", "read"),
        ("method: PUT", "idempotent"),
        ("method: DELETE", "idempotent"),
        ("method: POST", "write"),
        ("method: PATCH", "write"),
        ("method: OPTIONS", "write"),
    ],
)
def test_the_effect_of_a_request_follows_its_method(body: str, effect: str) -> None:
    assert http(body).effect == effect
    assert http(body, ", effect: write").effect == "write"


def test_the_request_of_an_http_tool() -> None:
    tool = tool_of("""
        secrets: [KEY]
        tools:
          t:
            http:
              url: https://x.example/${{ args.id }}?k=${{ secrets.KEY }}
              method: PUT
              query: {q: "${{ args.id }}"}
              headers: {Authorization: "Bearer ${{ secrets.KEY }}"}
              auth: {basic: [me, "${{ secrets.KEY }}"]}
              json: {id: "${{ args.id }}"}
              expect: [200, 4xx]
              allow_private: [127.0.0.1]
              follow: 3
            input: {id: string}
            output: {x: integer}
            timeout: 5s
            max_output: 100
            description: Puts
            dir: out
        steps:
          a: {tool: t, with: {id: one}}
    """)
    assert tool.config == {
        "url": Text(("https://x.example/", Expression("args.id"), "?k=", Expression("secrets.KEY")), "url"),
        "method": Const("PUT"),
        "query": MapOf({"q": Expression("args.id")}),
        "headers": MapOf({"Authorization": Text(("Bearer ", Expression("secrets.KEY")))}),
        "auth": MapOf({"basic": ListOf((Const("me"), Expression("secrets.KEY")))}),
        "json": MapOf({"id": Expression("args.id")}),
        "expect": Const([200, "4xx"]),
        "allow_private": Const(["127.0.0.1"]),
        "follow": Const(3),
        "output_json": Const(True),
    }
    assert (tool.timeout, tool.max_output, tool.description, tool.dir) == (Const(5_000_000), 100, "Puts", Const("out"))
    assert tool.output is not None


def test_one_status_is_a_list_of_one_and_a_bearer_is_a_way_to_say_who_asks() -> None:
    tool = http("expect: 201, auth: {bearer: abc}, body: text")
    assert tool.config["expect"] == Const([201])
    assert tool.config["auth"] == Const({"bearer": "abc"})
    assert tool.config["output_json"] == Const(False)
    assert tool.config["body"] == Const("text")


def test_a_step_gives_its_type_to_a_tool_without_one() -> None:
    text = """
        tools:
          t: {http: {url: "https://x.example/"}}
          s: {shell: {argv: [ls]}}
          p: {files: {root: .}}
        steps:
          a: {tool: t, output: {x: integer}}
          b: {tool: t}
          c: {tool: s, output: [string]}
          d: {tool: p.read, with: {path: x}, output: string}
          e: {set: {x: "${{ steps.b.output.status + steps.a.output.x }}", y: "${{ steps.c.output[0] }}"}}
    """
    assert tool_of(text).config["output_json"] == Const(True)
    assert tool_of(text, "b").config["output_json"] == Const(False)
    assert tool_of(text, "c").config["json"] == Const(True)
    assert node_of(text, "a").output is not None
    assert node_of(text, "b").output is None
    assert node_of(text, "d").output == {"type": "string"}


def test_a_tool_with_a_type_keeps_it() -> None:
    text = """
        tools:
          t: {http: {url: "https://x.example/"}, output: {x: integer}}
        steps:
          a: {tool: t}
          b: {tool: t, output: {x: number}}
          c: {tool: t, output: {x: string}}
    """
    assert said(text) == [("E241", "the result is {x: integer}, and `output` wants {x: string}")]


def test_the_request_of_a_shell_tool() -> None:
    tool = tool_of("""
        secrets: [KEY]
        tools:
          t:
            shell: {argv: [git, log, "${{ args.path }}"], expect: [0, 1], rlimits: {cpu: 10}}
            input: {path: string}
            env: {K: "${{ secrets.KEY }}"}
            launcher: [nice]
          u:
            shell: {script: 'cat "$1"', args: ["${{ args.path }}"], stdin: x, shell: sh}
            input: {path: string}
            env: [HOME]
            output: [string]
        steps:
          a: {tool: t, with: {path: x}}
          b: {tool: u, with: {path: x}}
    """)
    assert tool.config == {
        "argv": ListOf((Const("git"), Const("log"), Expression("args.path"))),
        "expect": Const([0, 1]),
        "env": MapOf({"K": Expression("secrets.KEY")}),
        "launcher": Const(["nice"]),
        "rlimits": Const({"cpu": 10}),
        "json": Const(False),
    }
    assert (tool.kind, tool.effect) == ("shell", "write")


def test_a_script_of_a_shell_tool() -> None:
    tool = tool_of("""
        tools:
          t: {shell: {script: 'cat "$1"', args: ["${{ args.p }}"], stdin: x, shell: sh}, input: {p: string}, env: [HOME], output: [string]}
        steps: {a: {tool: t, with: {p: x}}}
    """)
    assert tool.config == {
        "script": Const('cat "$1"'),
        "args": ListOf((Expression("args.p"),)),
        "stdin": Const("x"),
        "shell": Const("sh"),
        "env_names": Const(["HOME"]),
        "json": Const(True),
    }


def test_a_files_tool_has_operations_with_effects() -> None:
    text = """
        inputs: {d: string}
        tools:
          f: {files: {root: "${{ inputs.d }}", operations: [read, write], max_size: 10}}
          g: {files: {root: .}}
          h: {files: {root: ., operations: [write]}, effect: write}
        steps:
          a: {tool: f.read, with: {path: x}}
          b: {tool: g.grep, with: {pattern: x}}
          c: {tool: h.write, with: {path: x, content: y}}
          d: {set: {x: "${{ steps.a.output + steps.b.output[0].path }}", y: "${{ steps.c.output.bytes }}"}}
    """
    tool = tool_of(text)
    assert tool.operations == {"read": "read", "write": "idempotent"}
    assert tool.config == {"root": Text((Expression("inputs.d"),)), "max_size": Const(10)}
    assert tool.effect == "idempotent"
    assert tool_of(text, "b").operations == {"read": "read", "list": "read", "glob": "read", "grep": "read"}
    assert tool_of(text, "b").effect == "read"
    assert tool_of(text, "c").operations == {"write": "write"}
    config = node_of(text, "a").config
    assert isinstance(config, CallConfig)
    assert config.operation == "read"


def test_fixed_arguments_are_no_part_of_what_callers_see() -> None:
    tool = tool_of("""
        tools:
          t: {shell: {argv: [x, "${{ args.a }}", "${{ args.b }}", "${{ args.c }}"]}, input: {a: string, b: integer}, with: {b: 3, c: x}}
        steps: {a: {tool: t, with: {a: x}}}
    """)
    assert tool.fixed == Const({"b": 3, "c": "x"})
    assert tool.input is not None
    assert set(tool.input["properties"]) == {"a"}


def test_arguments_that_may_be_left_out() -> None:
    text = """
        tools:
          t:
            shell: {argv: [x, "${{ default(args.a, '') }}", "${{ args.b }}"]}
            input: {a: string?, b: string, c?: integer, d: {type: integer, default: 3}}
        steps: {a: {tool: t, with: {b: x}}}
    """
    tool = tool_of(text)
    assert tool.input is not None
    assert tool.input["required"] == ["b"]


def test_a_tool_in_place_sees_what_its_step_sees() -> None:
    node = node_of("""
        steps:
          b: {set: {x: 1}}
          a:
            tool: {shell: {argv: [echo, "${{ steps.b.output.x }}", "${{ args.y }}"]}, input: {y: string}}
            with: {y: x}
    """)
    assert node.needs == ("b",)
    assert isinstance(node.config, CallConfig)
    assert node.config.tool.name == "tool"


def test_a_tool_that_can_tell_sees_the_arguments_of_the_call() -> None:
    tool = tool_of("""
        tools:
          tell: {shell: {argv: [ls, "${{ args.id }}"]}, input: {id: string}, effect: read}
          t:
            shell: {argv: [x, "${{ args.id }}"]}
            input: {id: string}
            on_doubt: {reconcile: {tool: tell, with: {id: "${{ args.id }}"}}}
        steps: {a: {tool: t, with: {id: x}}}
    """)
    assert tool.on_doubt.mode == "reconcile"
    assert tool.on_doubt.tool is not None
    assert tool.on_doubt.tool.name == "tell"
    assert tool.on_doubt.args == MapOf({"id": Expression("args.id")})


def test_a_tool_that_can_tell_may_stand_in_place_and_take_the_same_arguments() -> None:
    tool = tool_of("steps: {a: {run: echo, on_doubt: {reconcile: {tool: {shell: {argv: [ls]}, effect: read}}}}}")
    assert tool.on_doubt.tool is not None
    assert tool.on_doubt.args is None
    assert tool_of("steps: {a: {run: echo, on_doubt: fail}}").on_doubt == OnDoubt(mode="fail")


def test_an_agent_lists_tools_and_operations() -> None:
    graph = graph_of(
        MODELS
        + """
tools:
  f: {files: {root: ., operations: [read, write]}}
  s: {shell: {argv: [ls]}}
agents:
  g: {tools: [f.read, s, f.write], description: Reads, model: default}
steps:
  a: {agent: g, prompt: Hi}
  b: {agent: {tools: [f]}, prompt: Hi}
"""
    )
    a, b = (node.config for node in graph.root.nodes)
    assert isinstance(a, AgentConfig)
    assert isinstance(b, AgentConfig)
    assert [tool.name for tool in a.agent.tools] == ["f", "s"]
    assert a.agent.operations == b.agent.operations == {"f": ("read", "write")}
    assert a.agent.description == "Reads"
    assert a.agent.name == "g"


def test_python_tools_are_matched_with_their_functions(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def f(a: int, b: str, c=None) -> int: ...\n", encoding="utf-8")
    text = 'tools: {{t: {{python: "steps:f", {}}}}}\nsteps: {{a: {{tool: t, with: {}}}}}'
    assert codes(text.format("input: {a: integer}, with: {b: x}", "{a: 1}"), tmp_path) == []
    assert codes(text.format("with: {b: x}", "{a: 1}"), tmp_path) == []
    assert said(text.format("with: {b: 1}", "{a: x}"), tmp_path) == [
        ("E241", 'this does not fit: 1 is not of type "string"'),
        ("E241", 'this does not fit: "x" is not of type "integer"'),
    ]
    assert said(text.format("input: {a: integer, d: any}", "{a: 1, d: 2}"), tmp_path) == [
        ("E246", "`steps:f` needs `b`, which neither `input` nor `with` has"),
        ("E246", "unknown parameter of `steps:f` `d`"),
    ]
    graph = graph_of(text.format("with: {b: x}", "{a: 1}"), tmp_path)
    config = graph.root.nodes[0].config
    assert isinstance(config, CallConfig)
    assert config.tool.input is not None
    assert set(config.tool.input["properties"]) == {"a", "c"}


def test_tools_that_nothing_refers_to_are_checked_all_the_same() -> None:
    text = 'tools: {t: {shell: {argv: [ls, "${{ inputs.x }}"]}}}\nagents: {g: {instructions: "${{ inputs.y }}"}}\n'
    assert codes(text + MODELS + "steps: {a: {set: {x: 1}}}") == ["E231", "E231"]


def test_kinds_that_are_not_available_yet_are_said_once() -> None:
    assert codes("tools: {t: {sql: {statement: select 1}}}\nsteps: {a: {tool: t}}") == ["E190"]


def test_tools_that_reconcile_one_another_are_bounded() -> None:
    chain = "".join(
        f"  t{index}: {{shell: {{argv: [ls]}}, on_doubt: {{reconcile: {{tool: t{index + 1}}}}}}}\n"
        for index in range(200)
    )
    text = f"tools:\n{chain}  t200: {{shell: {{argv: [ls]}}}}\nsteps: {{a: {{tool: t0}}}}"
    assert set(codes(text)) == {"E116"}
    assert said("tools: {t: {shell: {argv: [ls]}, on_doubt: {reconcile: {tool: t}}}}\nsteps: {a: {tool: t}}") == [
        ("E401", "the tool `t` is reconciled by itself")
    ]


def test_the_files_own_folder_is_that_of_every_tool_without_one() -> None:
    text = """
        dir: work/${{ run.id }}
        tools:
          t: {shell: {argv: [ls]}, on_doubt: {reconcile: {tool: u}}}
          u: {shell: {argv: [ls]}, dir: "other"}
        steps:
          a: {run: ls}
          b: {tool: t}
          c: {tool: u}
          d: {run: ls, dir: mine}
    """
    graph = graph_of(text)
    folder = graph.dir
    assert isinstance(folder, Text)
    found = {name: node.config.tool for name, node in graph.root.by_name.items() if isinstance(node.config, CallConfig)}
    assert [found[name].dir for name in "abc"] == [folder, folder, Const("other")]
    assert [graph.root.by_name[name].dir for name in "abcd"] == [None, None, None, Const("mine")]
