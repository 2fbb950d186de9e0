"""The second pass: steps -> graph nodes, references -> edges."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.compiler.agents import Cast
from orchestrator.compiler.drafts import BlockDraft, Call, Draft
from orchestrator.compiler.fields import LISTS, OPENING, Place
from orchestrator.compiler.references import need
from orchestrator.compiler.scope import ERROR, RUN, Names, Scope
from orchestrator.compiler.tools import OPERATION_OUTPUTS, SHELL_OUTPUT, Toolbox, command, command_around, python_config
from orchestrator.expr.values import Const, compile_value
from orchestrator.graph.fingerprint import definition_hash
from orchestrator.graph.nodes import (
    AgentConfig,
    Block,
    CallConfig,
    Config,
    FailConfig,
    Graph,
    GroupConfig,
    Join,
    MapConfig,
    Node,
    Retry,
    SetConfig,
    SwitchConfig,
    ToolDef,
)
from orchestrator.spec import steps as written
from orchestrator.spec.types import ANY, INTEGER, STRING, nullable, to_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.drafts import ToolDraft
    from orchestrator.compiler.fields import Site
    from orchestrator.compiler.report import Path, Report
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.expr.check import Entry
    from orchestrator.expr.values import Value

NOTHING: Final = SetConfig(values=Const({}))
LATE: Final[Mapping[str, Entry]] = {"error": nullable(ERROR)}


@dataclass(slots=True)
class Lowered:
    """The graph with what the checks need: the steps by block, and the sites that stand in no step."""

    resolved: Resolved
    graph: Graph
    root: BlockDraft
    on_failure: Draft | None
    sites: list[Site]
    outputs: list[Site]
    tools: Toolbox


def lower(resolved: Resolved) -> Lowered:
    """Every step, every tool and agent that one refers to, and what stands at the top of the file."""
    document, report = resolved.document, resolved.report
    names: ChainMap[str, Entry] = ChainMap({"inputs": resolved.input_types, "run": RUN})
    place = Place(report, Scope(names, elsewhere=resolved.steps), [])
    named = place.within(place.scope)
    tools = Toolbox(resolved, named)
    lowering = _Lowering(resolved, tools, Cast(resolved, tools, named))
    root, block, inside = lowering.block(
        document.steps, document.finally_, document.order, (), place, prefix="", folder=None
    )
    outer = inside.within(inside.scope)
    on_failure = None
    if document.on_failure is not None and not isinstance(document.on_failure, str):
        scope = inside.scope.bind({"error": ERROR})
        scope = replace(scope, frames=(*scope.frames[:-1], replace(scope.frames[-1], sees_late=False)))
        on_failure = lowering.step(
            document.on_failure, inside.within(scope), name="", node_id="@on_failure", shown="on_failure"
        )
    lowering.unreferred()
    outputs: list[Site] = []
    out = replace(outer, sites=outputs)
    graph = Graph(
        name=document.name or PurePath(report.loaded.file).stem,
        root=block,
        inputs=resolved.inputs,
        secrets=resolved.secrets,
        outputs={key: out.value(data, ("outputs", key)) for key, data in (document.outputs or {}).items()},
        on_failure=None if on_failure is None else on_failure.node,
        dir=None if document.dir is None else place.text(document.dir, ("dir",)),
        labels=_labels(document.labels or {}, report),
        description=document.description or "",
        sources=report.loaded.sources,
    )
    if document.store is not None:
        only = Place(report, Scope(ChainMap({"secrets": resolved.secret_types})), place.sites)
        only.text(document.store, ("store",))
    return Lowered(resolved, graph, root, on_failure, place.sites, outputs, tools)


def _labels(labels: Mapping[str, Any], report: Report) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in labels.items():
        if isinstance(item, (dict, list)) or item is None:
            report.error("E106", f"the label `{key}` must be text", ("labels", key))
        elif isinstance(item, str) and OPENING in item:
            report.error("E126", "no `${{ }}` here: labels are fixed", ("labels", key))
        else:
            found[key] = _plain(item)
    return found


def _plain(item: str | float | bool) -> str:
    return cast("Const", compile_value(item, text=True)).value


@dataclass(slots=True)
class _Lowering:
    resolved: Resolved
    tools: Toolbox
    agents: Cast
    drafts: list[Draft] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]

    @property
    def report(self) -> Report:
        return self.resolved.report

    def unreferred(self) -> None:
        """Tools and agents that nothing refers to are checked all the same."""
        document = self.resolved.document
        used = set(self.resolved.used)
        for name in document.tools or {}:
            self.tools.refer(name, ("tools", name))
        for name in document.agents or {}:
            self.agents.use(name, ("agents", name), self.agents.place, name)
        self.resolved.used = used

    def block(
        self,
        steps: written.Steps,
        late: written.Steps | None,
        order: str | None,
        at: Path,
        place: Place,
        *,
        prefix: str,
        folder: Value | None,
    ) -> tuple[BlockDraft, Block, Place]:
        """The steps of one scope. Also gives the place inside it, behind the steps, where ``outputs`` stand."""
        places: dict[str, Path] = {name: (*at, "steps", name) for name in steps}
        for name in late or {}:
            if name in places:
                note = (self.report.note("it stands here first", places[name]),)
                self.report.error(
                    "E237", f"the step `{name}` stands twice", (*at, "finally", name), key=True, notes=note
                )
            places.setdefault(name, (*at, "finally", name))
        for name, where in places.items():
            outer = place.scope.find(name)
            if outer is not None:
                note = (self.report.note("the outer one stands here", outer.names.at[name]),)
                hint = "inner steps see outer ones, so their names must differ"
                self.report.error(
                    "E237", f"the step `{name}` hides an outer one", where, key=True, hint=hint, notes=note
                )
        names = Names(places, frozenset(late or ()) - frozenset(steps))
        inside = place.within(place.scope.enter(names))
        draft = BlockDraft(names=names, at=at)
        found: dict[str, tuple[Node, ...]] = {}
        for part, given, seen in (("steps", steps, {}), ("finally", late or {}, LATE)):
            nodes: list[Node] = []
            before: str | None = None
            for name, step in given.items():
                own = inside.within(inside.scope.bind(seen).in_step(name))
                if order is not None and before is not None:
                    own.scope.needs.add(before)
                made = self.step(step, own, name=name, node_id=f"{prefix}{name}", shown=name, folder=folder)
                draft.drafts.setdefault(name, made)
                nodes.append(made.node)
                before = name
            found[part] = tuple(nodes)
        return draft, Block(nodes=found["steps"], finally_=found["finally"]), inside

    def step(
        self, step: written.Step, place: Place, *, name: str, node_id: str, shown: str, folder: Value | None = None
    ) -> Draft:
        """One step with everything inside of it. ``shown`` is the name of the nearest step that has one."""
        sites: list[Site] = []
        own = replace(place, sites=sites)
        condition = None if step.if_ is None else own.bare(step.if_, (*step.at, "if"))
        at = step.at
        for index, other in enumerate([step.needs] if isinstance(step.needs, str) else step.needs or ()):
            if isinstance(step.needs, list) and other in step.needs[:index]:
                self.report.error("E404", f"`{other}` stands twice in `needs`", (*at, "needs", index))
            need(
                self.report, own.scope, other, (*at, "needs", index) if isinstance(step.needs, list) else (*at, "needs")
            )
        said = self.resolved.maybe_type(step.output, (*at, "output"))
        folder = folder if step.dir is None else own.text(step.dir, (*at, "dir"))
        draft = Draft(
            node=Node(name=name, id=node_id, kind="set", config=NOTHING),
            at=at,
            step=step,
            sites=sites,
            said=said,
        )
        retry = None if step.retry is None else self._retry(step.retry, own)
        timeout = None if step.timeout is None else own.duration(step.timeout, (*at, "timeout"))
        config = _Kinds(self, draft, own, node_id, shown, folder).config(step)
        if isinstance(step.on_error, written.StepBase):
            draft.fallback = self._fallback(step.on_error, draft, own, node_id, shown, folder)
        output = said if said is not None else draft.known if draft.known is not None and draft.checked else None
        node = Node(
            name=name,
            id=node_id,
            kind=_kind(step),
            config=config,
            needs=tuple(sorted(own.scope.needs)) if name else (),
            condition=condition,
            retry=retry,
            timeout=timeout,
            on_error="step" if draft.fallback else "continue" if step.on_error == "continue" else "fail",
            fallback=draft.fallback.node if draft.fallback else None,
            output=None if output is None else to_schema(output),
            lenient=isinstance(config, CallConfig),
            dir=folder if isinstance(config, (CallConfig, AgentConfig)) else None,
            description=step.description or "",
            at=str(self.report.mark(at, key=True)),
        )
        draft.node = replace(node, definition=definition_hash(node))
        return draft

    def _retry(self, retry: written.Retry, place: Place) -> Retry:
        given: dict[str, Any] = {
            name: value
            for name, value in (("delay", retry.delay), ("backoff", retry.backoff), ("max_delay", retry.max_delay))
            if value is not None
        }
        attempts = place.limit(retry.attempts, (*retry.at, "attempts"), want=INTEGER)
        return Retry(attempts=attempts, on=tuple(retry.on or ()), **given)

    def _fallback(
        self, step: written.Step, draft: Draft, place: Place, node_id: str, shown: str, folder: Value | None
    ) -> Draft:
        scope = place.scope.bind({"error": ERROR})
        if draft.block is not None:
            scope = scope.enter(draft.block.names)
        return self.step(step, place.within(scope), name="", node_id=f"{node_id}/@error", shown=shown, folder=folder)


@dataclass(slots=True)
class _Kinds:
    """The configuration of one step by its kind."""

    lowering: _Lowering
    draft: Draft
    place: Place
    node_id: str
    shown: str
    folder: Value | None

    def config(self, step: written.Step) -> Config:
        match step:
            case written.AgentStep():
                return self._agent(step)
            case written.ToolStep():
                return self._tool(step)
            case written.RunStep():
                return self._run(step)
            case written.PythonStep():
                return self._python(step)
            case written.GroupStep():
                return self._group(step)
            case written.MapStep():
                return self._map(step)
            case written.SwitchStep():
                return self._switch(step)
            case written.SetStep():
                values = self.place.value(step.set, (*step.at, "set"), want=self.draft.said)
                self.draft.result = self.place.sites[-1]
                return SetConfig(values=values)
            case written.FailStep():
                return self._fail(step)
            case _:
                # Another kind is not available yet, which is said already: its place is kept, and its type is any.
                self.draft.known = ANY
                return NOTHING

    def _agent(self, step: written.AgentStep) -> Config:
        found = self.lowering.agents.use(step.agent, (*step.at, "agent"), self.place, self.shown)
        prompt = self.place.prompt(step.prompt, (*step.at, "prompt"))
        if found is None:
            self.draft.known = ANY
            return NOTHING
        agent, said = found.definition, self.draft.said
        self.draft.known = found.output or STRING
        self.draft.checked = found.output is not None
        if said is not None:
            agent = replace(agent, output=to_schema(said))
            self.draft.known = None
        return AgentConfig(agent=agent, prompt=prompt)

    def _tool(self, step: written.ToolStep) -> Config:
        found = self.lowering.tools.use(step.tool, (*step.at, "tool"), self.place, "tool")
        at = (*step.at, "with")
        args = None if step.with_ is None else self.place.value(step.with_, at)
        if found is None:
            self.draft.known = ANY
            return NOTHING
        tool, operation = found
        at = at if step.with_ is not None else (*step.at, "tool")
        self.draft.calls.append(self.lowering.tools.call(found, at, None if args is None else self.place.sites[-1]))
        definition = self._typed(tool)
        if operation is not None:
            self.draft.known = OPERATION_OUTPUTS[operation]
        return CallConfig(tool=definition, args=args, operation=operation)

    def _typed(self, tool: ToolDraft) -> ToolDef:
        """The tool, whose result has the step's type where it has none of its own: JSON on stdout, or as the body."""
        definition = tool.definition
        self.draft.known = tool.output or ANY
        self.draft.checked = definition.output is not None
        if self.draft.said is None or definition.output is not None:
            return definition
        self.draft.known = None
        switch = {"shell": "json", "http": "output_json"}.get(definition.kind)
        if switch is None:
            return definition
        return replace(definition, config={**definition.config, switch: Const(True)})

    def _run(self, step: written.RunStep) -> Config:
        place, resolved = self.place, self.lowering.resolved
        config: dict[str, Value] = {
            "script": Const(step.run),
            **command(step, step.at, place),
            **command_around({"env": step.env, "launcher": step.launcher}, step.at, place, resolved),
            "json": Const(step.output is not None),
        }
        if step.files is not None:
            config["files"] = place.value(step.files, (*step.at, "files"))
        self.draft.known = SHELL_OUTPUT if step.output is None else None
        return CallConfig(tool=self._in_place("run", "shell", step, config))

    def _python(self, step: written.PythonStep) -> Config:
        at = (*step.at, "python")
        known, returns = self.lowering.tools.function(step.python, at)
        self.draft.known = (returns or ANY) if self.draft.said is None else None
        self.draft.checked = returns is not None
        config = python_config(step.python, at, self.lowering.resolved)
        tool = self._in_place("python", "python", step, config)
        args = None if step.with_ is None else self.place.value(step.with_, (*step.at, "with"))
        if known is not None:
            site = None if args is None else self.place.sites[-1]
            where = at if site is None else (*step.at, "with")
            self.draft.calls.append(Call(tool=step.python, at=where, input=known, args=site))
            tool = replace(tool, input=to_schema(known))
        return CallConfig(tool=tool, args=args)

    def _in_place(self, name: str, kind: str, step: written.Guarded, config: dict[str, Value]) -> ToolDef:
        place = self.place.seeing({"args": ANY})
        doubt = self.lowering.tools.on_doubt(step.on_doubt, (*step.at, "on_doubt"), place)
        return ToolDef(name=name, kind=kind, effect=step.effect or "write", config=config, on_doubt=doubt)

    def _group(self, step: written.GroupStep) -> Config:
        draft, block, inside = self.lowering.block(
            step.steps, step.finally_, step.order, step.at, self.place, prefix=f"{self.node_id}/", folder=self.folder
        )
        self.draft.block = draft
        outputs = None
        if step.outputs is not None:
            results = replace(inside, sites=[])
            outputs = results.value(step.outputs, (*step.at, "outputs"), want=self.draft.said)
            self.draft.result = results.sites[-1]
        return GroupConfig(block=block, outputs=outputs, join=self._join(step.join))

    def _map(self, step: written.MapStep) -> Config:
        at, place = step.at, self.place
        over = place.bare(step.map, (*at, "map"), want=LISTS)
        site = place.sites.pop()
        name = step.as_ or "item"
        place.check_name(step.as_, (*at, "as"))
        inside = replace(place.seeing({name: ANY, "index": INTEGER}), sites=[])
        site.binds = (inside.scope, name)
        key = None if step.key is None else inside.bare(step.key, (*at, "key"), want=None)
        self.draft.over, self.draft.key = site, inside.sites[-1] if inside.sites else None
        limits = {
            key: place.limit(item, (*at, key), want=INTEGER)
            for key, item in (("concurrency", step.concurrency), ("max_items", step.max_items))
            if item is not None
        }
        self.draft.do = self.lowering.step(
            step.do, inside, name="", node_id=f"{self.node_id}/do", shown=self.shown, folder=self.folder
        )
        return MapConfig(over=over, do=self.draft.do.node, as_=name, key=key, join=self._join(step.join), **limits)

    def _join(self, join: Any) -> Join:
        match join:
            case written.JoinRule(mode="settled"):
                if join.min_success is None:
                    return Join(mode="settled")
                wanted = self.place.limit(join.min_success, (*join.at, "min_success"), want=INTEGER)
                return Join(mode="settled", min_success=wanted)
            case "settled":
                return Join(mode="settled")
            case _:
                return Join()

    def _switch(self, step: written.SwitchStep) -> Config:
        on = self.place.bare(step.switch, (*step.at, "switch"), want=None)
        self.draft.over = self.place.sites[-1]
        cases = {key: self._case(case, f"@case:{key}") for key, case in step.cases.items()}
        self.draft.cases = cases
        if step.default is not None:
            self.draft.otherwise = self._case(step.default, "@default")
        otherwise = None if self.draft.otherwise is None else self.draft.otherwise.node
        return SwitchConfig(on=on, cases={key: case.node for key, case in cases.items()}, otherwise=otherwise)

    def _case(self, step: written.Step, label: str) -> Draft:
        return self.lowering.step(
            step, self.place, name="", node_id=f"{self.node_id}/{label}", shown=self.shown, folder=self.folder
        )

    def _fail(self, step: written.FailStep) -> Config:
        if isinstance(step.fail, str):
            return FailConfig(message=self.place.text(step.fail, (*step.at, "fail")))
        body, at = step.fail, step.fail.at
        return FailConfig(
            message=self.place.text(body.message, (*at, "message")),
            code=None if body.code is None else self.place.text(body.code, (*at, "code")),
            status=self.place.maybe(body.status, (*at, "status"), want=INTEGER),
            detail=self.place.maybe(body.detail, (*at, "detail")),
        )


def _kind(step: written.Step) -> str:
    return next(kind for kind in written.STEP_KINDS if kind in step.model_fields_set)
