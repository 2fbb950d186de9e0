"""W4: so many runs at once in one process, of ten steps of 10 ms in sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import engine, pipelines

if TYPE_CHECKING:
    from benchmarks.measure import Place


def run(place: Place) -> dict[str, Any]:
    return engine.run(place, pipelines.naps(10), runs=place.n)
