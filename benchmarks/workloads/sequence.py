"""W1: so many steps in sequence, each recorded before the next one begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import engine, pipelines

if TYPE_CHECKING:
    from benchmarks.measure import Place


def run(place: Place) -> dict[str, Any]:
    return engine.run(place, pipelines.sequence(place.n))
