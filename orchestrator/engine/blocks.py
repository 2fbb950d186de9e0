"""Scopes of named steps: their stages, from the steps to ``on_failure``, ``finally`` and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.engine.activation import Act, BlockAct, Phase
from orchestrator.engine.budgets import limited
from orchestrator.engine.scope import Scope, error_of
from orchestrator.engine.steps.common import fails_scope, failure_of, join_of, kind_of
from orchestrator.expr import ABSENT, EvalError
from orchestrator.expr.values import render
from orchestrator.journal.records import Draft

if TYPE_CHECKING:
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import Block, Node


class Blocks:
    """The scopes of one run. ``finished`` is the outermost one once it is over, until the run's end is recorded."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self.finished: BlockAct | None = None

    def enter(self, block: Block, *, owner: Act | None, path: str, scope: Scope, ready_at: int) -> BlockAct:
        """Begin the steps of a scope."""
        found = BlockAct(block, owner=owner, path=path)
        found.scope = Scope(scope, {}, block=found)
        found.account = self._decider.budgets.root if owner is None else owner.account
        self._add(found, block.nodes, scope=found.scope, ready_at=ready_at)
        return found

    def _add(self, block: BlockAct, nodes: tuple[Node, ...], *, scope: Scope, ready_at: int) -> None:
        """The steps of a stage; those that wait for nothing are queued."""
        block.left = len(nodes)
        for node in nodes:
            act = Act(
                node,
                block.path + node.name,
                kind=kind_of(node),
                scope=scope,
                owner=block,
                role="step",
                state=self._decider.state,
                ready_at=ready_at,
            )
            block.acts[node.name] = act
            if block.stage == "finally":
                act.unmet = sum(need in {other.name for other in nodes} for need in node.needs)
        for node in nodes:
            if block.acts[node.name].unmet == 0:
                self._queue(block, block.acts[node.name])
        if not nodes:
            self._stage_over(block)

    def _queue(self, block: BlockAct, act: Act) -> None:
        act.phase = Phase.QUEUED
        block.live += 1
        act.account = self._decider.budgets.enter(act)
        self._decider.acts[act.path] = act
        self._decider.look_again(act)

    def child_ended(self, block: BlockAct, act: Act) -> None:
        """A step has ended: it fails the scope, or releases what waits for it."""
        block.live -= 1
        block.left -= 1
        if block.stage == "main" and not block.stopping and join_of(block) == "all" and fails_scope(act):
            self.stop(block)
        elif not block.stopping or block.stage == "finally":
            ended_at = act.recorded.ended_at if act.recorded else None
            for node in block.block.dependents.get(act.node.name, ()):
                dependent = block.acts.get(node.name)
                if dependent is not None and dependent.phase is Phase.WAITING:
                    dependent.unmet -= 1
                    dependent.ready_at = max(dependent.ready_at, ended_at or 0)
                    if dependent.unmet == 0:
                        self._queue(block, dependent)
        if block.live == 0 and (block.left == 0 or (block.stopping and block.stage == "main")):
            self._stage_over(block)

    def stop(self, block: BlockAct) -> None:
        """Take the steps of a scope down; its ``finally`` still runs."""
        if block.stage == "failure":
            self._decider.stop(self._decider.acts["@failure"], {})
            return
        if block.stage != "main" or block.stopping:
            return
        block.stopping = True
        for act in list(block.acts.values()):
            if act.phase in (Phase.QUEUED, Phase.OPEN):
                self._decider.stop(act, {})
        if block.live == 0:
            self._stage_over(block)

    def _stage_over(self, block: BlockAct) -> None:
        """On to ``on_failure`` (of the whole run), then ``finally``, then the end."""
        if block.stage == "over":
            return
        failure = failure_of(block)
        at = max((act.recorded.ended_at or 0 for act in block.acts.values() if act.recorded), default=0)
        names = {
            "error": error_of(limited(limit))
            if (limit := self._decider.state.limit) is not None
            else error_of(failure.recorded.error | {"step": failure.path})
            if failure and failure.recorded and failure.recorded.error
            else None
        }
        scope = Scope(block.scope, names | {"run": self._decider.info | {"status": self._status(block)}})
        ready_at = max(at, self._decider.state.started_at)
        if (
            block.stage == "main"
            and block.owner is None
            and self._decider.graph.on_failure
            and self._status(block) == "failed"
        ):
            block.stage = "failure"
            block.left = 1
            node = self._decider.graph.on_failure
            act = Act(
                node,
                "@failure",
                kind=kind_of(node),
                scope=scope,
                owner=block,
                role="failure",
                state=self._decider.state,
                ready_at=ready_at,
            )
            self._queue(block, act)
        elif block.stage != "finally" and block.block.finally_:
            block.stage = "finally"
            self._add(block, block.block.finally_, scope=scope, ready_at=ready_at)
        elif block.owner is None:
            block.stage = "over"
            self.finished = block
        else:
            block.stage = "over"
            self._decider.look_again(block.owner)

    def _status(self, block: BlockAct) -> str:
        if self._decider.state.cancel is not None:
            return "cancelled"
        if self._decider.state.limit is not None:
            return "limited"
        failure = failure_of(block)
        if failure is None or failure.recorded is None:
            return "done"
        # A budget that stops a run is not a failure of it.
        return "limited" if (failure.recorded.error or {}).get("code") == "limited" else "failed"

    def finish_run(self) -> None:
        """Record the run's end."""
        block, self.finished = self.finished, None
        if block is None or self._decider.state.finished is not None:
            return
        status = self._status(block)
        body: dict[str, Any] = {"status": status}
        failure = failure_of(block)
        if status == "limited" and self._decider.state.limit is not None:
            body["error"] = error_of(limited(self._decider.state.limit))
        elif status in ("failed", "limited") and failure is not None and failure.recorded is not None:
            body["error"] = error_of({"step": failure.path} | (failure.recorded.error or {}))
        elif status == "done":
            body |= self._outputs(block)
        self._decider.record(Draft("run_finished", "", body))

    def _outputs(self, block: BlockAct) -> dict[str, Any]:
        """The run's outputs; an absent one is null."""
        outputs: dict[str, Any] = {}
        for name, value in self._decider.graph.outputs.items():
            try:
                found = render(
                    value,
                    block.scope.env,
                    now=self._decider.state.at,
                    seed=self._decider.seed("", f"outputs.{name}"),
                    stored=self._decider.stored,
                )
            except EvalError as error:
                return {
                    "status": "failed",
                    "error": error_of({"code": error.code, "message": error.message, "step": f"outputs.{name}"}),
                }
            outputs[name] = None if found is ABSENT else found
        return {"outputs": outputs}
