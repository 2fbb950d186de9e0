"""What is measured: each workload on each system and store, at which size."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import processes
from benchmarks.measure import Place
from benchmarks.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

SERVERS = {"postgres": "postgres", "mariadb": "mysql"}
STORES = ("sqlite", *SERVERS)


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement. ``heavy``: once is enough for a quick report."""

    workload: str
    system: str
    store: str
    n: int
    heavy: bool = False

    @property
    def key(self) -> str:
        return f"{self.workload} {self.system} {self.store} {self.n}"

    @property
    def group(self) -> str:
        """Jobs of one group are compared with each other."""
        workload = "w3" if self.workload in ("agents", "written") else self.workload
        return workload if workload == "hello" or self.store == "none" else f"{workload} {self.store}"


def own_jobs(*, long: bool) -> list[Job]:
    """Those of `orch` and the floor. ``long``: all sizes, and all workloads on the servers, too."""
    jobs: list[Job] = []
    for store in STORES:
        every = (("w1", 1000), ("w2", 400), ("w3", 1000), ("w4", 200), ("w5", 1000))
        for workload, n in every if long or store == "sqlite" else every[:2]:
            jobs += [Job(workload, system, store, n) for system in processes.OWN]
        jobs.append(Job("w1", "writer", store, 1000))
        if long or store == "sqlite":
            jobs += [Job("agents", "orch", store, 1000), Job("hello", "orch", store, 1)]
    jobs += [
        Job("written", "orch", "sqlite", 1000),
        Job("hello", "floor", "sqlite", 1),
        Job("w3", "orch", "sqlite", 10_000, heavy=True),
        Job("w4", "orch", "sqlite", 2000, heavy=True),
        Job("verbs", "orch", "sqlite", 1),
        Job("validate", "orch", "none", 2000),
        Job("fold", "orch", "sqlite", 50_000 if long else 10_000, heavy=True),
    ]
    if long:
        jobs += [Job("w1", system, "sqlite", n) for system in processes.OWN for n in (250, 1500)]
        jobs += [Job("w3", "floor", "sqlite", 10_000), Job("w4", "floor", "sqlite", 2000)]
    return jobs


SIZES = {"w1": 1000, "w2": 400, "w3": 1000, "w4": 200, "w5": 1000, "agents": 1000, "hello": 1}


def peer_jobs(names: Iterable[str]) -> list[Job]:
    """Those of other engines."""
    return [
        Job(workload, name, store, SIZES[workload])
        for name in names
        for workload in PEERS[name].workloads
        for store in PEERS[name].stores
        if store == PEERS[name].stores[0] or workload != "hello"
    ]


class Bench:
    """The servers, and the long journal, of one call of `make bench`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._servers: dict[str, str] = {}
        self._cut: dict[int, Path] = {}
        self.absent: list[str] = []

    def __enter__(self) -> Bench:
        from tests.services import NoService, service

        for store, name in SERVERS.items():
            try:
                self._servers[store] = self._stack.enter_context(service(name)).url
            except NoService as error:
                self.absent.append(f"{store}: not measured: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has(self, store: str) -> bool:
        """Whether a store can be measured here."""
        return store in self._servers or store not in SERVERS

    def run(self, job: Job) -> dict[str, Any]:
        """Measure once. Raises Broken."""
        with self._place(job) as place:
            match job.workload:
                case "w5":
                    return processes.resume(job.system, place)
                case "hello":
                    return processes.hello(job.system, place)
                case "verbs":
                    return processes.verbs(place)
                case "fold":
                    return processes.fold(place, self._journal(place))
                case workload:
                    return processes.worker(job.system, workload, place)

    @contextmanager
    def _place(self, job: Job) -> Generator[Place]:
        """An empty folder, and an empty store of its own."""
        from tests.databases import made

        with tempfile.TemporaryDirectory(prefix="orch-bench-") as name, ExitStack() as stack:
            url = f"sqlite:{name}/runs.db"
            if job.store in SERVERS:
                url = stack.enter_context(made(self._servers[job.store]))
            yield Place(url, Path(name), job.n)

    def _journal(self, place: Place) -> Path:
        """A folder with a long journal that was cut short; made once."""
        if place.n not in self._cut:
            folder = Path(tempfile.mkdtemp(prefix="orch-bench-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            processes.cut_journal(replace(place, folder=folder, store=f"sqlite:{folder}/runs.db"))
            self._cut[place.n] = folder
        return self._cut[place.n]
