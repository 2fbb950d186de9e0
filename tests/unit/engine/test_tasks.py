"""Tasks for effects: none is left behind, and what one raises is heard of."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from orchestrator.engine.tasks import Tasks

pytestmark = pytest.mark.anyio


async def inside(scope: anyio.CancelScope, seen: list[str], name: str, *, fails: bool = False) -> None:
    with scope:
        seen.append(f"{name} begins")
        if fails:
            raise ValueError(name)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(f"{name} ends")


def start(tasks: Tasks, seen: list[str], name: str, *, fails: bool = False) -> anyio.CancelScope:
    scope = anyio.CancelScope()
    tasks.start(inside(scope, seen, name, fails=fails), scope)
    return scope


async def test_each_runs_until_its_scope_is_cancelled() -> None:
    tasks, seen = Tasks(), list[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(tasks.run)
        one = start(tasks, seen, "one")
        start(tasks, seen, "two")
        await anyio.wait_all_tasks_blocked()
        one.cancel()
        await anyio.wait_all_tasks_blocked()
        assert seen == ["one begins", "two begins", "one ends"]
        group.cancel_scope.cancel()
    assert seen[3:] == ["two ends"]


async def test_one_that_has_not_begun_is_waited_for_too() -> None:
    tasks, seen = Tasks(), list[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(tasks.run)
        await anyio.wait_all_tasks_blocked()
        start(tasks, seen, "one")
        group.cancel_scope.cancel()
    assert seen == ["one begins", "one ends"]


async def test_an_error_ends_all_of_them() -> None:
    tasks, seen = Tasks(), list[str]()
    start(tasks, seen, "one")
    start(tasks, seen, "two", fails=True)
    start(tasks, seen, "three", fails=True)
    with pytest.raises(ValueError, match="^two$"):
        await tasks.run()
    assert seen == ["one begins", "two begins", "three begins", "one ends"]


async def test_a_task_that_somebody_else_cancels_is_no_error() -> None:
    tasks = Tasks()
    async with anyio.create_task_group() as group:
        group.start_soon(tasks.run)
        start(tasks, [], "one")
        await anyio.wait_all_tasks_blocked()
        for task in asyncio.all_tasks():
            if task.get_coro().__name__ == "inside":  # type: ignore[union-attr]
                task.cancel()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
