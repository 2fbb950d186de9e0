"""Random graphs under budgets, and a world in which calls cost and start as the gate lets them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.engine.budgets import AMOUNTS
from orchestrator.engine.gate import Ask, Gate, Start
from orchestrator.graph.nodes import BudgetDef
from orchestrator.journal.records import Draft
from tests.unit.engine.graphs import Maker, Rough, fate
from tests.unit.engine.world import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.activation import Intent
    from orchestrator.graph.nodes import Graph, Node


class Payer(Maker):
    """Makes graphs with budgets on the run, on steps and on agents."""

    def graph(self) -> Graph:
        return replace(super().graph(), budget=self.budget(8))

    def node(self, *args: Any, **more: Any) -> Node:
        node = super().node(*args, **more)
        return replace(node, budget=self.budget(3)) if self.chance(3) else node

    def _agent(self, name: str, used: list[str], depth: int, more: dict[str, Any]) -> dict[str, Any]:
        made = super()._agent(name, used, depth, more)
        config = made["config"]
        return made | {
            "config": replace(config, agent=replace(config.agent, budget=self.budget(2) if self.chance(3) else None))
        }

    def budget(self, calls: int) -> BudgetDef:
        """One that about so many calls use up, in some dimensions."""
        bounds = {
            "usd": 20, "tokens": 8, "model_calls": 1, "tool_calls": 1, "agents": 1, "depth": 1, "time": 4 * SECOND,
            "deadline": SECOND,
        }  # fmt: skip
        chosen = [name for name in bounds if self.chance(3)]
        amounts: dict[str, Any] = {name: bounds[name] * self.rng.randrange(1, calls + 1) for name in chosen}
        then: Any = self.rng.choice([None, "fail", "pause", "finish"])
        return BudgetDef(on_exceed=then, **amounts)


class Budgeted(Rough):
    """A world in which calls cost, and start as budgets let them. ``most`` bounds what is added to them."""

    def __init__(
        self,
        graph: Graph,
        *,
        seed: int,
        rough: bool = False,
        most: int = 6,
        answer: Callable[[Intent], Any] | None = None,
    ) -> None:
        self.most = most
        self.chosen = answer
        super().__init__(graph, seed=seed, rough=rough)

    def respond(self, intent: Intent) -> Any:
        return super().respond(intent) if self.chosen is None else self.chosen(intent)

    def _build(self) -> None:
        super()._build()
        self.gate = Gate(self.decider, Ask(reserve=self.reserve, place=lambda intent: ""))

    def reserve(self, intent: Intent, *, after: bool = False) -> dict[str, int | None]:
        """Worst cases between 5 and 20 micro-dollars; the call takes no more."""
        return {"usd": 5 + fate(intent.path, 3, 16), "tokens": 2 + fate(intent.path, 4, 7) + after}

    def pump(self, _: None) -> None:
        """All that may start, and the limits that are reached, as the driver does it."""
        again = True
        while again:
            again = False
            for found in self.gate.take(self.clock):
                if isinstance(found, Start):
                    super().say(self.started(found))
                    self.within()
                else:
                    super().say(found)
                    again = found.body["then"] != "pause"
                if again:
                    break

    def started(self, start: Start) -> Draft:
        intent = start.intent
        account, *within = [each.path for each in intent.act.account.chain()]
        body: dict[str, Any] = {
            "attempt": intent.attempt, "logical": intent.logical, "hash": intent.hash, "effect": intent.effect, "what": intent.what,
            "account": account, "within": within[:-1],
        }  # fmt: skip
        body |= {"key": intent.key} if intent.key else {}
        body |= {"reserve": start.reserve} if start.reserve else {}
        body |= {"last": True} if intent.last else {}
        return Draft("started", intent.path, body)

    def spent(self) -> dict[tuple[str, str], int]:
        """What was spent, open or not, by account and dimension."""
        return {
            (path, dimension): amount
            for path, totals in self.state.accounts.items()
            for dimension in AMOUNTS
            if (amount := totals.spent(dimension))
        }

    def within(self) -> None:
        """No account is over any of its bounds, and each has what the attempts inside it have."""
        for account in self.decider.budgets.accounts.values():
            for dimension in account.bounded:
                left = account.left(dimension)
                assert left is not None
                assert left >= 0, (account.path, dimension, left)
        assert self.state.totals("").spent("usd") == self.state.spend

    def say(self, draft: Draft) -> None:
        intent = self.decider.in_flight.get(draft.path)
        if intent is not None and intent.kind == "model" and draft.kind in ("done", "failed"):
            chosen = fate(intent.path, intent.attempt + 5, 4)
            usd = self.reserve(intent)["usd"] or 0
            unknown = {"cost": None, "tokens": 0}
            draft.body.update(unknown if chosen == 0 else {"cost": usd * chosen // 4, "tokens": chosen // 2})
            draft.body.pop("usage", None)
        super().say(draft)
        if draft.kind == "budget_added":
            self.gate.added(draft.path)
        elif draft.kind == "cancel_requested":
            self.gate.cancelled()
        elif intent is not None and draft.path not in self.decider.in_flight:
            self.gate.settled(intent.act.account)
        self.within()

    def choices(self) -> list[tuple[Callable[[Any], None], Any]]:
        found: list[tuple[Callable[[Any], None], Any]] = [(self.pump, None)] * self.gate.pending(self.clock)
        found += [(self.end_of, intent) for intent in self.decider.in_flight.values()]
        found += [(self.cut, path) for path in self.decider.cancels] * 2
        found += [(self.say, draft) for draft in self.gate.overdue(self.clock)]
        if self.rough and self.rng.randrange(4) == 0:
            found += [(self.fire, path) for path in self.decider.timers]
        if self.rough and self.rng.randrange(60) == 0 and self.state.cancel is None:
            found += [(self.cancel, None)] * self.decider.cancellable
        if not found and (due := self.gate.due(self.clock)) is not None:
            found = [(self.wait, due)]
        if not found and self.gate.paused:
            assert self.gate.idle
            found = [(self.add, None)]
        waiting = [path for path, step in self.state.steps.items() if step.waiting and path in self.decider.acts]
        if not found and waiting:
            # A tool that can tell was not asked any more: now a person is.
            found = [(self.say, Draft("resolved", waiting[0], {"retry": True}))]
        return found

    def tick(self) -> bool:
        if self.end is not None:
            return False
        for path in [path for path in self.decider.cancels if path not in self.decider.in_flight]:
            self.decider.cancels.remove(path)
        choices = self.choices()
        if not choices:
            return False
        do, what = self.rng.choice(choices)
        do(what)
        return True

    def wait(self, due: int) -> None:
        self.clock = max(self.clock, due)

    def more(self) -> None:
        """Plenty for every account that was short."""
        for body in [record.body for record in self.records if record.kind == "limit_reached"]:
            amount = 100 * SECOND if body["dimension"] in ("time", "deadline") else 1_000
            self.say(Draft("budget_added", body["account"], {"add": {body["dimension"]: amount}}))

    def add(self, _: None) -> None:
        """What a person gives to an account that is short; where nobody would any more, the run is cancelled."""
        path, said = next(iter(self.gate.paused.items()))
        self.most -= 1
        if self.most < 0 and self.state.cancel is None and self.decider.cancellable:
            self.cancel(None)
        else:
            amount = max(said["needed"] - said["left"], 1) if said["dimension"] in ("usd", "tokens") else 3
            amount = amount if said["dimension"] not in ("time", "deadline") else 5 * SECOND
            self.say(Draft("budget_added", path, {"add": {said["dimension"]: amount * self.rng.randrange(1, 4)}}))
