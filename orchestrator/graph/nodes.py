"""The compiled, frozen form of a pipeline: what the engine decides on, and what a run stores.

Nothing here needs YAML or the models of a file: a resume reads a graph back from its JSON form alone. Text with
expressions in it stands as compiled values (``orchestrator.expr.values``); bare expressions (``if``, ``map``,
``switch``, ``key``) as their source. Times are integer microseconds, sizes bytes. Every type of the language has become
a JSON Schema.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

from orchestrator.expr import values
from orchestrator.frozen import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.expr.values import Value
    from orchestrator.graph.fingerprint import Stored

Schema: TypeAlias = "dict[str, Any]"
Effect: TypeAlias = Literal["read", "idempotent", "write"]
GRAPH_FORMAT = 1


@frozen(kw_only=True)
class Retry:
    """``attempts`` is the total. ``on`` holds classes and HTTP statuses; empty: every class that may be retried."""

    attempts: Value
    delay: int = 1_000_000
    backoff: float = 2.0
    max_delay: int = 60_000_000
    on: tuple[str | int, ...] = ()


@frozen(kw_only=True)
class OnDoubt:
    """What a resume does with a ``write`` whose end was never recorded."""

    mode: Literal["ask", "retry", "fail", "reconcile"] = "ask"
    tool: ToolDef | None = None
    args: Value | None = None


@frozen(kw_only=True)
class BudgetDef:
    """Bounds of what a part of a run may spend, each None where there is none.

    ``usd`` in micro-dollars, ``time`` and ``deadline`` in microseconds.
    """

    usd: int | None = None
    tokens: int | None = None
    time: int | None = None
    deadline: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    agents: int | None = None
    depth: int | None = None
    on_exceed: Literal["fail", "pause", "finish"] | None = None


@frozen(kw_only=True)
class ServerDef:
    """What a file says of the single tools of an MCP server.

    ``tools`` are those that may be used (None: all that it lists), ``effects`` and ``approve`` what holds for some;
    ``declared``: the definition's own effect holds for the others, else the server's hints do. ``fixed`` names the
    arguments that callers do not give.
    """

    tools: tuple[str, ...] | None = None
    effects: Mapping[str, Effect] = field(default_factory=dict[str, Effect])
    approve: Mapping[str, str] = field(default_factory=dict[str, str])
    declared: bool = False
    fixed: tuple[str, ...] = ()


@frozen(kw_only=True)
class ToolDef:
    """One tool, named or defined in place (``run`` and ``python`` steps are tools in place, of kinds shell and python).

    ``config`` holds the kind's own keys as values; the engine renders each, and adds ``args`` (the caller's, checked
    against ``input``, then overlaid by ``fixed``) to make the performer's request. A tool in place sees what its
    step sees; ``args inputs run secrets`` are what a named one sees. ``operations``: those of a ``files`` tool, with
    their effects. ``approve`` is the source of an expression over ``args`` (None: never), ``allow`` and ``deny`` are
    patterns over name and arguments. ``server``: this stands for all tools of an MCP server, of which a call's
    ``operation`` is one; None where it is resolved to that one.
    """

    name: str
    kind: str
    effect: Effect = "write"
    description: str = ""
    input: Schema | None = None
    output: Schema | None = None
    fixed: Value | None = None
    config: Mapping[str, Value] = field(default_factory=dict[str, "Value"])
    on_doubt: OnDoubt = field(default_factory=OnDoubt)
    timeout: Value | None = None
    max_output: int = 65536
    dir: Value | None = None
    operations: Mapping[str, Effect] = field(default_factory=dict[str, Effect])
    approve: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    sandbox: Literal["none", "preferred", "required"] = "none"
    server: ServerDef | None = None


@frozen(kw_only=True)
class ModelDef:
    """An entry of ``models``: ``settings`` are its keys as values (``replies`` of a scripted one as one constant).

    ``chain`` of a ``fallback``: the models that it stands for, in order, none of them a fallback itself.
    """

    name: str
    settings: Mapping[str, Value]
    chain: tuple[ModelDef, ...] = ()


@frozen(kw_only=True)
class DelegateDef:
    """Another agent, by its name in ``Graph.agents``, that the agent may call as a tool."""

    max_calls: Value | None = None
    budget: BudgetDef | None = None
    context: Literal["none", "summary", "full"] = "none"


@frozen(kw_only=True)
class HandoffDef:
    """Another agent, by its name in ``Graph.agents``, that the agent may pass control to."""

    returns: bool = False


@frozen(kw_only=True)
class SpawnDef:
    """Bounds of agents that the agent makes at run time, and what these may have."""

    tools: tuple[ToolDef, ...] = ()
    operations: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    models: tuple[ModelDef, ...] = ()
    max_agents: Value | None = None
    depth: Value | None = None
    budget: BudgetDef | None = None


@frozen(kw_only=True)
class PlanDef:
    """Bounds of steps that the agent writes at run time; empty ``kinds``: all that a plan may have."""

    kinds: tuple[str, ...] = ()
    max_steps: Value | None = None
    budget: BudgetDef | None = None


@frozen(kw_only=True)
class ContextDef:
    """How a long conversation is made shorter: to at most ``max_tokens``, the last ``keep`` messages as they are."""

    max_tokens: int
    keep: int | None = None
    strategy: Literal["summarize", "drop"] = "summarize"
    model: ModelDef | None = None


@frozen(kw_only=True)
class MemoryDef:
    """Facts over runs, in the store, under ``scope``."""

    scope: str
    recall: bool = True
    remember: bool = True


@frozen(kw_only=True)
class SkillDef:
    """What ``SKILL.md`` of a folder says; ``files`` are the others beside it, by relative path."""

    name: str
    description: str
    text: str
    files: tuple[str, ...] = ()


@frozen(kw_only=True)
class HooksDef:
    """Functions as ``module:function``, and the absolute folders where they are looked for."""

    before_model: str | None = None
    after_model: str | None = None
    before_tool: str | None = None
    after_tool: str | None = None
    search: tuple[str, ...] = ()


@frozen(kw_only=True)
class AgentDef:
    """A model, instructions and tools in a loop. ``turns`` bounds its model calls. ``share`` names boards."""

    name: str
    model: ModelDef
    instructions: Value | None = None
    description: str = ""
    tools: tuple[ToolDef, ...] = ()
    operations: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    output: Schema | None = None
    turns: Value = field(default_factory=lambda: values.Const(24))
    parallel_tools: bool = True
    budget: BudgetDef | None = None
    delegates: Mapping[str, DelegateDef] = field(default_factory=dict[str, DelegateDef])
    handoffs: Mapping[str, HandoffDef] = field(default_factory=dict[str, HandoffDef])
    spawn: SpawnDef | None = None
    plan: PlanDef | None = None
    context: ContextDef | None = None
    memory: MemoryDef | None = None
    skills: tuple[SkillDef, ...] = ()
    share: tuple[str, ...] = ()
    notes: bool = False
    todo: Literal["", "own", "shared"] = ""
    hooks: HooksDef | None = None


@frozen(kw_only=True)
class CallConfig:
    """Steps ``tool``, ``run`` and ``python``: one call. ``operation`` is that of a ``files`` tool."""

    tool: ToolDef
    args: Value | None = None
    operation: str | None = None


@frozen(kw_only=True)
class AgentConfig:
    """An ``agent`` step. ``prompt`` is a ``Prompt`` or text value."""

    agent: AgentDef
    prompt: Value | None = None


@frozen(kw_only=True)
class Join:
    """``settled`` with ``min_success`` asks for that many good ends."""

    mode: Literal["all", "settled"] = "all"
    min_success: Value | None = None


@frozen(kw_only=True, slots=False)
class Block:
    """The steps of one scope. ``finally_`` run when the others have ended; their names share the scope."""

    nodes: tuple[Node, ...]
    finally_: tuple[Node, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in (*self.nodes, *self.finally_)}

    @cached_property
    def dependents(self) -> dict[str, tuple[Node, ...]]:
        """For each name, the nodes of this scope that wait for it."""
        out: dict[str, list[Node]] = {}
        for node in (*self.nodes, *self.finally_):
            for name in node.needs:
                out.setdefault(name, []).append(node)
        return {name: tuple(found) for name, found in out.items()}


@frozen(kw_only=True)
class GroupConfig:
    """A ``steps`` group. ``outputs`` None: an object of its steps' outputs."""

    block: Block
    outputs: Value | None = None
    join: Join = field(default_factory=Join)


