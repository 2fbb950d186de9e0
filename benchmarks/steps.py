"""The steps of the workloads, as a user would write them: pipelines name these functions.

``BENCH_CRASH_AFTER`` ends the process as the step after so many begins; ``BENCH_STEPS`` names a file that gets a line
with the time as each one begins.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

_CRASH_AFTER = int(os.environ.get("BENCH_CRASH_AFTER") or 0)
_STEPS = os.environ.get("BENCH_STEPS")
_begun = 0


def _tick() -> None:
    global _begun
    _begun += 1
    if _STEPS:
        with Path(_STEPS).open("a") as out:
            out.write(f"{time.monotonic()!r}\n")
    if _CRASH_AFTER and _begun > _CRASH_AFTER:
        os._exit(42)


async def one(i: int) -> dict[str, int]:
    """A step that does nothing."""
    _tick()
    return {"i": i}


async def nap(i: int) -> dict[str, int]:
    """A step that takes 10 ms."""
    await asyncio.sleep(0.01)
    return {"i": i}


async def look(q: str) -> str:
    """A tool's result of 200 bytes."""
    del q
    return "x" * 200
