"""The effects of the crash suite: each is told to the ledger, which is another process, before and after it happens."""

from __future__ import annotations

import threading
from typing import Any

import anyio

from orchestrator import ToolContext, ToolError
from orchestrator.journal import points
from tests.crash.ledger import tell


def _effect(context: ToolContext, effect: str) -> None:
    tell("begin", path=context.path, key=context.idempotency_key, attempt=context.attempt, effect=effect)
    tell("end", path=context.path, key=context.idempotency_key, attempt=context.attempt, effect=effect)


def plus(value: int, context: ToolContext) -> int:
    _effect(context, "plus")
    return value + 1


def look(q: str, context: ToolContext) -> str:
    _effect(context, "look")
    return f"seen {q}"


def keep(q: str, context: ToolContext) -> str:
    _effect(context, "keep")
    return f"kept {q}"


def once(value: int, context: ToolContext) -> int:
    _effect(context, "once")
    return value * 2


def flaky(context: ToolContext) -> str:
    _effect(context, "flaky")
    if context.attempt < 3:
        raise ToolError(f"attempt {context.attempt} does not work")
    return "works"


def fails(context: ToolContext) -> str:
    _effect(context, "fails")
    raise ToolError("this never works", code="broken")


def probe(n: int, before: int, context: ToolContext) -> int:
    """An effect that stays under way while the run's folder has a pipe ``hold{n}`` that nobody has opened."""
    tell("begin", path=context.path, key=context.idempotency_key, attempt=context.attempt, effect="probe")
    hold = context.folder / f"hold{n}"
    if hold.exists():
        hold.read_bytes()
    tell("end", path=context.path, key=context.idempotency_key, attempt=context.attempt, effect="probe")
    return (before * 31 + n * n) % 1_000_003


ONE_AT_A_TIME = threading.Lock()


def item(n: int, context: ToolContext) -> str:
    """An item of a map. The point ``item`` is passed once for each that is in the ledger."""
    _effect(context, "item")
    with ONE_AT_A_TIME:
        points.at("item")
    return f"{n}:{n * n}"


async def gate(value: int, context: ToolContext) -> int:
    _effect(context, "gate")
    while not (context.folder / "open").exists():  # noqa: ASYNC110  another process opens the gate
        await anyio.sleep(0.002)
    return value


def page(n: int, context: ToolContext) -> str:
    """A page of text; the number tells which."""
    _effect(context, "page")
    return f"page {n}. " + "Water runs downhill. " * 12


def shout(event: dict[str, Any]) -> dict[str, Any] | None:
    """A hook that changes what every second turn is told."""
    if event["path"].endswith(("1", "3", "5", "7", "9")):
        return {**event, "request": {**event["request"], "system": "SHOUT"}}
    return None


def odd(event: dict[str, Any]) -> dict[str, Any] | None:
    """A hook that answers one call itself, and changes another one."""
    if event["args"]["n"] == 3:
        return {**event, "result": "no page"}
    if event["args"]["n"] == 4:
        return {**event, "args": {"n": 40}}
    return None
