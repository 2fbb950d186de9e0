"""Tools of the file -> ``ToolDef``: what performers are given, and what callers may send."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.agents.results import HTTP_OUTPUT, SHELL_OUTPUT
from orchestrator.compiler.constants import check_names, check_shell, check_url
from orchestrator.compiler.drafts import Call, ToolDraft
from orchestrator.compiler.permissions import approve_of, check_rules
from orchestrator.compiler.servers import server_config, server_of
from orchestrator.expr.values import Const
from orchestrator.frozen import field, slotted
from orchestrator.graph.nodes import OnDoubt, ServerDef, ToolDef
from orchestrator.spec import tools as written
from orchestrator.spec.types import (
    ANY,
    NO_DEFAULT,
    ObjectType,
    Type,
    facets_of,
    from_schema,
    may_be_null,
    to_schema,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.report import Path
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.expr.values import Value
    from orchestrator.graph.nodes import Effect
    from orchestrator.spec.tools import HttpBody, ToolBase, ToolUse

READING: Final = ("read", "list", "glob", "grep")
ANYTHING: Final = ObjectType({}, closed=False)
NOTHING: Final = ObjectType({})
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "env": ("shell", "mcp"),
    "launcher": ("shell", "mcp"),
    "sandbox": ("python", "shell", "mcp"),
    "input": ("python", "shell", "http", "sql", "pipeline", "ask"),
    "output": ("python", "shell", "http", "sql", "pipeline", "ask"),
    "with_": ("python", "shell", "http", "mcp", "sql", "pipeline", "ask"),
}
"""Fields that not every kind of tool has a use for."""
_CHAIN: Final = 64
_BY_METHOD: Final[Mapping[str, Effect]] = {"GET": "read", "HEAD": "read", "PUT": "idempotent", "DELETE": "idempotent"}


@slotted
class Toolbox:
    """The tools of one file, each named one lowered once, where it is first referred to.

    ``folder`` is the file's own: of every tool that names none, where its step does not either. ``built_in`` names the
    tools that agents of the file have for what they keep.
    """

    resolved: Resolved
    place: Place
    folder: Value | None = None
    calls: list[Call] = field(default_factory=list[Any])
    named: dict[str, ToolDraft] = field(default_factory=dict[Any, Any])
    opened: set[str] = field(default_factory=set[Any])
    built_in: set[str] = field(default_factory=set[Any])

    def refer(self, text: str, at: Path) -> tuple[ToolDraft, str | None] | None:
        """The tool of a reference, ``name`` or ``name.operation``; None where there is none, which is said.

        None too where it is not known what it takes and gives.
        """
        name, _, operation = text.partition(".")
        tool = self.resolved.find("tools", name, at)
        if tool is None:
            return None
        draft = self.named.get(name)
        if draft is None:
            if name in self.opened:
                self.resolved.report.error("E401", f"the tool `{name}` is reconciled by itself", at)
                return None
            if len(self.opened) - len(self.named) >= _CHAIN:
                self.resolved.report.error("E116", f"over {_CHAIN} tools that reconcile one another", at)
                return None
            self.opened.add(name)
            draft = self.named[name] = self.lower(tool, self.place, name)
        if self.resolved.report.vague(tool.at):
            return None
        if not operation:
            return draft, None
        server = draft.definition.server
        known = list(draft.definition.operations) if server is None else server.tools
        if known is not None and operation not in known:
            what = "operation" if server is None else f"tool of `{name}`"
            self.resolved.report.unknown("E233", what, operation, known, at)
            return None
        return draft, operation

    def use(self, text: str | ToolBase, at: Path, place: Place, kind: str) -> tuple[ToolDraft, str | None] | None:
        """The tool of a step: named, or defined in place."""
        if not isinstance(text, str):
            lowered = self.lower(text, place, kind)
            if self.resolved.report.vague(text.at):
                return None
            return self._only_one(lowered, at) if lowered.definition.server is not None else (lowered, None)
        found = self.refer(text, at)
        if found is not None and found[1] is None and found[0].definition.server is not None:
            hint = f"write `{text}.NAME`, with the name of one of them"
            self.resolved.report.error("E233", f"`{text}` stands for all tools of a server", at, hint=hint)
            return None
        if found is not None and found[1] is None and found[0].definition.kind == "files":
            known = ", ".join(f"`{text}.{one}`" for one in found[0].definition.operations)
            self.resolved.report.error("E233", f"`{text}` has several operations", at, hint=f"write one of {known}")
            return None
        return found

    def _only_one(self, lowered: ToolDraft, at: Path) -> tuple[ToolDraft, str | None] | None:
        """The one tool of a server that stands in place."""
        match lowered.definition.server:
            case ServerDef(tools=(name,)):
                return lowered, name
            case _:
                hint = "name the one that is called: `tools: [NAME]`"
                self.resolved.report.error("E233", "a server in place has to say which tool is called", at, hint=hint)
                return None

    def lower(self, tool: ToolBase, place: Place, name: str) -> ToolDraft:
        """One definition. ``place`` is where it stands; a named tool sees no step."""
        self._check_fields(tool)
        given, output = self._signature(tool)
        if self.resolved.report.vague(tool.at):
            given, output = None, None
        fixed = frozenset(tool.with_ or {})
        visible = None if given is None else without(given, fixed)
        seen = ANY if visible is None else replace(visible, fields={**visible.fields, **dict.fromkeys(fixed, ANY)})
        inner = place.seeing({"args": seen})
        definition = ToolDef(
            name=name,
            kind=_kind(tool),
            effect=tool.effect or _effect(tool),
            description=tool.description or "",
            input=None if visible is None else to_schema(visible),
            output=None if tool.output is None or output is None else to_schema(output),
            fixed=self._fixed(tool, inner, given),
            config=server_config(tool, place, self.resolved)
            if isinstance(tool, written.McpTool)
            else self._config(tool, inner),
            on_doubt=self.on_doubt(tool.on_doubt, (*tool.at, "on_doubt"), inner),
            timeout=None if tool.timeout is None else place.duration(tool.timeout, (*tool.at, "timeout")),
            max_output=tool.max_output or 65536,
            dir=self.folder if tool.dir is None else inner.text(tool.dir, (*tool.at, "dir")),
            operations=self._operations(tool),
            sandbox=tool.sandbox or "none",
            approve=approve_of(tool, inner),
            allow=tuple(tool.allow or ()),
            deny=tuple(tool.deny or ()),
            server=server_of(tool, inner) if isinstance(tool, written.McpTool) else None,
        )
        check_rules(tool, definition, given, inner)
        return ToolDraft(definition=definition, input=visible, output=output, fixed=fixed)

    def _check_fields(self, tool: ToolBase) -> None:
        """Nothing that is written is ignored: a field that the kind has no use for is an error."""
        kind = _kind(tool)
        for name, kinds in _FIELDS.items():
            if name in tool.given and kind not in kinds:
                shown = name.removesuffix("_")
                message = f"`{shown}` does not go with `{kind}` in a tool"
                self.resolved.report.error("E127", message, (*tool.at, shown), key=True)

    def _signature(self, tool: ToolBase) -> tuple[ObjectType | None, Type | None]:
        """What may be given and what comes back, as the definition or the function says."""
        given = None if tool.input is None else self.arguments(tool.input, (*tool.at, "input"))
        output = self.resolved.maybe_type(tool.output, (*tool.at, "output"))
        match tool:
            case written.PythonTool():
                at = (*tool.at, "python")
                known, returns = self.function(tool.python, at)
                if given is not None and known is not None:
                    self._match(tool.python, at, {*given.fields, *(tool.with_ or {})}, known)
                return given or known, output or returns
            case written.ShellTool():
                return given, output or SHELL_OUTPUT
            case written.HttpTool():
                return given, output or HTTP_OUTPUT
            case _:
                return given, output

    def arguments(self, data: Mapping[str, Any], at: Path) -> ObjectType:
        """The object of named arguments; one that may be null, or has a default, may be left out."""
        fields: dict[str, Type] = {}
        optional: set[str] = set()
        for key, item in data.items():
            name = key.removesuffix("?")
            found = self.resolved.type_at(item, (*at, key))
            if name != key or may_be_null(found) or facets_of(found).default is not NO_DEFAULT:
                optional.add(name)
            fields[name] = without_null(found) if name in optional else found
        return ObjectType(fields, frozenset(optional))

    def _fixed(self, tool: ToolBase, place: Place, given: ObjectType | None) -> Value | None:
        if tool.with_ is None:
            return None
        at = (*tool.at, "with")
        value = place.value(tool.with_, at)
        if given is not None:
            # What models do not see need not stand in `input`.
            wanted = replace(given, optional=frozenset(given.fields), closed=False)
            self.calls.append(Call(tool=_kind(tool), at=at, input=wanted, args=place.sites[-1]))
        return value

    def on_doubt(self, said: Any, at: Path, place: Place) -> OnDoubt:
        """What a resume does in doubt; a tool that can tell sees the arguments of the call."""
        if said is None:
            return OnDoubt()
        if isinstance(said, str):
            return OnDoubt(mode=cast("Any", said))
        use: ToolUse = said.reconcile
        found = self.use(use.tool, (*use.at, "tool"), place, "reconcile")
        if found is None:
            return OnDoubt(mode="reconcile")
        args = None if use.with_ is None else place.value(use.with_, (*use.at, "with"))
        if args is not None:
            self.calls.append(self.call(found, at, place.sites[-1]))
        return OnDoubt(mode="reconcile", tool=found[0].definition, args=args)

    def call(self, found: tuple[ToolDraft, str | None], at: Path, args: Any) -> Call:
        """A use of a tool with some arguments, for the checks."""
        draft, operation = found
        name = draft.definition.name
        if draft.definition.server is not None:
            return Call(tool=f"{name}.{operation}", at=at, input=ANYTHING, args=args)
        if operation is not None:
            schema = from_schema(FILE_OPERATIONS[operation].input)
            return Call(tool=f"{name}.{operation}", at=at, input=cast("ObjectType", schema), args=args)
        if draft.input is not None or args is None or not isinstance(args.tree, dict):
            return Call(tool=name, at=at, input=ANYTHING if draft.input is None else draft.input, args=args)
        for key in sorted(draft.fixed & args.tree.keys()):
            self.resolved.report.error("E404", f"`{name}` fixes the argument `{key}` itself", (*at, key), key=True)
        return Call(tool=name, at=at, input=ANYTHING, args=args)

    def function(self, ref: str, at: Path) -> tuple[ObjectType | None, Type | None]:
        """The parameters and the result of a python function, as far as its source tells."""
        report, inspect = self.resolved.report, self.resolved.inspect
        if inspect is None:
            return None, None
        found = inspect(ref, [str(report.loaded.folder_of(at))])
        if not found["found"]:
            report.error("E246", f"`{ref}` is not there: {found['problem']}", at, hint=_BESIDE)
            return None, None
        returns = None if found["returns"] is None else from_schema(found["returns"])
        if found["params"] is None:
            return None, returns
        fields = {one["name"]: ANY if one["schema"] is None else from_schema(one["schema"]) for one in found["params"]}
        optional = frozenset(one["name"] for one in found["params"] if not one["required"])
        return ObjectType(fields, optional, closed=not found["extra"]), returns

    def _match(self, ref: str, at: Path, given: set[str], known: ObjectType) -> None:
        """Declared and fixed arguments against the parameters of the function."""
        report = self.resolved.report
        for name in sorted(given):
            if known.closed and name not in known.fields:
                report.unknown("E246", f"parameter of `{ref}`", name, known.fields, at)
        for name in known.fields:
            if name not in known.optional and name not in given:
                report.error("E246", f"`{ref}` needs `{name}`, which neither `input` nor `with` has", at)

    def _operations(self, tool: ToolBase) -> dict[str, Effect]:
        if not isinstance(tool, written.FilesTool):
            return {}
        return {name: tool.effect or FILE_OPERATIONS[name].effect for name in tool.files.operations or READING}

    def _config(self, tool: ToolBase, place: Place) -> dict[str, Value]:
        match tool:
            case written.PythonTool():
                config = python_config(tool.python, (*tool.at, "python"), self.resolved)
                # A sandbox is around a process.
                return config if tool.sandbox in (None, "none") else {**config, "isolate": Const("process")}
            case written.ShellTool():
                body = tool.shell
                config: dict[str, Value] = {}
                if body.argv is not None:
                    config["argv"] = place.value(body.argv, (*body.at, "argv"))
                if body.script is not None:
                    config["script"] = Const(body.script)
                shared = {"env": tool.env, "launcher": tool.launcher}
                return {
                    **config,
                    **command(body, body.at, place),
                    **command_around(shared, tool.at, place, self.resolved),
                    **({} if body.rlimits is None else {"rlimits": Const(body.rlimits)}),
                    "json": Const(tool.output is not None),
                }
            case written.HttpTool():
                return self._http(tool.http, place) | {"output_json": Const(tool.output is not None)}
            case written.FilesTool():
                size: dict[str, Value] = {} if tool.files.max_size is None else {"max_size": Const(tool.files.max_size)}
                return {"root": place.text(tool.files.root, (*tool.files.at, "root")), **size}
            case _:
                return {}

    def _http(self, body: HttpBody, place: Place) -> dict[str, Value]:
        at = body.at
        secret = place.seeing({"secrets": self.resolved.secret_types})
        config: dict[str, Value] = {"url": secret.text(body.url, (*at, "url"), encode="url")}
        check_url(place.report, config["url"], (*at, "url"))
        if body.method is not None:
            config["method"] = Const(body.method)
        for key, data in (("query", body.query), ("headers", body.headers)):
            if data is not None:
                config[key] = secret.value(data, (*at, key))
        if body.auth is not None:
            shown = {"basic": body.auth.basic} if body.auth.basic is not None else {"bearer": body.auth.bearer}
            config["auth"] = secret.value(shown, (*at, "auth"))
        for key, data in (("json", body.json_), ("body", body.body)):
            if data is not None:
                config[key] = place.value(data, (*at, key))
        expect = body.expect if body.expect is None or isinstance(body.expect, list) else [body.expect]
        for key, data in (("expect", expect), ("allow_private", body.allow_private), ("follow", body.follow)):
            if data is not None:
                config[key] = Const(data)
        return config


_BESIDE: Final = "a function is looked for in the environment, then in the folder of the file that names it"


def without(given: ObjectType, names: frozenset[str]) -> ObjectType:
    """An object without some of its fields."""
    return replace(given, fields={key: item for key, item in given.fields.items() if key not in names})


def python_config(ref: str, at: Path, resolved: Resolved) -> dict[str, Value]:
    """The request of a python function."""
    return {"ref": Const(ref), "search": Const([str(resolved.report.loaded.folder_of(at))])}


def command(body: Any, at: Path, place: Place) -> dict[str, Value]:
    """What ``run`` steps and ``shell`` tools have in common: ``args stdin shell expect``."""
    config: dict[str, Value] = {}
    for key, data in (("args", body.args), ("stdin", body.stdin)):
        if data is not None:
            config[key] = place.value(data, (*at, key))
    check_shell(place.report, body.shell, (*at, "shell"))
    for key, data in (("shell", body.shell), ("expect", body.expect)):
        if data is not None:
            config[key] = Const(data)
    return config


def command_around(given: Mapping[str, Any], at: Path, place: Place, resolved: Resolved) -> dict[str, Value]:
    """``env``, in which secrets may stand, and ``launcher``."""
    config: dict[str, Value] = {}
    env, launcher = given["env"], given["launcher"]
    if isinstance(env, list):
        config["env_names"] = Const(cast("list[str]", env))
        resolved.report.used.update(("secrets", name) for name in cast("list[str]", env))
    elif env is not None:
        check_names(resolved.report, cast("dict[str, Any]", env), (*at, "env"))
        config["env"] = place.seeing({"secrets": resolved.secret_types}).value(env, (*at, "env"))
    if launcher is not None:
        config["launcher"] = place.value(launcher, (*at, "launcher"))
    return config


def _kind(tool: ToolBase) -> str:
    return next(kind for kind in written.TOOL_KINDS if kind in tool.given)


def _effect(tool: ToolBase) -> Effect:
    match tool:
        case written.HttpTool():
            body = tool.http
            default = "GET" if body.json_ is None and body.body is None else "POST"
            return _BY_METHOD.get(body.method or default, "write")
        case written.FilesTool():
            return "idempotent" if {"write", "edit"} & set(tool.files.operations or READING) else "read"
        case _:
            return "write"
