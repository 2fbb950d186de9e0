"""W3: so many steps at once in one run: of a map, written out one by one, or agents of one reply each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import engine, pipelines

if TYPE_CHECKING:
    from benchmarks.measure import Place


def run(place: Place) -> dict[str, Any]:
    return engine.run(place, pipelines.parallel(place.n))


def written(place: Place) -> dict[str, Any]:
    return engine.run(place, pipelines.written(place.n))


def agents(place: Place) -> dict[str, Any]:
    return engine.run(place, pipelines.agents(place.n))
