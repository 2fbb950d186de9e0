"""Tools, as a pipeline file declares them: one kind each, and what all kinds share."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from orchestrator.spec.fields import (
    Command,
    Count,
    DurationOrText,
    Effect,
    Env,
    Expr,
    FixedText,
    FullText,
    Function,
    Launcher,
    Positive,
    Prompt,
    Sandbox,
    Script,
    Statement,
    Text,
    ToolName,
    Type,
)
from orchestrator.spec.model import (
    BY_SHAPE,
    FLAG,
    LIST,
    MAP,
    NUMBER,
    TEXT,
    Bound,
    Model,
    Named,
    Tag,
    Told,
    refuse,
    rule,
    shape,
)

Status: TypeAlias = Annotated[int, Bound(ge=100, le=599)]
StatusClass: TypeAlias = Literal["1xx", "2xx", "3xx", "4xx", "5xx"]
ExpectedStatus: TypeAlias = Annotated[
    Annotated[Status, NUMBER] | Annotated[StatusClass, TEXT],
    BY_SHAPE,
]
Operation: TypeAlias = Literal["read", "list", "glob", "grep", "write", "edit"]


class ToolUse(Model):
    """A call of a tool, without a step around it."""

    tool: ToolOrName
    with_: dict[str, Any] | None = None


class Reconcile(Model):
    """How a doubt is settled: by a tool that can tell."""

    reconcile: ToolUse


OnDoubt: TypeAlias = Annotated[
    Annotated[Literal["ask", "retry", "fail"], TEXT] | Annotated[Reconcile, MAP],
    BY_SHAPE,
    Named("OnDoubt"),
]


class ToolBase(Model):
    """What every kind of tool takes."""

    description: str | None = None
    """What it is for, for models and people."""
    input: dict[str, Type] | None = None
    """Names and types of its arguments."""
    output: Type = None
    with_: dict[str, Any] | None = None
    """Fixed arguments, which models do not see."""
    timeout: DurationOrText | None = None
    approve: Expr | None = None
    """`never`, `always`, or an expression over `args`."""
    sandbox: Sandbox | None = None
    launcher: Launcher | None = None
    """Put before the command."""
    allow: list[FixedText] | None = None
    """Calls that need no approval: `tool(argument: pattern)`. Without `approve`, no others are made."""
    deny: list[FixedText] | None = None
    """Calls that are never made."""
    max_output: Positive | None = None
    """Bytes of a result that an agent gets at once; 65,536 by default."""
    dir: Text | None = None
    env: Env | None = None
    effect: Effect | None = None
    """What a second call would do."""
    on_doubt: OnDoubt | None = None


class PythonTool(ToolBase):
    """A function of Python."""

    python: Function


class ShellBody(Model, one=("argv", "script")):
    """A command, or a script."""

    argv: Command | None = None
    script: Script | None = None
    args: list[Any] | None = None
    stdin: Any = None
    shell: Shell | None = None
    expect: list[int] | None = None
    rlimits: dict[str, Count] | None = None

    @rule
    def _command(self) -> None:
        if self.argv is not None:
            for name in ("args", "shell"):
                if name in self.given:
                    raise refuse("E127", f"`{name}` goes with `script`, not with `argv`", name)


class ShellTool(ToolBase):
    """A command or a script."""

    shell: ShellBody


class Auth(Model, one=("basic", "bearer")):
    """One way to say who asks."""

    basic: Annotated[list[Text], Bound(least=2, most=2)] | None = None
    """User and password."""
    bearer: Text | None = None


class HttpBody(Model):
    """A request."""

    url: FullText
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] | None = None
    query: dict[str, Any] | None = None
    headers: dict[str, Text] | None = None
    auth: Auth | None = None
    json_: Any = None
    body: Any = None
    expect: Expected | None = None
    allow_private: AllowPrivate | None = None
    follow: Follow | None = None

    @rule
    def _one_body(self) -> None:
        if {"json_", "body"} <= self.given:
            raise refuse("E127", "`json` and `body` do not go together", "body")


class HttpTool(ToolBase):
    """A request over HTTP."""

    http: HttpBody


class FilesBody(Model):
    """Files under one folder."""

    root: FullText
    operations: list[Operation] | None = None
    max_size: Positive | None = None
    """Bytes of a file that is read or written."""


class FilesTool(ToolBase):
    """Operations on files under one folder."""

    files: FilesBody


class McpBody(Model, one=("command", "url")):
    """A server of the Model Context Protocol."""

    command: Command | None = None
    url: FullText | None = None
    headers: dict[str, Text] | None = None
    tools: Annotated[list[FixedText], Bound(least=1)] | None = None
    """Those of its tools that may be used; all by default."""
    effect: dict[str, Effect] | None = None
    approve: dict[str, Expr] | None = None

    @rule
    def _own_headers(self) -> None:
        if self.command is not None and self.headers is not None:
            raise refuse("E127", "`headers` goes with `url`, not with `command`", "headers")


class McpTool(ToolBase):
    """The tools of a server."""

    mcp: McpBody


class SqlBody(Model):
    """A statement whose values are bound by name."""

    statement: Statement
    store: Text | None = None


class SqlTool(ToolBase):
    """A statement of SQL."""

    sql: SqlBody


class PipelineTool(ToolBase):
    """Another pipeline."""

    pipeline: FixedText


class AskToolBody(Model, one=("choices", "schema")):
    """A question to a person."""

    message: Prompt
    choices: Choices | None = None
    schema_: Type = None


class AskTool(ToolBase):
    """A question that an agent may put to a person."""

    ask: AskToolBody


Shell: TypeAlias = Annotated[
    Annotated[FixedText, TEXT] | Annotated[Annotated[list[FixedText], Bound(least=1)], LIST],
    BY_SHAPE,
]
"""`bash`, `sh` or `python3`, or an argv that gets the script as a file at `{0}`."""

Choices: TypeAlias = Annotated[
    Annotated[FullText, TEXT] | Annotated[Annotated[list[str], Bound(least=1)], LIST],
    BY_SHAPE,
]
"""Texts to choose from, or an expression that gives them."""

Expected: TypeAlias = Annotated[
    Annotated[Status, NUMBER] | Annotated[StatusClass, TEXT] | Annotated[list[ExpectedStatus], LIST],
    BY_SHAPE,
]
AllowPrivate: TypeAlias = Annotated[
    Annotated[bool, FLAG] | Annotated[list[FixedText], LIST],
    BY_SHAPE,
]
Follow: TypeAlias = Annotated[
    Annotated[bool, FLAG] | Annotated[Count, NUMBER],
    BY_SHAPE,
]
"""Whether redirects are followed, or how many."""

TOOL_KINDS: Final = ("python", "shell", "http", "files", "mcp", "sql", "pipeline", "ask")


def tool_kind(value: Any) -> str:
    """The tag of a tool's definition: its kind, where it has exactly one."""
    if not isinstance(value, dict):
        return shape(value)
    kinds = [kind for kind in TOOL_KINDS if kind in value]
    return "\0" + kinds[0] if len(kinds) == 1 else "\0tool kinds"


Tool: TypeAlias = Annotated[
    Annotated[PythonTool, Tag("\0python")]
    | Annotated[ShellTool, Tag("\0shell")]
    | Annotated[HttpTool, Tag("\0http")]
    | Annotated[FilesTool, Tag("\0files")]
    | Annotated[McpTool, Tag("\0mcp")]
    | Annotated[SqlTool, Tag("\0sql")]
    | Annotated[PipelineTool, Tag("\0pipeline")]
    | Annotated[AskTool, Tag("\0ask")],
    Told(tool_kind),
    Named("Tool"),
]

ToolOrName: TypeAlias = Annotated[
    Annotated[ToolName, TEXT] | Annotated[Tool, MAP],
    BY_SHAPE,
    Named("ToolOrName"),
]
