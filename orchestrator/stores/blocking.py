"""For a command that asks a store something and ends: the event loop alone, without what costs 15 ms to import."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def run_blocking(perform: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``perform`` gives, on an event loop of its own."""
    return asyncio.run(perform())
