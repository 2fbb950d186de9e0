"""Checking a long file, beside ruamel's own load of it, in turns in one process."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks import pipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Place

TIMES = 5


def run(place: Place) -> dict[str, Any]:
    """``wall`` and ``ruamel`` in seconds; the first time of each is not counted."""
    from ruamel.yaml import YAML

    from orchestrator.app.pipeline import examine

    os.chdir(place.folder)
    text = pipelines.long_file(place.n)
    file = pipelines.write(place.folder, text)
    walls: list[float] = []
    loads: list[float] = []
    for _ in range(TIMES + 1):
        walls.append(_seconds(lambda: _checked(examine(str(file)))))
        loads.append(_seconds(lambda: YAML(typ="safe", pure=True).load(text)))
    return {"wall": statistics.median(walls[1:]), "ruamel": statistics.median(loads[1:]), "lines": text.count("\n")}


def _checked(found: Any) -> None:
    if found.diagnostics or found.pipeline is None:
        raise SystemExit(f"the file is not valid: {found.diagnostics[:1]}")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
