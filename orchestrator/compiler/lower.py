"""The second pass: steps -> graph nodes, references -> edges."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.compiler.agents import Cast
from orchestrator.compiler.budgets import budget_def
from orchestrator.compiler.context import hooks_of
from orchestrator.compiler.drafts import BlockDraft, Draft
from orchestrator.compiler.fields import OPENING, Place, positive
from orchestrator.compiler.kinds import NOTHING, Kinds, kind_of
from orchestrator.compiler.references import need
from orchestrator.compiler.scope import ERROR, RUN, Names, Scope
from orchestrator.compiler.tools import Toolbox
from orchestrator.expr.values import Const, compile_value
from orchestrator.frozen import field, slotted
from orchestrator.graph.fingerprint import Definitions
from orchestrator.graph.nodes import (
    AgentConfig,
    Block,
    CallConfig,
    Graph,
    Node,
    Retry,
)
from orchestrator.graph.reach import reached
from orchestrator.spec import steps as written
from orchestrator.spec.types import INTEGER, nullable, to_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.compiler.fields import Site
    from orchestrator.compiler.report import Path, Report
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.expr.check import Entry
    from orchestrator.expr.values import Value

LATE: Final[Mapping[str, Entry]] = {"error": nullable(ERROR)}


@slotted
class Lowered:
    """The graph with what the checks need: the steps by block, and the sites that stand in no step."""

    resolved: Resolved
    graph: Graph
    root: BlockDraft
    on_failure: Draft | None
    sites: list[Site]
    outputs: list[Site]
    tools: Toolbox


def lower(resolved: Resolved, *, seed: Callable[[Toolbox, Cast], None] | None = None) -> Lowered:
    """Every step, every tool and agent that one refers to, and what stands at the top of the file. ``seed`` gives
    tools and agents that are compiled already."""
    document, report = resolved.document, resolved.report
    names: ChainMap[str, Entry] = ChainMap({"inputs": resolved.input_types, "run": RUN})
    place = Place(report, Scope(names, elsewhere=resolved.steps), [])
    named = place.within(place.scope)
    folder = None if document.dir is None else place.text(document.dir, ("dir",))
    tools = Toolbox(resolved, named, folder)
    lowering = Lowering(resolved, tools, Cast(resolved, tools, named))
    if seed is not None:
        seed(tools, lowering.agents)
    root, block, inside = lowering.block(
        document.steps, document.finally_, document.order, (), place, prefix="", folder=None
    )
    on_failure = None
    if document.on_failure is not None and not isinstance(document.on_failure, str):
        scope = inside.scope.bind({"error": ERROR})
        scope = replace(scope, frames=(*scope.frames[:-1], replace(scope.frames[-1], sees_late=False)))
        on_failure = lowering.step(
            document.on_failure, inside.within(scope), name="", node_id="@on_failure", shown="on_failure"
        )
    lowering.unreferred()
    outputs: list[Site] = []
    out = replace(inside, sites=outputs)
    graph = Graph(
        name=document.name or PurePath(report.loaded.file).stem,
        root=block,
        inputs=resolved.inputs,
        secrets=resolved.secrets,
        outputs={key: out.value(data, ("outputs", key)) for key, data in (document.outputs or {}).items()},
        on_failure=None if on_failure is None else on_failure.node,
        agents=reached(lowering.agents.entered, lowering.agents.definitions),
        budget=budget_def(document.budget),
        hooks=hooks_of(document.hooks, tools, ("hooks",)),
        dir=folder,
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


@slotted
class Lowering:
    resolved: Resolved
    tools: Toolbox
    agents: Cast
    definitions: Definitions = field(default_factory=Definitions)

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
        names = Names(self._places(steps, late or {}, at, place), frozenset(late or ()) - frozenset(steps))
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

    def _places(self, steps: written.Steps, late: written.Steps, at: Path, place: Place) -> dict[str, Path]:
        """Where each step of a block stands; its name is its own, here and further out."""
        places: dict[str, Path] = {name: (*at, "steps", name) for name in steps}
        for name in late:
            where = (*at, "finally", name)
            if name in places:
                notes = (self.report.note("it stands here first", places[name]),)
                self.report.error("E237", f"the step `{name}` stands twice", where, key=True, notes=notes)
            places.setdefault(name, where)
        hint = "inner steps see outer ones, so their names must differ"
        for name, where in places.items():
            outer = place.scope.find(name)
            if outer is not None:
                notes = (self.report.note("the outer one stands here", outer.names.at[name]),)
                message = f"the step `{name}` hides an outer one"
                self.report.error("E237", message, where, key=True, hint=hint, notes=notes)
        return places

    def step(
        self, step: written.Step, place: Place, *, name: str, node_id: str, shown: str, folder: Value | None = None
    ) -> Draft:
        """One step with everything inside of it. ``shown`` is the name of the nearest step that has one."""
        sites: list[Site] = []
        own = replace(place, sites=sites)
        condition = None if step.if_ is None else own.bare(step.if_, (*step.at, "if"))
        at = step.at
        self._needs(step, own)
        said = self.resolved.maybe_type(step.output, (*at, "output"))
        folder = folder if step.dir is None else own.text(step.dir, (*at, "dir"))
        draft = Draft(
            node=Node(name=name, id=node_id, kind="set", config=NOTHING),
            at=at,
            step=step,
            sites=sites,
            said=said,
            vague=self.report.vague(at),
        )
        retry = None if step.retry is None else self._retry(step.retry, own)
        timeout = None if step.timeout is None else own.duration(step.timeout, (*at, "timeout"))
        config = Kinds(self, draft, own, node_id, shown, folder).config(step)
        if isinstance(step.on_error, written.StepBase):
            draft.fallback = self._fallback(step.on_error, draft, own, node_id, shown, folder)
        output = said if said is not None else draft.known if draft.known is not None and draft.checked else None
        node = Node(
            name=name,
            id=node_id,
            kind=kind_of(step),
            config=config,
            needs=tuple(sorted(own.scope.needs)) if name else (),
            condition=condition,
            retry=retry,
            timeout=timeout,
            on_error="step" if draft.fallback else "continue" if step.on_error == "continue" else "fail",
            fallback=draft.fallback.node if draft.fallback else None,
            budget=budget_def(step.budget),
            output=None if output is None else to_schema(output),
            lenient=isinstance(config, CallConfig),
            dir=folder if isinstance(config, (CallConfig, AgentConfig)) else None,
            description=step.description or "",
            at=str(self.report.mark(at, key=True)),
        )
        draft.node = replace(node, definition=self.definitions.hash(node, self.agents.definitions))
        return draft

    def _needs(self, step: written.Step, place: Place) -> None:
        at = (*step.at, "needs")
        if isinstance(step.needs, str):
            need(self.report, place.scope, step.needs, at)
            return
        for index, other in enumerate(step.needs or ()):
            if other in (step.needs or ())[:index]:
                self.report.error("E404", f"`{other}` stands twice in `needs`", (*at, index))
            need(self.report, place.scope, other, (*at, index))

    def _retry(self, retry: written.Retry, place: Place) -> Retry:
        given: dict[str, Any] = {
            name: value
            for name, value in (("delay", retry.delay), ("backoff", retry.backoff), ("max_delay", retry.max_delay))
            if value is not None
        }
        positive(self.report, retry.max_delay, (*retry.at, "max_delay"))
        attempts = place.limit(retry.attempts, (*retry.at, "attempts"), want=INTEGER)
        return Retry(attempts=attempts, on=tuple(retry.on or ()), **given)

    def _fallback(
        self, step: written.Step, draft: Draft, place: Place, node_id: str, shown: str, folder: Value | None
    ) -> Draft:
        scope = place.scope.bind({"error": ERROR})
        if draft.block is not None:
            scope = scope.enter(draft.block.names)
        return self.step(step, place.within(scope), name="", node_id=f"{node_id}/@error", shown=shown, folder=folder)
