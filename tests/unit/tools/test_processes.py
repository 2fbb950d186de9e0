from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from orchestrator.platform import process_gone, process_started
from orchestrator.tools import processes
from orchestrator.tools.guard import descendants
from orchestrator.tools.processes import Ended, NotStarted, Vanished, run

pytestmark = pytest.mark.anyio

# Children that ignore TERM, leave the session, lose their parent, and hold stdout.
FAMILY = """
trap '' TERM
(trap '' TERM; sleep 600) &
setsid sleep 600 &
setsid sh -c 'trap "" TERM; sleep 600 & sleep 600' &
(setsid sh -c 'setsid sleep 600 &' &)
echo ready
"""
WAIT = FAMILY + "wait\nsleep 600\n"


def names(folder: str | Path) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def marked(mark: str) -> list[int]:
    """The pids of living processes that have ``mark`` in their environment."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  other processes set no event
            await anyio.sleep(0.01)


def environment(mark: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "MARK": mark}


async def test_a_cancelled_call_leaves_no_process(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-cancel"
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def go() -> None:
                await run(["bash", "-c", WAIT], env=environment(mark), folder=str(tmp_path), grace=0.1)

            group.start_soon(go)
            await until(lambda: len(marked(mark)) >= 7)
            scope.cancel()
    assert scope.cancelled_caught
    assert marked(mark) == []


async def test_a_program_that_ends_leaves_no_process(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-end"
    end = await run(["bash", "-c", FAMILY], env=environment(mark), folder=str(tmp_path), grace=0.1)
    assert isinstance(end, Ended)
    assert (end.exit, end.stdout) == (0, b"ready\n")
    assert marked(mark) == []


async def test_a_polite_program_is_asked_first(tmp_path: Path) -> None:
    with anyio.move_on_after(20) as scope:
        async with anyio.create_task_group() as group:

            async def go() -> None:
                script = "trap 'echo bye > said; exit 0' TERM; touch up; while :; do sleep 0.02; done"
                await run(["bash", "-c", script], env=environment("polite"), folder=str(tmp_path), grace=10)

            group.start_soon(go)
            await until((tmp_path / "up").exists)
            scope.cancel()
    assert (tmp_path / "said").read_text() == "bye\n"


DRIVER = """
import anyio, os, sys
from orchestrator.tools.processes import run
async def main():
    env = {"PATH": os.environ["PATH"], "MARK": sys.argv[2]}
    await run(["bash", "-c", sys.argv[1]], env=env, folder=sys.argv[3], grace=0.1)
anyio.run(main)
"""


async def test_a_killed_driver_leaves_no_process(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-driver"
    driver = await to_thread.run_sync(subprocess.Popen, [sys.executable, "-c", DRIVER, WAIT, mark, str(tmp_path)])
    try:
        await until(lambda: len(marked(mark)) >= 7)
        family = {pid: process_started(pid) or 0 for pid in descendants(driver.pid)}
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert len(family) >= 7  # the guard among them
    await until(lambda: marked(mark) == [] and all(process_gone(*one) for one in family.items()))


async def test_a_program_that_kills_its_guard_has_an_unknown_end_and_dies(tmp_path: Path) -> None:
    end = await run(["bash", "-c", "kill -9 $PPID; sleep 600"], env=environment("x"), folder=str(tmp_path))
    assert end == Vanished()


async def test_what_cannot_be_started(tmp_path: Path) -> None:
    env = environment("x")
    assert await run(["none-such"], env=env, folder=str(tmp_path)) == NotStarted(2)
    (tmp_path / "plain").touch(mode=0o644)
    assert await run(["./plain"], env=env, folder=str(tmp_path)) == NotStarted(13)
    assert await run(["true"], env=env, folder=str(tmp_path / "none")) == NotStarted(2)
    assert await run(["tr\0ue"], env=env, folder=str(tmp_path)) == NotStarted(22)
    assert str(NotStarted(2)) == "No such file or directory"


async def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(names("/proc/self/fd"))
    for argv in (["true"], ["none-such"], ["true", "\0"]):
        await run(argv, env=environment("x"), folder=str(tmp_path), stdin=b"x")
    assert len(names("/proc/self/fd")) <= before + 1  # the loop keeps one for signals


async def test_outputs_are_bounded_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tools.processes.KEPT", 1_000)
    end = await run(["bash", "-c", "head -c 500000 /dev/zero; echo e >&2"], env=environment("x"), folder=str(tmp_path))
    assert isinstance(end, Ended)
    assert (len(end.stdout), end.dropped_stdout, end.stderr) == (1_000, 499_000, b"e\n")


def test_descendants_are_found_below_a_process() -> None:
    script = (
        "import os, time; os.fork() or (os.setsid(), os.fork()); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pids = {int(parent.stdout.readline()) for _ in range(3)}
        assert parent.pid in pids
        assert set(descendants(parent.pid)) == pids - {parent.pid}
    finally:
        for pid in descendants(parent.pid):
            os.kill(pid, signal.SIGKILL)
        parent.kill()
        parent.communicate()


def test_the_guard_imports_nothing_of_ours_and_little_else() -> None:
    guard = str(Path(processes.__file__).with_name("guard.py"))
    script = f"import sys; exec(compile(open({guard!r}).read(), 'guard', 'exec'), {{}}); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    heavy = ("orchestrator", "anyio", "asyncio", "typing", "pathlib", "subprocess", "json", "re", "contextlib")
    assert "marshal" in shown.stdout.split()
    assert not [name for name in shown.stdout.split() if name.partition(".")[0] in heavy]