@frozen(kw_only=True)
class MapConfig:
    """One activation of ``do`` (whose name is empty) per item of ``over``."""

    over: str
    do: Node
    as_: str = "item"
    key: str | None = None
    concurrency: Value = field(default_factory=lambda: values.Const(8))
    max_items: Value = field(default_factory=lambda: values.Const(1000))
    join: Join = field(default_factory=Join)


@frozen(kw_only=True)
class SwitchConfig:
    """Keys compare as text. The nodes of the cases have empty names."""

    on: str
    cases: Mapping[str, Node]
    otherwise: Node | None = None


@frozen(kw_only=True)
class SetConfig:
    """``values`` is a ``MapOf`` whose fields do not see each other."""

    values: Value


@frozen(kw_only=True)
class FailConfig:
    """Fails its scope."""

    message: Value
    code: Value | None = None
    status: Value | None = None
    detail: Value | None = None


Config: TypeAlias = "CallConfig | AgentConfig | GroupConfig | MapConfig | SwitchConfig | SetConfig | FailConfig"


@frozen(kw_only=True)
class Node:
    """One step as compiled.

    ``id`` is its place in the graph (``read/do/inner``, ``route/@case:high``, ``fetch/@error``), unique; ``kind``
    the key of the language (``agent tool run python steps map set fail switch``); ``needs`` the siblings of the same
    block that it waits for (references, ``needs``, ``order``), sorted; ``output`` the schema that a result must fit,
    ``lenient`` True where fields beyond a closed type are dropped (what comes from outside models); ``at`` is
    ``file:line:column``, for people, and no part of ``definition``, the hash of the node's own text after
    resolution, without its name, needs and inner nodes.
    """

    name: str
    id: str
    kind: str
    config: Config
    needs: tuple[str, ...] = ()
    condition: str | None = None
    retry: Retry | None = None
    timeout: Value | None = None
    on_error: Literal["fail", "continue", "step"] = "fail"
    fallback: Node | None = None
    budget: BudgetDef | None = None
    output: Schema | None = None
    lenient: bool = False
    dir: Value | None = None
    description: str = ""
    definition: str = ""
    at: str = ""


