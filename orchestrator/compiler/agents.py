"""Models and agents of the file -> ``ModelDef`` and ``AgentDef``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.compiler.budgets import budget_def
from orchestrator.compiler.constants import check_url
from orchestrator.compiler.context import context_of, hooks_of
from orchestrator.compiler.drafts import AgentDraft
from orchestrator.compiler.keeping import built_into, kept_by
from orchestrator.compiler.topology import named_apart, reaching, unknown_agent
from orchestrator.expr.values import Const
from orchestrator.frozen import field, frozen, slotted
from orchestrator.graph.nodes import AgentDef, ModelDef
from orchestrator.graph.reach import passed_to
from orchestrator.spec.types import ANY, INTEGER, NEVER, STRING, ListType, join, to_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.report import Path
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.compiler.tools import Toolbox
    from orchestrator.expr.check import Entry
    from orchestrator.expr.values import Value
    from orchestrator.graph.nodes import ToolDef
    from orchestrator.spec.agents import AgentEntry, ModelEntry, ScriptedReply
    from orchestrator.spec.types import Type

SCRIPTED: Final[Mapping[str, Entry]] = {
    "agent": STRING,
    "turn": INTEGER,
    "prompt": STRING,
    "last": STRING,
    "results": ListType(ANY),
}
_SECRET: Final = ("api_key", "headers")


def joined(types: Iterable[Type]) -> Type:
    """The type of what has one of several."""
    found: Type = NEVER
    for each in types:
        found = join(found, each)
    return found


@frozen
class Leaves:
    """What a fallback stands for: ``entries`` in order by name; ``walked`` are all names on the way there.

    ``ring`` is the first way that leads back to where it was.
    """

    entries: Mapping[str, ModelEntry]
    walked: tuple[str, ...]
    ring: tuple[str, ...]


def leaves(models: Mapping[str, tuple[str, ModelEntry]], first: str, entry: ModelEntry) -> Leaves:
    """The models of a list and of those in it. Unknown names, and ways that lead back, are left out."""
    entries: dict[str, ModelEntry] = {}
    walked: dict[str, None] = {}
    rings: list[tuple[str, ...]] = []
    waiting: list[tuple[str, ModelEntry, tuple[str, ...]]] = [(first, entry, ())]
    while waiting:
        own, entry, above = waiting.pop()
        if own in above:
            rings.append((*above[above.index(own) :], own))
        elif own not in walked:
            walked[own] = None
            if entry.fallback is None:
                entries[own] = entry
            waiting += [(*models[name], (*above, own)) for name in reversed(entry.fallback or []) if name in models]
    return Leaves(entries, tuple(walked), rings[0] if rings else ())


@slotted
class Cast:
    """The agents of one file and their models, each named one lowered once. ``place`` sees what they see."""

    resolved: Resolved
    tools: Toolbox
    place: Place
    models: dict[str, ModelDef] = field(default_factory=dict[Any, Any])
    named: dict[str, AgentDraft] = field(default_factory=dict[Any, Any])
    definitions: dict[str, AgentDef] = field(default_factory=dict[Any, Any])
    entered: list[AgentDef] = field(default_factory=list[Any])
    in_place: dict[str, bool] = field(default_factory=dict[Any, Any])
    _last: dict[frozenset[str], Type] = field(default_factory=dict[Any, Any])
    _others: list[str] = field(default_factory=list[Any])

    def use(self, agent: str | AgentEntry, at: Path, place: Place, name: str) -> AgentDraft | None:
        """The agent of a step: named, or defined in place, where it goes by the step's name.

        None where there is none, which is said, and where it is not known what it gives. All that it can come to are
        lowered with it.
        """
        found = self._used(agent, at, place, name)
        while self._others:
            self._name(self._others.pop())
        return found

    def _used(self, agent: str | AgentEntry, at: Path, place: Place, name: str) -> AgentDraft | None:
        if not isinstance(agent, str):
            lowered = self.lower(agent, place, name, at)
            return None if self.resolved.report.vague(at) else lowered
        if self.resolved.find("agents", agent, at) is None:
            return None
        self._name(agent)
        return None if self.resolved.report.vague(("agents", agent)) else self.named[agent]

    def _name(self, name: str) -> None:
        """Lower an agent that has a name, once."""
        if name not in self.named:
            lowered = self.lower(self.resolved.agents[name], self.place, name, ("agents", name))
            self.named[name] = lowered
            self.definitions[name] = lowered.definition

    def other(self, name: str, at: Path) -> bool:
        """Whether an agent that another one names is there; where it is not, that is said."""
        if name not in self.resolved.agents:
            unknown_agent(name, self.resolved.agents, at, self.resolved.report)
            return False
        self.resolved.used.add(("agents", name))
        self._others.append(name)
        return True

    def last_of(self, agent: AgentDraft) -> Type | None:
        """The type of what any agent gives that may have control for good after this one; None where there is none."""
        first = frozenset(name for name, handoff in agent.definition.handoffs.items() if not handoff.returns)
        if first and first not in self._last:
            names = passed_to(agent.definition, self.definitions)
            vague = self.resolved.report.vague
            self._last[first] = joined(
                ANY if vague(("agents", name)) else self.named[name].output or STRING for name in names
            )
        return self._last.get(first)

    def lower(self, agent: AgentEntry, place: Place, name: str, at: Path) -> AgentDraft:
        """One definition."""
        output = self.resolved.maybe_type(agent.output, (*at, "output"))
        tools, operations = self.tools_of(agent.tools or [], (*at, "tools"))
        definition = AgentDef(
            name=name,
            model=self._model(agent.model, at),
            instructions=None
            if agent.instructions is None
            else place.prompt(agent.instructions, (*at, "instructions")),
            description=agent.description or "",
            tools=tools,
            operations=operations,
            output=None if output is None else to_schema(output),
            parallel_tools=agent.parallel_tools is not False,
            budget=budget_def(agent.budget),
            **kept_by(agent, at, self.resolved.report),
        )
        self.tools.built_in |= built_into(definition, agent, at, self.resolved.report)
        context = context_of(agent.context, self.tools, (*at, "context"), self._model)
        hooks = hooks_of(agent.hooks, self.tools, (*at, "hooks"))
        if context is not None or hooks is not None:
            definition = replace(definition, context=context, hooks=hooks)
        if agent.turns is not None:
            definition = replace(definition, turns=place.limit(agent.turns, (*at, "turns"), want=INTEGER))
        definition = replace(definition, **reaching(agent, definition, at, place, self))
        self.tools.built_in |= named_apart(definition, at, self.resolved.report)
        return AgentDraft(definition=definition, output=output)

    def tools_of(self, names: list[str], at: Path) -> tuple[tuple[ToolDef, ...], dict[str, tuple[str, ...]]]:
        """The tools of a list, and of those with operations the ones that are given."""
        tools: dict[str, ToolDef] = {}
        operations: dict[str, tuple[str, ...]] = {}
        for index, text in enumerate(names):
            found = self.tools.refer(text, (*at, index))
            if found is None:
                continue
            definition, operation = found[0].definition, found[1]
            given = (operation,) if operation else tuple(definition.operations)
            before = operations.get(definition.name, ())
            if definition.name in tools and (not given or not before or set(given) & set(before)):
                self.resolved.report.error("E404", f"the tool `{text}` stands twice", (*at, index))
            tools[definition.name] = definition
            if given:
                operations[definition.name] = tuple(dict.fromkeys((*before, *given)))
        return tuple(tools.values()), operations

    def _model(self, name: str | None, at: Path) -> ModelDef:
        if name is None and "default" not in self.resolved.models:
            hint = "add `models: {default: {provider: …, model: …}}`, or name one with `model`"
            if not (self.resolved.report.vague(at) or self.resolved.report.doubts.name("default")):
                self.resolved.report.error("E234", "there is no model `default`", at, key=True, hint=hint)
            return ModelDef(name="default", settings={})
        found = self.resolved.find("models", name or "default", (*at, "model"))
        if found is None:
            return ModelDef(name="", settings={})
        own, entry = cast("tuple[str, ModelEntry]", found)
        self.resolved.used.add(("models", own))
        return self.model_of(own, entry)

    def model_of(self, own: str, entry: ModelEntry) -> ModelDef:
        if own not in self.models:
            self.models[own] = self._entry(own, entry) if entry.fallback is None else self._chain(own, entry)
        return self.models[own]

    def _chain(self, own: str, entry: ModelEntry) -> ModelDef:
        """A fallback: those that its list stands for, each once. What is wrong with it, ``checks.models`` says."""
        found = leaves(self.resolved.models, own, entry)
        self.resolved.used.update(("models", name) for name in found.walked)
        chain = tuple(self.model_of(name, each) for name, each in found.entries.items())
        return ModelDef(name=own, settings={"provider": Const("fallback")}, chain=chain)

    def _entry(self, name: str, entry: ModelEntry) -> ModelDef:
        at: Path = ("models", name)
        place = self.place
        secret = place.seeing({"secrets": self.resolved.secret_types})
        data = entry.data()
        settings: dict[str, Value] = {}
        for key, item in data.items():
            match key:
                case "replies":
                    inner = place.within(place.scope.only("inputs").bind(SCRIPTED))
                    settings[key] = Const([self._reply(reply, inner) for reply in entry.replies or ()])
                case "base_url" | "params":
                    settings[key] = place.value(item, (*at, key))
                    if key == "base_url":
                        check_url(place.report, settings[key], (*at, key))
                case "timeout":
                    settings[key] = place.duration(item, (*at, key))
                case _ if key in _SECRET:
                    settings[key] = secret.value(item, (*at, key))
                case _:
                    settings[key] = Const(item)
        return ModelDef(name=name, settings=settings)

    def _reply(self, reply: ScriptedReply, place: Place) -> dict[str, Any]:
        """A rule as the provider reads it: compiled values as JSON, and ``when`` as the source of an expression."""
        at = reply.at
        rule: dict[str, Any] = {}
        if reply.when is not None:
            rule["when"] = place.bare(reply.when, (*at, "when"))
        for name in ("text", "thinking", "stop", "error"):
            if (given := getattr(reply, name)) is not None:
                rule[name] = place.text(given, (*at, name)).to_json()
        if reply.output is not None:
            rule["output"] = place.value(reply.output, (*at, "output")).to_json()
        if isinstance(reply.delay, str):
            rule["delay"] = place.text(reply.delay, (*at, "delay")).to_json()
        elif reply.delay is not None:
            rule["delay"] = reply.delay
        if reply.usage is not None:
            given = reply.usage.data()
            rule["usage"] = place.value(given, (*at, "usage")).to_json()
        if reply.calls is not None:
            rule["calls"] = [
                {
                    "tool": place.text(call.tool, (*at, "calls", index, "tool")).to_json(),
                    "with": place.value(call.with_ or {}, (*at, "calls", index, "with")).to_json(),
                }
                for index, call in enumerate(reply.calls)
            ]
        return rule
