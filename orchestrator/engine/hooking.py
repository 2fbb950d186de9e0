"""Hooks after a call: part of the call's own attempt, so that what is recorded is what they have left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from orchestrator.engine.hooks import BadHook, changes, hooks_at
from orchestrator.providers.protocol import ModelError
from orchestrator.tools.protocol import Done, Failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.agents.messages import Reply
    from orchestrator.engine.activation import Act, Intent
    from orchestrator.engine.decide import Decider
    from orchestrator.engine.hooks import Point
    from orchestrator.graph.nodes import HooksDef
    from orchestrator.tools.protocol import Outcome

Caller: TypeAlias = "Callable[[HooksDef, str, dict[str, Any]], Awaitable[Outcome]]"
"""Calls a hook with an event, and gives how that ended."""


def told(point: Point, event: dict[str, Any], outcome: Done) -> Outcome:
    """What a hook changed, as the result of its call."""
    try:
        return Done(changes(point, event, outcome.output))
    except BadHook as error:
        return Failed("hook_error", error.problem)


async def after_tool(decider: Decider, intent: Intent, outcome: Done, call: Caller) -> Outcome:
    """A tool's result as the hooks leave it."""
    for hooks, ref in hooks_at(decider, intent.act, "after_tool"):
        from orchestrator.engine.steps.call import agent_name

        args = intent.request.get("args")
        event = {"agent": agent_name(intent.act), "path": intent.path, "tool": intent.tool, "args": args}
        found = await _called(call, hooks, ref, "after_tool", {**event, "result": outcome.output})
        if isinstance(found, Failed):
            return found
        outcome = replace(outcome, output=found.get("result", outcome.output), settled=False)
    return outcome


async def after_model(decider: Decider, intent: Intent, reply: Reply, call: Caller) -> Reply:
    """A model's reply as the hooks leave it. Raises ModelError where one fails; the reply is paid for all the same."""
    agent = cast("Act", intent.act.owner)
    for hooks, ref in hooks_at(decider, agent, "after_model"):
        response = {"content": reply.content, "stop": reply.stop, "model": reply.model}
        event = {"agent": agent.node.config.agent.name, "path": intent.path, "response": response}  # pyright: ignore[reportAttributeAccessIssue]
        found = await _called(call, hooks, ref, "after_model", event)
        if isinstance(found, Failed):
            raise ModelError("hook_error", found.message, usage=reply.usage)
        reply = replace(reply, content=found.get("response.content", reply.content))
    return reply


async def _called(
    call: Caller, hooks: HooksDef, ref: str, point: Point, event: dict[str, Any]
) -> dict[str, Any] | Failed:
    """What one hook changed, or how it failed."""
    outcome = await call(hooks, ref, event)
    if isinstance(outcome, Done):
        outcome = told(point, event, outcome)
    if isinstance(outcome, Done):
        return cast("dict[str, Any]", outcome.output)
    return Failed("hook_error", f"the hook {ref} failed: {outcome.message}")
