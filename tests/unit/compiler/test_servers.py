from __future__ import annotations

import pytest

from orchestrator.expr.values import Const, Expression, ListOf, MapOf, Text
from orchestrator.graph.nodes import AgentConfig, CallConfig, ServerDef, ToolDef, graph_from_json, to_json
from tests.unit.compiler.helpers import MODELS, codes, graph_of, node_of, said


def tool_of(tools: str, call: str = "s.one") -> ToolDef:
    config = node_of(
        f"secrets: [KEY]\ninputs: {{d: {{type: string, default: x}}}}\ntools: {tools}\nsteps: {{a: {{tool: {call}}}}}"
    ).config
    assert isinstance(config, CallConfig)
    return config.tool


def test_a_server_over_stdio() -> None:
    tool = tool_of(
        "{s: {mcp: {command: [npx, '${{ inputs.d }}'], tools: [one, two], effect: {one: read}}, timeout: 5s,"
        " env: {TOKEN: '${{ secrets.KEY }}'}, launcher: [nice], dir: out, with: {k: 1}, max_output: 10}}"
    )
    assert (tool.kind, tool.effect, tool.max_output) == ("mcp", "write", 10)
    assert tool.config == {
        "command": ListOf((Const("npx"), Expression("inputs.d"))),
        "env": MapOf({"TOKEN": Expression("secrets.KEY")}),
        "launcher": Const(["nice"]),
    }
    assert tool.server == ServerDef(tools=("one", "two"), effects={"one": "read"}, fixed=("k",))
    assert tool.dir == Const("out")
    assert tool.timeout == Const(5_000_000)


def test_a_server_over_http() -> None:
    tool = tool_of(
        "{s: {mcp: {url: 'https://x.example/${{ inputs.d }}', headers: {Authorization: 'Bearer ${{ secrets.KEY }}'}},"
        " effect: read}}"
    )
    assert tool.config == {
        "url": Text(("https://x.example/", Expression("inputs.d")), "url"),
        "headers": MapOf({"Authorization": Text(("Bearer ", Expression("secrets.KEY")))}),
    }
    assert tool.server == ServerDef(declared=True)
    assert tool.effect == "read"


def test_approval_is_written_as_an_expression_over_the_arguments() -> None:
    tool = tool_of("{s: {mcp: {command: [x], approve: {one: always, two: never, three: args.n > 3}}}}")
    assert tool.server is not None
    assert tool.server.approve == {"one": "true", "two": "false", "three": "args.n > 3"}


def test_a_server_survives_the_json_form() -> None:
    graph = graph_of("tools: {s: {mcp: {command: [x], effect: {one: read}}}}\nsteps: {a: {tool: s.one}}")
    assert graph_from_json(to_json(graph)) == graph


def test_a_server_in_place_names_its_one_tool() -> None:
    config = node_of("steps: {a: {tool: {mcp: {command: [x], tools: [one]}}, with: {any: thing}}}").config
    assert isinstance(config, CallConfig)
    assert config.operation == "one"


@pytest.mark.parametrize("tools", ["", ", tools: [one, two]"])
def test_a_server_in_place_without_one_tool_is_an_error(tools: str) -> None:
    found = said(f"steps: {{a: {{tool: {{mcp: {{command: [x]{tools}}}}}}}}}")
    assert found == [("E233", "a server in place has to say which tool is called")]


def test_a_server_is_not_called_as_a_whole() -> None:
    found = said("tools: {s: {mcp: {command: [x]}}}\nsteps: {a: {tool: s}}")
    assert found == [("E233", "`s` stands for all tools of a server")]


@pytest.mark.parametrize(
    ("body", "use"),
    [
        ("tools: [one]", "two"),
        ("tools: [one], effect: {two: read}", "one"),
        ("tools: [one], approve: {two: always}", "one"),
    ],
)
def test_names_beside_those_of_tools_are_errors(body: str, use: str) -> None:
    assert codes(f"tools: {{s: {{mcp: {{command: [x], {body}}}}}}}\nsteps: {{a: {{tool: s.{use}}}}}") == ["E233"]


