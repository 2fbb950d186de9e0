"""Runs that die: a child process drives the reference pipeline on a real store, and is killed with SIGKILL.

The child is forked from a process that has everything imported and holds no thread, so that a crash costs milliseconds
and is as real as any.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.app.services import build_services
from orchestrator.clock import SystemClock
from orchestrator.compiler import compile as compile_spec
from orchestrator.engine.drive import RunDriver
from orchestrator.engine.host import Host, RunEnd, Settings
from orchestrator.journal import points
from orchestrator.journal.errors import Fenced, Held, NoSuchRun
from orchestrator.journal.store import InboxRow
from orchestrator.providers import load_provider
from orchestrator.spec.load import load
from orchestrator.stores import open_store
from orchestrator.tools.redact import Redactor
from tests.crash.faults import FAULTS
from tests.crash.ledger import Ledger, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.agents.messages import ModelRequest, Reply
    from orchestrator.engine.effects import Services
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.records import Record, Row
    from orchestrator.providers.protocol import ModelContext

HERE = Path(__file__).parent
ENDS = {"done": 0, "paused": 5, "limited": 6, "failed": 1, "held": 8}


@dataclass
class Case:
    """One run in the lab: where it lives, and what was seen of it before each of its crashes."""

    run_id: str
    url: str
    folder: Path
    graph: Graph
    snapshots: list[list[Row]] = field(default_factory=list)
    log: Path = Path()
    acked: Path = Path()

    @property
    def passed(self) -> Counter[str]:
        """How often each point was passed, over all processes of the run."""
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()


class ToldProvider:
    """The scripted provider, each of its calls told to the ledger with what it costs."""

    def __init__(self, services: Services) -> None:
        self._inner = load_provider("scripted")
        self._services = services

    async def call(self, request: ModelRequest, context: ModelContext) -> Reply:
        tell("begin", path="model", key="", attempt=0, effect="model")
        reply = await self._inner.call(request, context)
        cost = self._services.cost(request.settings, reply.usage) if reply.usage else 0
        tell("end", path="model", key="", attempt=0, effect="model", cost=cost)
        return reply

    async def aclose(self) -> None:
        await self._inner.aclose()


class Lab:
    """Makes cases and lets them live and die. One ledger serves all of them; with ``url``, so does one store."""

    def __init__(
        self,
        folder: Path,
        *,
        spec: Path = HERE / "reference.yaml",
        lease: float = 1.0,
        shared: int = 1,
        url: str | None = None,
    ) -> None:
        self.folder = folder
        self.url = url
        if url is not None:
            open_store(url)  # its driver is imported here, not in each child
        self.lease = lease
        self.ledger = Ledger(folder, shared=shared)
        self.graph = compiled(spec)
        self.count = 0
        self.children: list[int] = []

    def case(self, *, url: str | None = None, graph: Graph | None = None) -> Case:
        self.count += 1
        run_id = f"run-{os.getpid()}-{self.count}"
        home = self.folder / run_id
        home.mkdir()
        return Case(
            run_id=run_id,
            url=url or self.url or f"sqlite:///{home / 'runs.db'}",
            folder=home,
            graph=graph or self.graph,
            log=home / "points",
            acked=home / "acked",
        )

    def fork(
        self,
        case: Case,
        *,
        resume: bool = False,
        force: bool = False,
        at: tuple[str, int] | None = None,
        halt: tuple[str, int] | None = None,
        fault: str | None = None,
        inputs: dict[str, Any] | None = None,
        wait_for: int | None = None,
    ) -> int:
        """Start a process that drives the case; its pid. ``at`` names the point, and its passing, at which it dies;
        ``halt`` the one at which it stops until it gets SIGCONT.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self.children.append(pid)
            return pid
        code = 70
        try:
            os.environ["ORCH_TEST_RUN"] = case.run_id
            arm(case, at, halt)
            if fault is not None:
                FAULTS[fault]()
            if wait_for is not None:
                os.read(wait_for, 1)
            code = anyio.run(_live, case, self.lease, resume, force, inputs or {})
        except BaseException:  # noqa: BLE001  whatever ended the child is kept for the report
            import traceback

            (case.folder / f"error-{os.getpid()}").write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def run(self, case: Case, *, kill_after: float | None = None, once_begun: bool = False, **how: Any) -> int:
        """Drive the case in a process of its own; its exit code, negative where a signal ended it. ``kill_after`` counts
        seconds from the start of the process, or, ``once_begun``, from the run's first commit.
        """
        pid = self.fork(case, **how)
        if kill_after is not None:
            while once_begun and not case.passed["after_commit"] and not has_ended(pid):
                time.sleep(0.0005)
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = self.wait(pid)
        if code < 0:
            case.snapshots.append(rows_of(case))
        return code

    def wait(self, pid: int, *, seconds: float = 60.0) -> int:
        """The exit code of a process of ours; one that does not end by itself in time is killed."""
        deadline = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.children.remove(pid)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.0005)

    def halted(self, pid: int) -> bool:
        """True once the process has stopped at its point; False where it has ended before."""
        ended, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self.children.remove(ended)
        return False

    def finish(self, case: Case, *, old_driver_lives: bool = False, **how: Any) -> int:
        """Resume until the run has ended, answering what it asks; the last exit code."""
        for _ in range(12):
            code = self.run(case, resume=bool(rows_of(case)), **how)
            how.pop("at", None)
            if code != ENDS["paused"]:
                return code
            self.answer(case, old_driver_lives=old_driver_lives)
        return code

    def answer(self, case: Case, *, old_driver_lives: bool) -> None:
        """Settle what is in doubt, as a person would who looks at the ledger: what has ended there has happened. While
        the old driver may still be at it, the effect counts as its."""
        happened = {line["path"] for line in self.ledger.lines(case.run_id) if line["phase"] == "end"}
        resolve(case, lambda path: {"result": 14} if old_driver_lives or path in happened else {"retry": True})

    def close(self) -> None:
        """Leave nothing running, even where a test ended in the middle."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.ledger.close()


def has_ended(pid: int) -> bool:
    """True for a child that has ended, and is still to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def resolve(case: Case, said: Callable[[str], dict[str, Any]]) -> None:
    """Say of each path in doubt what became of its effect. First write wins: what was said before stands."""

    async def send() -> None:
        store = open_store(case.url)
        await store.open()
        try:
            for record in await store.load(case.run_id):
                if record.kind == "waiting":
                    request = f"resolve:{record.path}:{record.body['attempt']}"
                    row = InboxRow(
                        run_id=case.run_id, request_id=request, kind="resolve", path=record.path,
                        body=said(record.path), by="lab", at=SystemClock().now(),
                    )  # fmt: skip
                    await store.send(row)
        finally:
            await store.aclose()

    anyio.run(send)


