"""``decide``: what a run may do next, as a pure function of its graph and its state.

No clock, no I/O, no randomness, no user code. The function is incremental: the decider keeps a tree of activations
beside the state, ``apply`` folds one record and queues what it touches, and ``decide`` works the queues off, so that
a step costs what depends on it and not what the graph holds. A decider built from a whole journal stands where the
one that lived through it stood, because nothing is decided (``late``) before all that is recorded has been taken up
(``early``).

What it decides are records of control steps, returned and already folded, and intents: effects that are permitted,
which the driver starts when it holds what they need (``permitted``), or has to stop (``cancels``).
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from orchestrator.clock import rfc3339
from orchestrator.engine import steps
from orchestrator.engine.activation import Act, BlockAct, Phase
from orchestrator.engine.blocks import Blocks
from orchestrator.engine.budgets import Budgets, limited
from orchestrator.engine.outcomes import error_body
from orchestrator.engine.permissions import pending
from orchestrator.engine.scope import Scope, SecretsView, error_of
from orchestrator.engine.steps.common import Skip, Wrong, handled_by, micros
from orchestrator.expr import ABSENT, EvalError, evaluate, parse
from orchestrator.expr.runtime import Absent
from orchestrator.expr.values import Const, render, render_prompt
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import GroupConfig
from orchestrator.journal.records import Draft
from orchestrator.spec.values import check_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.activation import Intent, Role
    from orchestrator.expr.values import Value
    from orchestrator.graph.nodes import Block, Graph, Node
    from orchestrator.journal.records import Kind
    from orchestrator.journal.state import RunState, StepState

VERSION = 1
"""Of the decider; a run records it at its start."""


@frozen
class RunInfo:
    """What is fixed for a run and stands in no record of its own: its id."""

    run_id: str


class Decider:
    """Decides one run. ``graph`` and ``run`` never change; ``state`` is folded by ``apply`` alone."""

    def __init__(self, graph: Graph, state: RunState, run: RunInfo) -> None:
        self.graph = graph
        self.state = state
        self.run = run
        self.permitted: dict[str, Intent] = {}
        self.in_flight: dict[str, Intent] = {}
        self.cancels: list[str] = []
        self.timers: dict[str, int] = {}
        # Those that wait for a person.
        self._asking: set[str] = set()
        self.fresh: dict[str, Intent] = {}
        self.budgets = Budgets(graph, state)
        self.acts: dict[str, Act] = {}
        # By the seq of what is to be taken up: a rebuilt decider follows the journal, so that each end releases what
        # it released, and each stop finds open what it found open.
        self._early: list[tuple[int, int, Act | BlockAct]] = []
        self._order = count()
        self._late: deque[Act] = deque()
        self._drafts: list[Draft] = []
        self._blocks = Blocks(self)
        files = str(state.started.get("files", ""))
        # The folder is the one recorded: what a text says of a file is the same wherever the run goes on.
        self.stored: Callable[[dict[str, Any]], str] = lambda value: f"{files}/{value['$file']}"
        self.info: dict[str, Any] = {
            "id": run.run_id,
            "name": state.started.get("name") or graph.name,
            "dir": state.started["folder"],
            "started_at": rfc3339(state.started_at),
            "status": "running",
        }
        scope = Scope(
            None,
            {
                "inputs": state.started["inputs"],
                "run": self.info,
                "secrets": SecretsView(frozenset(state.started.get("secrets", ()))),
            },
        )
        self.scope = scope
        self.root = self._blocks.enter(graph.root, owner=None, path="", scope=scope, ready_at=state.started_at)
        if state.limit is not None:
            heappush(self._early, (state.limit_seq, next(self._order), self.root))
        if state.cancel is not None:
            heappush(self._early, (state.cancel_seq, next(self._order), self.root))
        self._take_up()

    # What the driver calls

    def apply(self, draft: Draft, *, at: int) -> None:
        """Fold a record that the driver made, and queue what it touches."""
        self.state.apply(draft, seq=self.state.head + 1, at=at)
        path = draft.path
        if draft.kind == "started":
            self.in_flight[path] = self.permitted.pop(path)
            self.fresh.pop(path, None)
        elif draft.kind == "cancel_requested":
            self._blocks.stop(self.root)
        elif draft.kind == "limit_reached":
            self._limit_reached(path, draft.body)
        elif draft.kind == "budget_added":
            self.budgets.added(path)
            self._ask_again(path)
        else:
            self.in_flight.pop(path, None)
            if path in self.acts:
                self.look_again(self.acts[path])

    def _limit_reached(self, path: str, body: dict[str, Any]) -> None:
        """The limit of an account: what it bounds is stopped, or agents inside get their last turn. Where it pauses,
        nothing is decided: what does not fit stays permitted."""
        if body["then"] == "finish":
            self._ask_again(path)
        elif body["then"] == "fail":
            self.budgets.over(path)
            if path:
                self.look_again(self.acts[path])
            else:
                self._blocks.stop(self.root)

    def _ask_again(self, path: str) -> None:
        """Permit anew the turns of agents inside an account, which are their last ones now, or are not any more."""
        for intent in list(self.permitted.values()):
            if intent.act.role == "turn" and any(path == account.path for account in intent.act.account.chain()):
                self.look_later(intent.act)

    def decide(self) -> list[Draft]:
        """Decide all that can be: the records of control steps, already folded. Intents wait in ``permitted``."""
        while True:
            self._take_up()
            if self._late:
                self._begin(self._late.popleft())
            elif self._blocks.finished is not None:
                self._blocks.finish_run()
            else:
                drafts, self._drafts = self._drafts, []
                return drafts

    @property
    def cancellable(self) -> bool:
        """Whether a cancel still changes the run's end: ``finally`` has seen it, and is not cut short."""
        return self.root.stage in ("main", "failure")

    def attempts_of(self, act: Act) -> int:
        """How many attempts a step has in all."""
        retry = act.node.retry
        return 1 if retry is None else self.limit(act, retry.attempts, "attempts")

    # What the kinds of steps call

    def emit(self, kind: Kind, act: Act, body: dict[str, Any]) -> None:
        """Record something of a control step, and look at it again."""
        self.record(Draft(kind, act.path, body))
        self.look_again(act)

    def record(self, draft: Draft) -> None:
        self._drafts.append(draft)
        self.state.apply(draft, seq=self.state.head + 1, at=self.state.at)

    def finish(self, act: Act, output: Any, **more: Any) -> None:
        """A control step's good end, if its output is of its type."""
        schema = act.node.output
        problems = check_value(schema, output) if schema is not None else []
        if problems:
            self.fail(
                act,
                "invalid_output",
                f"the output does not fit its type: {problems[0]}",
                detail={"problems": problems[:20]},
            )
        else:
            self.emit("done", act, {"attempt": self.round_of(act), "output": output, **more})

    def fail(self, act: Act, code: str, message: str, **more: Any) -> None:
        """A control step's bad end. ``more``: status, detail, step (the path of the inner step it comes from)."""
        body: dict[str, Any] = {"code": code, **error_body({"message": message} | more)}
        attempt = self.round_of(act)
        if attempt is not None:
            body["attempt"] = attempt
        handled = handled_by(act)
        self.emit("failed", act, {"handled": handled} | body if handled else body)

    def fail_like(self, act: Act, child: Act) -> None:
        """Fail as an inner step did. What deals with the inner one's failure deals with this one."""
        error = dict(
            (child.recorded.error if child.recorded else None) or {"code": "failed", "message": "an inner step failed"}
        )
        handled = child.recorded.handled if child.recorded else None
        self.fail(act, error.pop("code"), error.pop("message"), **({"step": child.path} | error), handled=handled)

    def round_of(self, act: Act) -> int | None:
        """The number of a control step's end; of a call's, that of the attempt which was lost, or could not be made.
        None where a budget let none be made."""
        step = self.state.steps.get(act.path)
        if step is None:
            return 1
        if step.limit is not None and not step.lost and not steps.KINDS[act.kind].timed:
            return None
        return step.attempt + (not step.lost) if step.attempt else step.round

    def wait(self, act: Act, step: StepState) -> None:
        """An effect is in doubt, and a person has to say what became of it. Names the driver it was under way in."""
        if step.status != "waiting":
            body: dict[str, Any] = {"reason": "doubt", "attempt": step.attempt}
            if self.state.claim.get("previous"):
                body["driver"] = self.state.claim["previous"]
            self.record(Draft("waiting", act.path, body))
        self.tell_owner(act, waits=True)

    def wait_for_answer(self, act: Act) -> None:
        """A call waits for an approval: until its step's timeout, counted from the question."""
        step = self.state.steps[act.path]
        timeout = self.timeout(act, act.node.timeout)
        if timeout is not None and step.fired is None:
            self.timers[act.path] = max(step.asked_at, self.state.resumed_at) + timeout
        self.tell_owner(act, waits=True)

    def tell_owner(self, act: Act, *, waits: bool) -> None:
        """Tell the steps around that an activation waits for a person, or goes on."""
        if waits:
            self._asking.add(act.path)
        else:
            self._asking.discard(act.path)
        self._tell(act)

    def _tell(self, act: Act) -> None:
        """Tell each step around an activation whether all that goes on in what is directly inside it waits."""
        owner = act.owner if isinstance(act.owner, Act) else act.owner.owner
        if owner is not None:
            steps.KINDS[owner.kind].child_waits(self, owner, act, waits=self._waits(act))
            self._tell(owner)

    def _waits(self, act: Act) -> bool:
        fallback = self.acts.get(f"{act.path}/@error")
        inside = [each for each in steps.KINDS[act.kind].live(act) if each.phase is not Phase.ENDED]
        inside += [] if fallback is None else [fallback]
        return act.path in self._asking or (bool(inside) and all(map(self._waits, inside)))

    def look_later(self, act: Act) -> None:
        """Queue an activation that has something to decide."""
        self._late.append(act)

    def look_again(self, act: Act) -> None:
        """Have what is recorded of an activation taken up, when its turn comes."""
        step = self.state.steps.get(act.path)
        turn = 0
        if step is not None and step.ended:
            turn = step.ended_seq
        elif step is not None and step.fired is not None and act.stop is None and act.phase is Phase.OPEN:
            turn = step.fired_seq
        heappush(self._early, (turn, next(self._order), act))

    def child(
        self,
        owner: Act,
        node: Node,
        path: str,
        *,
        role: Role,
        kind: str | None = None,
        scope: Scope | None = None,
        ready_at: int | None = None,
    ) -> Act:
        """Begin an activation inside another one."""
        act = Act(
            node,
            path,
            kind=kind or steps.kind_of(node),
            scope=scope or owner.scope,
            owner=owner,
            role=role,
            state=self.state,
            ready_at=owner.ready_at if ready_at is None else ready_at,
        )
        act.phase = Phase.QUEUED
        act.account = self.budgets.enter(act)
        self.acts[path] = act
        self.look_again(act)
        return act

    def enter(self, act: Act, block: Block) -> BlockAct:
        """Begin the steps of a group."""
        return self._blocks.enter(block, owner=act, path=f"{act.path}/", scope=act.scope, ready_at=act.ready_at)

    def permit(self, intent: Intent) -> None:
        """Allow an effect. ``fresh`` are those that its driver has not looked at."""
        self.permitted[intent.path] = self.fresh[intent.path] = intent

    def render(self, act: Act, value: Value, field: str, *, env: dict[str, Any] | None = None) -> Any:
        """The value of a field. Raises Skip where it is absent, EvalError where it has none."""
        if isinstance(value, Const):
            return value.value
        result = self.render_or_absent(act, value, field, env=env)
        if result is ABSENT:
            raise Skip
        return result

    def render_or_absent(self, act: Act, value: Value, field: str, *, env: dict[str, Any] | None = None) -> Any:
        return render(
            value,
            act.scope.env if env is None else env,
            now=act.ready_at,
            seed=self.seed(act.path, field),
            stored=self.stored,
        )

    def render_prompt(self, act: Act, value: Value | None, field: str) -> tuple[str, list[dict[str, Any]]]:
        """A prompt's text, and the files that it brings along. Raises Skip where a part is absent, EvalError."""
        if value is None:
            return "", []
        found = render_prompt(
            value, act.scope.env, now=act.ready_at, seed=self.seed(act.path, field), stored=self.stored
        )
        if isinstance(found, Absent):
            raise Skip
        return found

    def evaluate(self, act: Act, source: str, field: str, *, env: dict[str, Any] | None = None) -> Any:
        """The value of a bare expression, which may be ABSENT."""
        return evaluate(
            parse(source), act.scope.env if env is None else env, now=act.ready_at, seed=self.seed(act.path, field)
        )

    def seed(self, path: str, field: str) -> str:
        return f"{self.state.started['seed']}\0{path}\0{field}"

    def limit(self, act: Act, value: Value, field: str) -> int:
        """A limit (over inputs alone): a whole number from 1 on."""
        number = self.render(act, value, field)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise Wrong("invalid_input", f"`{field}` must be a whole number from 1 on, not {number!r}")
        return number

    def timeout(self, act: Act, value: Value | None) -> int | None:
        """A timeout in microseconds."""
        if value is None:
            return None
        found = self.render(act, value, "timeout")
        return micros(found)

    def stop(self, act: Act, reason: dict[str, Any]) -> None:
        """Begin to take an activation down; it ends when what runs in it has ended."""
        if act.phase is Phase.ENDED or (act.stop is not None and (reason or not act.stop)):
            return
        if act.stop is not None:
            # Its own timeout was taking it down; now its scope does, and what it would fail with matters no more.
            act.stop = reason
            self.look_again(act)
            return
        act.stop = reason
        if act.path in self.in_flight:
            self.cancels.append(act.path)
        fallback = self.acts.get(f"{act.path}/@error")
        if fallback is not None:
            self.stop(fallback, {})
        steps.KINDS[act.kind].stop(self, act)
        self.look_again(act)

    def stop_block(self, block: BlockAct) -> None:
        """Take the steps of a scope down; its ``finally`` still runs."""
        self._blocks.stop(block)

    # The life of an activation

    def _take_up(self) -> None:
        """Take up what is recorded. What was sent to a run that nobody drove is judged after this, before anything is
        decided."""
        while self._early:
            _, _, found = heappop(self._early)
            self._blocks.stop(found) if isinstance(found, BlockAct) else self._look(found)

    def _look(self, act: Act) -> None:
        """Take up what is recorded of an activation. Nothing is decided here."""
        if act.phase is Phase.ENDED:
            return
        step = self.state.steps.get(act.path)
        if step is not None and step.ended:
            self._end(act)
        elif act.stop is not None:
            self._look_stopped(act, step)
        elif step is not None and step.handled == "step":
            self._look_handled(act)
        elif step is not None and step.fired is not None and act.phase is Phase.OPEN:
            self.stop(act, _late_for(step))
        elif act.phase is Phase.QUEUED:
            self._look_queued(act, step)
        else:
            steps.KINDS[act.kind].progress(self, act, step)

    def _look_queued(self, act: Act, step: StepState | None) -> None:
        kind = steps.KINDS[act.kind]
        if not kind.descends(step) or self._condition(act) is not True:
            if step is not None and (step.limit is not None or (step.fired is not None and pending(step))):
                self.stop(act, _late_for(step))
            else:
                self._late.append(act)
            return
        try:
            self._open(act)
            kind.begin(self, act, step)
        except (Skip, Wrong, EvalError):
            act.phase = Phase.QUEUED
            self._late.append(act)
            return
        kind.progress(self, act, step)
        if step is not None and step.fired is not None:
            self.look_again(act)

    def _begin(self, act: Act) -> None:
        """Decide: begin an activation, or let its kind go on."""
        step = self.state.steps.get(act.path)
        if act.phase is Phase.ENDED or (step is not None and step.ended):
            return
        if act.stop is not None:
            self._decide_stopped(act, step)
            return
        if step is not None and step.handled == "step":
            return
        try:
            if act.phase is Phase.QUEUED:
                if not self._decide_condition(act):
                    return
                self._open(act)
                steps.KINDS[act.kind].begin(self, act, step)
            steps.KINDS[act.kind].decide(self, act, step)
        except Skip:
            self.emit("skipped", act, {"reason": "absent"})
        except Wrong as wrong:
            self.fail(act, wrong.code, wrong.message, detail=wrong.detail)
        except EvalError as error:
            self.fail(act, error.code, error.message)

    def _open(self, act: Act) -> None:
        act.phase = Phase.OPEN
        if steps.KINDS[act.kind].timed:
            timeout = self.timeout(act, act.node.timeout)
            step = act.recorded
            if timeout is not None and (step is None or step.fired is None):
                # A run that is taken up again has its time anew.
                self.timers[act.path] = max(act.ready_at, self.state.resumed_at) + timeout

    def _condition(self, act: Act) -> bool | None:
        """Whether ``if`` lets the step run; None where that has to be decided."""
        source = act.node.condition
        if source is None:
            return True
        try:
            return self.evaluate(act, source, "if") is True
        except EvalError:
            return None

    def _decide_condition(self, act: Act) -> bool:
        source = act.node.condition
        if source is None:
            return True
        found = self.evaluate(act, source, "if")
        if found is True:
            return True
        if found is False or found is ABSENT:
            self.emit("skipped", act, {"reason": "if" if found is False else "absent"})
            return False
        raise Wrong("expression", "`if` gives neither true nor false")

    def _look_handled(self, act: Act) -> None:
        """The step failed, and its fallback stands in."""
        self.timers.pop(act.path, None)
        self.budgets.leave(act)
        fallback = act.node.fallback
        path = f"{act.path}/@error"
        known = self.acts.get(path)
        if known is None and fallback is not None:
            error = (act.recorded.error if act.recorded else None) or {}
            scope = Scope(act.scope, {"error": error_of({"step": act.path} | error)}, block=self._inner(act))
            self.child(
                act,
                fallback,
                path,
                role="fallback",
                scope=scope,
                ready_at=act.recorded.ended_at if act.recorded else None,
            )

    def _inner(self, act: Act) -> BlockAct | None:
        """The steps inside a group, to look at: nothing is begun."""
        config = act.node.config
        if not isinstance(config, GroupConfig):
            return None
        block = BlockAct(config.block, owner=act, path=f"{act.path}/")
        for name, node in config.block.by_name.items():
            block.acts[name] = Act(
                node,
                block.path + name,
                kind=steps.kind_of(node),
                scope=act.scope,
                owner=block,
                role="step",
                state=self.state,
                ready_at=act.ready_at,
            )
        return block

    def _fallback_ended(self, act: Act, child: Act) -> None:
        step = child.recorded
        if step is not None and step.status == "done":
            self.emit("done", act, {"output": step.output, "by": "fallback"})
            return
        error = step.error if step is not None and step.status == "failed" else None
        error = error or (act.recorded.error if act.recorded else None) or {}
        handled = {"handled": "continue"} if step is not None and step.handled == "continue" else {}
        self.emit("failed", act, {"step": child.path, **error, "by": "fallback", **handled})

    def _look_stopped(self, act: Act, step: StepState | None) -> None:
        if self._busy(act, step):
            return
        if act.stop or pending(step):
            self._late.append(act)
        else:
            self._end(act)

    def _busy(self, act: Act, step: StepState | None) -> bool:
        """Whether something of an activation, or inside it, still runs."""
        inside = steps.KINDS[act.kind].busy(act) or f"{act.path}/@error" in self.acts
        return inside or (step is not None and step.open)

    def _decide_stopped(self, act: Act, step: StepState | None) -> None:
        """All that ran inside has ended: fail with what it was stopped for, if it was not its scope that ended it."""
        if not act.stop and step is not None and pending(step):
            # Nobody is to answer it any more.
            self.emit("cancelled", act, {"attempt": step.attempt})
        elif not act.stop:
            self.look_again(act)
        elif not self._busy(act, step):
            stop, act.stop = act.stop, None
            self.fail(
                act, stop["code"], stop["message"], **{key: stop.get(key) for key in ("status", "detail", "step")}
            )

    def _end(self, act: Act) -> None:
        act.phase = Phase.ENDED
        act.data = None
        self.acts.pop(act.path, None)
        self.permitted.pop(act.path, None)
        self.timers.pop(act.path, None)
        self.fresh.pop(act.path, None)
        self.budgets.leave(act)
        self._asking.discard(act.path)
        self._leave(act)
        around = act.owner if isinstance(act.owner, Act) else act.owner.owner
        if self._asking and around is not None:
            # What is left in it may all be waiting now.
            self._tell(around)

    def _leave(self, act: Act) -> None:
        """Tell what an activation stands in that it has ended."""
        owner = act.owner
        if isinstance(owner, BlockAct):
            self._blocks.child_ended(owner, act)
            return
        if act.role != "fallback":
            steps.KINDS[owner.kind].child_ended(self, owner, act)
        elif owner.stop is None:
            self._fallback_ended(owner, act)
        if owner.stop is not None:
            self.look_again(owner)


def _late_for(step: StepState) -> dict[str, Any]:
    """What a step is stopped for: the limit of a budget, or its own timeout."""
    if step.limit is not None:
        return limited(step.limit)
    return {"code": "timeout", "message": "the step took longer than its timeout"}