@pytest.mark.parametrize(
    ("tool", "code"),
    [
        ("{mcp: {}}", "E109"),
        ("{mcp: {command: [x], url: 'https://x.example'}}", "E109"),
        ("{mcp: {command: [x], headers: {a: b}}}", "E127"),
        ("{mcp: {url: 'https://x.example'}, env: {A: b}}", "E127"),
        ("{mcp: {url: 'https://x.example'}, launcher: [x]}", "E127"),
        ("{mcp: {url: 'https://x.example'}, dir: x}", "E127"),
        ("{mcp: {url: 'https://x.example'}, sandbox: required}", "E127"),
        ("{mcp: {url: 'ftp://x.example'}}", "E107"),
        ("{mcp: {command: ['${{ inputs.d }}']}}", "E126"),
        ("{mcp: {command: [x]}, input: {a: string}}", "E127"),
        ("{mcp: {command: [x]}, output: string}", "E127"),
        ("{mcp: {command: [x, '${{ args.a }}']}}", "E235"),
        ("{mcp: {command: [x, '${{ secrets.KEY }}']}}", "E239"),
    ],
)
def test_what_a_server_cannot_be(tool: str, code: str) -> None:
    text = f"secrets: [KEY]\ninputs: {{d: string}}\ntools: {{s: {tool}}}\nsteps: {{a: {{tool: s.one}}}}"
    found = [one for one in codes(text) if not one.startswith("W")]
    assert found == [code], said(text)


def agent_of(names: str, tools: str = "{s: {mcp: {command: [x]}}}") -> str:
    return f"{MODELS}\ntools: {tools}\nsteps: {{a: {{agent: {{tools: {names}}}, prompt: x}}}}"


def test_an_agent_has_all_tools_of_a_server_or_some() -> None:
    whole = node_of(agent_of("[s]")).config
    some = node_of(agent_of("[s.one, s.get-two, s.a.b]")).config
    assert isinstance(whole, AgentConfig)
    assert isinstance(some, AgentConfig)
    assert whole.agent.operations == {}
    assert some.agent.operations == {"s": ("one", "get-two", "a.b")}
    assert [tool.name for tool in some.agent.tools] == ["s"]


@pytest.mark.parametrize("names", ["[s, s]", "[s, s.one]", "[s.one, s]", "[s.one, s.one]"])
def test_a_tool_of_a_server_stands_once(names: str) -> None:
    assert codes(agent_of(names)) == ["E404"]


@pytest.mark.parametrize(
    ("effect", "code"), [("", ["E403"]), ("effect: {one: read},", []), ("effect: {two: read},", ["E403"])]
)
def test_a_call_that_is_tried_again_has_an_effect_that_the_file_says(effect: str, code: list[str]) -> None:
    text = f"tools: {{s: {{mcp: {{{effect} command: [x]}}}}}}\nsteps: {{a: {{tool: s.one, retry: {{attempts: 2}}}}}}"
    assert codes(text) == code


def scripted(call: str, tools: str = "") -> str:
    return f"""
models: {{default: {{provider: scripted, replies: [{{calls: [{{tool: {call}}}]}}]}}}}
tools: {{s: {{mcp: {{command: [x]{tools}}}}}}}
steps: {{a: {{agent: {{tools: [s]}}, prompt: x}}}}
"""


def test_scripted_calls_name_tools_that_the_server_may_have() -> None:
    assert codes(scripted("s.anything")) == []
    assert codes(scripted("s.one", ", tools: [one]")) == []
    assert codes(scripted("s.two", ", tools: [one]")) == ["E233"]
    assert codes(scripted("s")) == ["E233"]


def test_of_a_server_in_place_that_is_not_known_whole_nothing_more_is_said() -> None:
    assert codes("steps: {a: {tool: {mcp: {command: [x], tols: [one]}}}}") == ["E104"]
