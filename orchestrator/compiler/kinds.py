"""The configuration of a step, kind by kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.agents.results import OPERATION_OUTPUTS, SHELL_OUTPUT
from orchestrator.compiler.drafts import Call
from orchestrator.compiler.fields import LISTS
from orchestrator.compiler.tools import command, command_around, python_config
from orchestrator.expr.values import Const
from orchestrator.frozen import slotted
from orchestrator.graph.nodes import (
    AgentConfig,
    CallConfig,
    Config,
    FailConfig,
    GroupConfig,
    Join,
    MapConfig,
    SetConfig,
    SwitchConfig,
    ToolDef,
)
from orchestrator.spec import steps as written
from orchestrator.spec.types import ANY, INTEGER, STRING, join, to_schema

if TYPE_CHECKING:
    from orchestrator.compiler.drafts import Draft, ToolDraft
    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.lower import Lowering
    from orchestrator.expr.values import Value

NOTHING: Final = SetConfig(values=Const({}))


@slotted
class Kinds:
    """The configuration of one step by its kind."""

    lowering: Lowering
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
        self.lowering.agents.entered.append(agent)
        self.lowering.agents.in_place[self.node_id] = not isinstance(step.agent, str)
        last, own = self.lowering.agents.last_of(found), found.output or STRING
        self.draft.known = own if last is None else join(own, last)
        # Where control may pass on, each agent is held to its own type.
        self.draft.checked = found.output is not None and last is None
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
        if operation is not None and definition.server is None:
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
        if isolated(step):
            config["isolate"] = Const("process")
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
        folder = self.lowering.tools.folder
        return ToolDef(
            name=name,
            kind=kind,
            effect=step.effect or "write",
            config=config,
            on_doubt=doubt,
            dir=folder,
            sandbox=step.sandbox or "none",
        )

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


def isolated(step: written.PythonStep) -> bool:
    """Whether a function runs in a process of its own."""
    return step.isolate == "process" or step.sandbox not in (None, "none")


def kind_of(step: written.Step) -> str:
    return next(kind for kind in written.STEP_KINDS if kind in step.given)
