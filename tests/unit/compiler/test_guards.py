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
