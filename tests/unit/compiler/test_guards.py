"""What stands around a call: a process, a sandbox, approval."""

from __future__ import annotations

import pytest

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import CallConfig, ToolDef
from tests.unit.compiler.helpers import node_of, said


def tool_of(text: str) -> ToolDef:
    config = node_of(text).config
    assert isinstance(config, CallConfig)
    return config.tool


@pytest.mark.parametrize(
    ("fields", "isolated", "sandbox"),
    [
        ("", False, "none"),
        (", isolate: thread", False, "none"),
        (", isolate: process", True, "none"),
        (", isolate: thread, sandbox: none", False, "none"),
        (", sandbox: preferred", True, "preferred"),
        (", isolate: process, sandbox: required", True, "required"),
    ],
)
def test_where_a_function_runs(fields: str, isolated: bool, sandbox: str) -> None:
    tool = tool_of(f"steps:\n  a: {{python: 'os:getpid'{fields}}}\n")
    assert tool.config.get("isolate") == (Const("process") if isolated else None)
    assert tool.sandbox == sandbox


@pytest.mark.parametrize("sandbox", ["none", "preferred", "required"])
def test_a_function_in_a_sandbox_as_a_tool_has_a_process_of_its_own(sandbox: str) -> None:
    tool = tool_of(f"steps:\n  a: {{tool: {{python: 'os:getpid', sandbox: {sandbox}}}}}\n")
    assert ("isolate" in tool.config) == (sandbox != "none")
    assert tool.sandbox == sandbox


def test_the_sandbox_of_scripts_and_programs() -> None:
    assert tool_of("steps:\n  a: {run: x, sandbox: required}\n").sandbox == "required"
    assert tool_of("steps:\n  a: {run: x}\n").sandbox == "none"
    assert tool_of("steps:\n  a: {tool: {shell: {argv: [x]}, sandbox: preferred}}\n").sandbox == "preferred"


@pytest.mark.parametrize("kind", ["http: {url: 'https://x.example'}", "files: {root: .}"])
def test_what_starts_no_program_has_no_sandbox(kind: str) -> None:
    name = kind.partition(":")[0]
    found = said(f"tools:\n  t: {{{kind}, sandbox: required}}\nsteps:\n  a: {{run: x}}\n")
    assert ("E127", f"`sandbox` does not go with `{name}` in a tool") in found


def test_a_sandbox_is_around_a_process() -> None:
    found = said("steps:\n  a: {python: 'os:getpid', isolate: thread, sandbox: required}\n")
    assert [code for code, _ in found] == ["E127"]


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("", None),
        ("approve: never", "false"),
        ("approve: always", "true"),
        ("approve: true", "true"),
        ("approve: args.n > 5", "args.n > 5"),
        ("approve: '${{ args.n > 5 }}'", "args.n > 5"),
    ],
)
def test_when_a_call_has_to_be_approved(written: str, source: str | None) -> None:
    text = f"tools:\n  t: {{shell: {{argv: [x]}}, input: {{n: integer}}, {written}}}\n"
    tool = tool_of(f"{text}steps:\n  a: {{tool: t, with: {{n: 1}}}}\n")
    assert tool.approve == source


FILES = "files: {root: ., operations: [read, write]}"
FINDS = "files: {root: ., operations: [glob]}"
SHELL = "shell: {argv: [x]}, input: {cmd: string}, with: {n: 1}"
SERVER = "mcp: {command: [x]}"
SOME = "mcp: {command: [x], tools: [make_it]}"


def rules(kind: str, rule: str) -> list[tuple[str, str]]:
    found = said(f"tools:\n  t: {{{kind}, deny: [{rule!r}]}}\nsteps:\n  a: {{run: x}}\n")
    return [(code, message) for code, message in found if code != "W502"]


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (SHELL, "t"),
        (SHELL, "*"),
        (SHELL, "t(cmd: git *, n: 1)"),
        ("shell: {argv: [x]}", "t(anything: x)"),
        (FILES, "t.*(path: out/*)"),
        (FILES, "t.write(path: a, content: b)"),
        (FINDS, "t.glob(path: out/*)"),
        (SERVER, "t.make-it(any: x)"),
        (SERVER, "*"),
        (SOME, "t.make_it(any: x)"),
        (SOME, "t.make*"),
    ],
)
def test_rules_that_mean_a_call(kind: str, rule: str) -> None:
    assert rules(kind, rule) == []


@pytest.mark.parametrize(
    ("kind", "rule", "code", "message"),
    [
        (SHELL, "u", "E233", "unknown tool in a rule `u`"),
        (SHELL, "t(cmdd: x)", "E243", "unknown argument of `t` `cmdd`"),
        (SHELL, "t(cmd)", "E480", "this is no rule: 'cmd' is not of the form `argument: pattern`"),
        (SHELL, "t(cmd: ${{ x }})", "E126", ""),
        (FILES, "t", "E233", "unknown tool in a rule `t`"),
        (FILES, "t.grep", "E233", "unknown tool in a rule `t.grep`"),
        (FILES, "t.read(content: x)", "E243", "unknown argument of `t.read` `content`"),
        (SERVER, "u.make", "E233", "unknown tool in a rule `u.make`"),
        (SOME, "t.other", "E233", "unknown tool in a rule `t.other`"),
    ],
)
def test_rules_that_mean_nothing(kind: str, rule: str, code: str, message: str) -> None:
    ((found, sentence),) = rules(kind, rule)
    assert found == code
    assert message in sentence


def test_rules_of_a_tool_are_kept_in_order() -> None:
    tool = tool_of(
        f"tools:\n  t: {{{SHELL}, allow: [t, '*'], deny: ['t(cmd: x)']}}\nsteps:\n  a: {{tool: t, with: {{cmd: x}}}}\n"
    )
    assert (tool.allow, tool.deny) == (("t", "*"), ("t(cmd: x)",))