@frozen(kw_only=True)
class InputDef:
    """An input. ``default`` means something only where ``has_default``; ``env`` names a variable that wins over it."""

    name: str
    schema: Schema
    required: bool = True
    has_default: bool = False
    default: Any = None
    env: str | None = None
    description: str = ""
    is_file: bool = False


@frozen(kw_only=True)
class SecretDef:
    """A secret by name; its value comes from the environment or a file, and is no part of the graph."""

    name: str
    optional: bool = False


@frozen(kw_only=True, slots=False)
class Graph:
    """A whole pipeline. ``agents`` are those that others call or pass control to; ``sources`` maps each file read to
    its SHA-256."""

    name: str
    root: Block
    inputs: tuple[InputDef, ...] = ()
    secrets: tuple[SecretDef, ...] = ()
    outputs: Mapping[str, Value] = field(default_factory=dict[str, "Value"])
    on_failure: Node | None = None
    agents: Mapping[str, AgentDef] = field(default_factory=dict[str, AgentDef])
    budget: BudgetDef | None = None
    hooks: HooksDef | None = None
    dir: Value | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    description: str = ""
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    format: int = GRAPH_FORMAT

    @cached_property
    def stored(self) -> Stored:
        """How runs keep it. Made once: of a long pipeline it takes as long as many steps."""
        from orchestrator.graph.fingerprint import stored

        return stored(self)


_VALUES = (values.Const, values.Expression, values.Text, values.ListOf, values.MapOf, values.Prompt)


class _Codec:
    """Dataclasses as ``{"is": class, field: …}`` without fields at their default, compiled values as ``{"v": …}``."""

    classes: ClassVar[dict[str, type]] = {
        cls.__name__: cls
        for cls in (
            Retry, OnDoubt, BudgetDef, ServerDef, ToolDef, ModelDef, DelegateDef, HandoffDef, SpawnDef, PlanDef,
            ContextDef, MemoryDef, SkillDef, HooksDef, AgentDef, CallConfig, AgentConfig, Join, Block, GroupConfig,
            MapConfig, SwitchConfig, SetConfig, FailConfig, Node, InputDef, SecretDef, Graph,
        )
    }  # fmt: skip

    def encode(self, thing: Any) -> Any:
        if isinstance(thing, _VALUES):
            return {"v": thing.to_json()}
        name = type(thing).__name__
        if name in self.classes:
            return {"is": name} | {
                f.name: value if f.name in PLAIN else self.encode(value)
                for f in fields(thing)
                if not _is_default(f, value := getattr(thing, f.name))
            }
        if isinstance(thing, (list, tuple)):
            return [self.encode(item) for item in cast("list[Any]", thing)]
        if isinstance(thing, dict):
            inner = {key: self.encode(item) for key, item in cast("dict[str, Any]", thing).items()}
            return {"d": inner}
        return thing

    def decode(self, data: Any) -> Any:
        if isinstance(data, list):
            return tuple([self.decode(item) for item in cast("list[Any]", data)])
        if not isinstance(data, dict):
            return data
        found = cast("dict[str, Any]", data)
        if "v" in found:
            return values.value_from_json(found["v"])
        if "d" in found:
            return {key: self.decode(item) for key, item in found["d"].items()}
        made = found.copy()
        kind = self.classes[made.pop("is")]
        for key, item in found.items():
            # Most are texts, and stay as they are.
            if isinstance(item, (dict, list)) and key not in PLAIN:
                made[key] = self.decode(item)
        return kind(**made)


# These fields hold JSON of the user's own, in which no key is ours.
PLAIN = frozenset({"schema", "input", "output", "default"})


def _is_default(f: Any, value: Any) -> bool:
    if f.default is not MISSING:
        return value is f.default or (type(value) is type(f.default) and value == f.default)
    return f.default_factory is not MISSING and value == f.default_factory()


_CODEC = _Codec()


def to_json(graph: Graph | Node | ToolDef | ModelDef | AgentDef) -> dict[str, Any]:
    """The JSON form; its canonical bytes are what is hashed and stored."""
    encode = _CODEC.encode(graph)
    return cast("dict[str, Any]", encode)


def node_from_json(data: dict[str, Any]) -> Node:
    """The node of its JSON form."""
    return cast("Node", _CODEC.decode(data))


def graph_from_json(data: dict[str, Any]) -> Graph:
    """The graph of its JSON form. ValueError where it is of another format."""
    if data.get("is") != "Graph" or data.get("format", GRAPH_FORMAT) != GRAPH_FORMAT:
        raise ValueError("this graph is of a format that this version does not read")
    graph = _CODEC.decode(data)
    return cast("Graph", graph)
