from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
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


SCRIPT = b'trap \'\' TERM\ntouch beside; touch "$0.more"; mkdir "${0%/*}/sub"; ln -s / "${0%/*}/sub/link"\n'


def scripted(folder: Path) -> tuple[Path, list[str]]:
    home = folder / "home"
    return home, ["bash", str(home / "script"), "one", "two"]


async def test_a_script_and_its_folder_last_as_long_as_the_program(tmp_path: Path) -> None:
    home, argv = scripted(tmp_path)
    body = SCRIPT + b'echo "$0 $1 $2"; stat -c %a "${0%/*}"'
    end = await run(argv, env=environment("x"), folder=str(tmp_path), script=(str(home), body))
    assert isinstance(end, Ended)
    assert end.stdout.decode().splitlines() == [f"{home}/script one two", "700"]
    assert names(tmp_path) == ["beside"]
    end = await run(["none-such"], env=environment("x"), folder=str(tmp_path), script=(str(home), b""))
    assert end == NotStarted(2)
    assert not home.exists()


async def test_a_cancelled_script_leaves_no_file(tmp_path: Path) -> None:
    home, argv = scripted(tmp_path)
    async with anyio.create_task_group() as group:

        async def go() -> None:
            body = SCRIPT + b"sleep 600"
            await run(argv, env=environment("x"), folder=str(tmp_path), script=(str(home), body), grace=0.05)

        group.start_soon(go)
        await until((home / "sub" / "link").is_symlink)
        group.cancel_scope.cancel()
    assert names(tmp_path) == ["beside"]


async def test_a_script_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    home, argv = scripted(tmp_path)
    home.mkdir()
    (home / "kept").touch()
    end = await run(argv, env=environment("x"), folder=str(tmp_path), script=(str(home), b"true"))
    assert end == NotStarted(17)
    assert names(home) == ["kept"]


async def test_a_killed_driver_leaves_no_script(tmp_path: Path) -> None:
    home, argv = scripted(tmp_path)
    driver = SCRIPT_DRIVER.format(argv=argv, home=str(home), body=SCRIPT + b"sleep 600", folder=str(tmp_path))
    process = await to_thread.run_sync(subprocess.Popen, [sys.executable, "-c", driver])
    try:
        await until((home / "sub" / "link").is_symlink)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await until(lambda: not home.exists())


SCRIPT_DRIVER = """
import anyio, os
from functools import partial
from orchestrator.tools.processes import run
env = {{"PATH": os.environ["PATH"]}}
anyio.run(partial(run, {argv!r}, env=env, folder={folder!r}, script=({home!r}, {body!r}), grace=0.05))
"""


async def test_one_server_forks_the_guards_of_a_process(tmp_path: Path) -> None:
    async def parents() -> list[str]:
        script = 'ps -o ppid= -p "$PPID"'
        end = await run(["bash", "-c", script], env=environment("x"), folder=str(tmp_path))
        assert isinstance(end, Ended)
        return end.stdout.decode().split()

    first = await parents()
    assert await parents() == first
    os.kill(int(first[0]), signal.SIGKILL)
    second = await parents()
    assert second != first
    assert await parents() == second


async def test_programs_end_with_their_server(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-server"
    script = FAMILY + "read -r _ _ _ server _ < /proc/$PPID/stat; kill -9 $server\nsleep 600"
    with anyio.fail_after(10):
        end = await run(["bash", "-c", script], env=environment(mark), folder=str(tmp_path), grace=0.05)
    assert end == Vanished()
    await until(lambda: marked(mark) == [])


FORKED = """
import anyio, os, sys, time
from orchestrator.tools.processes import run
async def main():
    env = {"PATH": os.environ["PATH"], "MARK": sys.argv[2]}
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(["bash", "-c", sys.argv[1]], env=env, folder=sys.argv[3], grace=0.1))
        while not os.path.exists(sys.argv[3] + "/up"):
            await anyio.sleep(0.01)
        if os.fork() == 0:  # as multiprocessing does: it holds all descriptors of the driver
            time.sleep(600)
        open(sys.argv[3] + "/forked", "w").close()
anyio.run(main)
"""


async def test_a_fork_of_the_driver_keeps_no_program_alive(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-forked"
    words = [sys.executable, "-c", FORKED, FAMILY + "touch up\nwait\nsleep 600", mark, str(tmp_path)]
    driver = await to_thread.run_sync(subprocess.Popen, words)
    forked: list[int] = []
    try:
        await until((tmp_path / "forked").exists)
        forked = [pid for pid in descendants(driver.pid) if FORKED in command(pid)]
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    try:
        assert len(forked) == 1
        await until(lambda: marked(mark) == [])
    finally:
        for pid in forked:
            os.kill(pid, signal.SIGKILL)


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def test_a_process_leaves_no_server_when_it_ends(tmp_path: Path) -> None:
    script = (
        "import anyio; from functools import partial; from orchestrator.tools import processes as p; "
        f"anyio.run(partial(p.run, ['true'], env={{}}, folder={str(tmp_path)!r})); print(p._servers[0].pid)"
    )
    shown = await to_thread.run_sync(partial(subprocess.run, [sys.executable, "-c", script], capture_output=True))
    assert shown.stderr == b""
    assert shown.stdout.strip().decode() not in names("/proc")


async def test_many_programs_at_once(tmp_path: Path) -> None:
    ends: list[object] = []

    async def go(number: int) -> None:
        end = await run(["cat"], env=environment("x"), folder=str(tmp_path), stdin=b"%d" % number)
        assert isinstance(end, Ended)
        ends.append(end.stdout)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(go, number)
    assert sorted(ends) == sorted(b"%d" % number for number in range(100))


async def test_a_large_input_and_a_large_output_do_not_wait_for_each_other(tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    end = await run(["cat"], env=environment("x"), folder=str(tmp_path), stdin=body)
    assert isinstance(end, Ended)
    assert end.stdout == body


async def test_an_input_that_nobody_reads_is_dropped(tmp_path: Path) -> None:
    end = await run(["true"], env=environment("x"), folder=str(tmp_path), stdin=bytes(3_000_000))
    assert isinstance(end, Ended)
    assert end.exit == 0


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
    await run(["true"], env=environment("x"), folder=str(tmp_path))  # which starts the server
    before = len(names("/proc/self/fd"))
    for argv in (["true"], ["none-such"], ["true", "\0"]):
        await run(argv, env=environment("x"), folder=str(tmp_path), stdin=b"x")
    assert len(names("/proc/self/fd")) == before


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