def compiled(spec: Path) -> Graph:
    """The graph of a spec that must be right."""
    found = compile_spec(load(str(spec)))
    if found.graph is None:
        raise RuntimeError("\n".join(str(problem) for problem in found.diagnostics))
    return found.graph


def arm(case: Case, at: tuple[str, int] | None, halt: tuple[str, int] | None = None) -> None:
    """Count the points that this process passes, and die at one of them, or halt."""
    passed: Counter[str] = Counter()
    log = os.open(case.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    acked = os.open(case.acked, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def pass_point(name: str) -> None:
        os.write(log, f"{name}\n".encode())
        passed[name] += 1
        if at == (name, passed[name]):
            os.kill(os.getpid(), signal.SIGKILL)
        if halt == (name, passed[name]):
            os.kill(os.getpid(), signal.SIGSTOP)

    points.at = pass_point
    committed: Callable[[RunDriver, int], None] = RunDriver._committed

    def acknowledged(driver: RunDriver, head: int) -> None:
        os.write(acked, f"{head}\n".encode())
        committed(driver, head)

    RunDriver._committed = acknowledged


async def _live(case: Case, lease: float, resume: bool, force: bool, inputs: dict[str, Any]) -> int:
    services = build_services({}, redactor=Redactor({}), files_folder=case.folder / "files")
    services = replace(services, provider=lambda name: ToldProvider(services))
    store = open_store(case.url)
    await store.open()
    try:
        async with Host(store=store, services=services, clock=SystemClock(), settings=Settings(lease=lease)) as host:
            end: RunEnd
            if resume:
                end = await host.resume(case.run_id, force=force)
            else:
                defaults = {found.name: found.default for found in case.graph.inputs}
                end = await host.start(
                    case.graph, inputs=defaults | inputs, run_id=case.run_id, folder=str(case.folder)
                )
            return ENDS.get(end.status, 1)
    except (Held, Fenced):
        return ENDS["held"]
    finally:
        await store.aclose()


def rows_of(case: Case) -> list[Row]:
    """The journal as it lies on disk."""

    async def read() -> list[Row]:
        store = open_store(case.url)
        await store.open()
        try:
            return await store.rows(case.run_id)
        except NoSuchRun:
            return []
        finally:
            await store.aclose()

    return anyio.run(read)


def records_of(case: Case) -> list[Record]:
    """The journal, decoded and with its sums checked."""

    async def read() -> list[Record]:
        store = open_store(case.url)
        await store.open()
        try:
            return await store.load(case.run_id)
        finally:
            await store.aclose()

    return anyio.run(read)
