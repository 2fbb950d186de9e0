"""Budgets: none over the one around it, none that lets nothing run, and dollars only over models with a price."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.compiler.budgets import budget_def
from orchestrator.expr.values import Const, MapOf
from orchestrator.frozen import field, slotted
from orchestrator.graph.nodes import AgentConfig, BudgetDef
from orchestrator.spec.fields import Budget
from orchestrator.spec.shape import models_of
from orchestrator.spec.steps import AgentStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.compiler.drafts import Draft
    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.report import Path
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.graph.nodes import AgentDef, ModelDef
    from orchestrator.spec.agents import AgentEntry

Around: TypeAlias = "Mapping[str, tuple[int, Path]]"
"""By dimension: the smallest bound around a place, and where it is written."""

Called: TypeAlias = "tuple[AgentDef, AgentEntry, Path, Around]"
WAYS: Final = 10
"""So many different bounds under which one agent is looked at: agents that call each other make no end of ways."""

DIMENSIONS: Final = tuple(each.name for each in fields(BudgetDef) if each.name != "on_exceed")
WORDS: Final = ("usd", "tokens", "time", "deadline", "model_calls", "agents")
"""Dimensions of which nothing lets nothing run: ``tool_calls: 0`` and ``depth: 0`` say something."""


def check(lowered: Lowered) -> None:
    """Every budget of the file, from the outside in."""
    _Check(lowered.resolved, lowered.graph.agents).file(lowered)


@slotted
class _Check:
    resolved: Resolved
    agents: Mapping[str, AgentDef]
    told: set[Any] = field(default_factory=set[Any])
    seen: dict[str, set[Any]] = field(default_factory=dict[Any, Any])

    def file(self, lowered: Lowered) -> None:
        document = self.resolved.document
        for model in models_of(document):
            if isinstance(model, Budget):
                self._something(model)
        around = self._inside(document.budget, ("budget",), {})
        drafts = list(lowered.root.drafts.values())
        drafts += [] if lowered.on_failure is None else [lowered.on_failure]
        for draft in drafts:
            self._step(draft, around)
        if document.budget is not None and not any(_agents(draft) for draft in drafts):
            self._nobody(document.budget)

    def _something(self, budget: Budget) -> None:
        """A budget of nothing is a mistake, and no way to switch something off."""
        found = budget_def(budget)
        for name in WORDS:
            if getattr(found, name) == 0:
                message = f"a budget of no {name.replace('_', ' ')} lets nothing run"
                self.resolved.report.error("E473", message, (*budget.at, name))

    def _nobody(self, budget: Budget) -> None:
        if budget.on_exceed == "finish":
            hint = "`finish` gives agents a last turn; say `fail` or `pause` where there are none"
            self.resolved.report.error("E472", "there is no agent to finish", (*budget.at, "on_exceed"), hint=hint)

    def _inside(self, budget: Budget | None, at: Path, around: Around) -> Around:
        """The bounds inside a budget, each the smaller one."""
        found = budget_def(budget)
        inside = dict(around)
        for name in DIMENSIONS:
            amount = getattr(found, name, None)
            if amount is None:
                continue
            outer = around.get(name)
            if outer is not None and amount > outer[0]:
                self._over(name, (*at, name), outer[1])
            else:
                inside[name] = (amount, (*at, name))
        return inside

    def _over(self, name: str, at: Path, outer: Path) -> None:
        if (name, at) not in self.told:
            self.told.add((name, at))
            notes = (self.resolved.report.note("the one around it stands here", outer),)
            message = f"`{name}` is more than the budget around it has"
            self.resolved.report.error("E470", message, at, notes=notes)

    def _step(self, draft: Draft, around: Around) -> None:
        budget = draft.step.budget
        inside = self._inside(budget, (*draft.at, "budget"), around)
        if budget is not None and not _agents(draft):
            self._nobody(budget)
        config = draft.node.config
        if isinstance(config, AgentConfig) and isinstance(draft.step, AgentStep):
            named = draft.step.agent
            where: Path = ("agents", named) if isinstance(named, str) else (*draft.at, "agent")
            entry = self.resolved.agents[named] if isinstance(named, str) else named
            # One account with two budgets: each has to fit what is around the step, and the smaller one counts.
            own = self._inside(entry.budget, (*where, "budget"), around)
            waiting: list[Called] = [(config.agent, entry, where, {**inside, **_smaller(own, inside)})]
            while waiting:
                waiting += self._agent(*waiting.pop())
        for inner in _inner(draft):
            self._step(inner, inside)
        if draft.fallback is not None:
            self._step(draft.fallback, around)

    def _agent(self, agent: AgentDef, entry: AgentEntry, at: Path, around: Around) -> Iterator[Called]:
        """An agent; gives those that it calls. ``around`` has its own budget in it."""
        if "usd" in around:
            for model in _models(agent):
                self._priced(model, around["usd"][1])
        for kind, given in (("spawn", entry.spawn), ("plan", entry.plan)):
            if given is not None:
                self._inside(given.budget, (*at, kind, "budget"), around)
        for kind, others in (("delegates", entry.delegates), ("handoffs", entry.handoffs)):
            for name, other in (others or {}).items():
                budget = getattr(other, "budget", None)
                called = self._inside(budget, (*at, kind, name, "budget"), around)
                yield from self._named(name, called)

    def _named(self, name: str, around: Around) -> Iterator[Called]:
        """An agent that is called under these bounds, once: those that it calls are the same each time."""
        entry, agent = self.resolved.agents.get(name), self.agents.get(name)
        bounds = frozenset((dimension, amount) for dimension, (amount, _) in around.items())
        seen = self.seen.setdefault(name, set())
        if entry is not None and agent is not None and bounds not in seen and len(seen) < WAYS:
            seen.add(bounds)
            own = self._inside(entry.budget, ("agents", name, "budget"), around)
            yield agent, entry, ("agents", name), own

    def _priced(self, model: ModelDef, budget: Path) -> None:
        """A price that is not known is not 0: a budget in dollars could not hold the model."""
        settings = {key: value.value for key, value in model.settings.items() if isinstance(value, Const)}
        params = model.settings.get("params")
        if isinstance(params, MapOf):
            settings["params"] = dict.fromkeys(params.fields)
        if model.name and model.name not in self.told and not self.resolved.priced(settings):
            self.told.add(model.name)
            notes = (self.resolved.report.note("this budget is in dollars", budget),)
            message = f"the price of the model `{model.name}` is not known, and a budget in dollars is over it"
            hint = (
                "say it with `price: {input: …, output: …}`, in dollars per million tokens, or bound `tokens` instead"
            )
            self.resolved.report.error("E471", message, ("models", model.name), key=True, hint=hint, notes=notes)


def _smaller(one: Around, other: Around) -> Around:
    return {name: found for name, found in one.items() if name not in other or found[0] < other[name][0]}


def _models(agent: AgentDef) -> Iterator[ModelDef]:
    """The models that an agent calls itself, or that agents which it makes may have."""
    summing = () if agent.context is None or agent.context.model is None else (agent.context.model,)
    spawned = () if agent.spawn is None else agent.spawn.models
    for model in (agent.model, *summing, *spawned):
        yield from model.chain or (model,)


def _agents(draft: Draft) -> bool:
    """Whether an agent is in a step."""
    inner = [*_inner(draft), *([] if draft.fallback is None else [draft.fallback])]
    return isinstance(draft.step, AgentStep) or any(_agents(each) for each in inner)


def _inner(draft: Draft) -> Iterator[Draft]:
    if draft.block is not None:
        yield from draft.block.drafts.values()
    if draft.do is not None:
        yield draft.do
    yield from draft.cases.values()
    if draft.otherwise is not None:
        yield draft.otherwise
