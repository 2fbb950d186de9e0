"""Whole runs in this process, on a store of any kind: what `orch run` does, without its screen."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import pipelines
from benchmarks.measure import Place, timed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.engine.host import Host, Settings
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.store import Store


def compiled(place: Place, text: str) -> Graph:
    """The graph of a pipeline, written into the folder, which becomes the working directory."""
    from orchestrator.app.pipeline import read_pipeline

    os.chdir(place.folder)
    os.environ["XDG_CACHE_HOME"] = str(place.folder / "cache")
    return read_pipeline(str(pipelines.write(place.folder, text))).graph


@contextlib.asynccontextmanager
async def host_on(
    place: Place, *, store: Store | None = None, settings: Settings | None = None
) -> AsyncGenerator[Host]:
    """A host on the store of ``place`` (or on ``store``), with the services of the command line."""
    from orchestrator.app.services import build_services
    from orchestrator.clock import SystemClock
    from orchestrator.engine.host import Host
    from orchestrator.stores import open_store
    from orchestrator.tools.redact import Redactor

    services = build_services({}, redactor=Redactor({}), files_folder=place.folder / "files")
    store = store or open_store(place.store)
    await store.open()
    try:
        async with Host(store=store, services=services, clock=SystemClock(), settings=settings) as host:
            yield host
    finally:
        await store.aclose()


async def drive(host: Host, graph: Graph, place: Place, run_id: str) -> None:
    """Run to the end; a run that is not done is an error."""
    end = await host.start(graph, inputs={}, run_id=run_id, folder=str(place.folder))
    if end.status != "done":
        raise SystemExit(f"the run is {end.status}: {end.error}")


def run(place: Place, text: str, *, runs: int = 1) -> dict[str, Any]:
    """Run a pipeline so many times at once, in one process, and time it from the start of the first to the last end."""
    graph = compiled(place, text)

    async def work() -> dict[str, Any]:
        out: dict[str, Any] = {}
        async with host_on(place) as host:
            with timed(out):
                async with anyio.create_task_group() as group:
                    for number in range(runs):
                        group.start_soon(drive, host, graph, place, f"run{number}")
            out["records"] = (await host.store.get_run("run0")).head
        return out

    return anyio.run(work)
