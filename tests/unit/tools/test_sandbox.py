from __future__ import annotations

import os
import shutil
import socket
import sys
import textwrap
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.platform import user_state_dir
from orchestrator.tools import python, sandbox, shell
from orchestrator.tools.protocol import Done, Failed
from orchestrator.tools.sandbox import NoSandbox, of_store, sandboxed, why_none

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
CANARY = "a canary that sings"


@pytest.fixture
def boxed() -> None:
    """What needs a sandbox; one that should be there and is not is a failure on a machine that requires it."""
    why = why_none()
    if why is not None and not os.environ.get("ORCH_TEST_REQUIRE"):
        pytest.skip(why)
    assert why is None


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which there is everything that tests need, and no bubblewrap."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat", "bash"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def sh(script: str, context: Any, *args: str, **more: Any) -> Outcome:
    return await shell.perform({"script": script, "shell": "sh", "args": args, "sandbox": "required"} | more, context)


@contextmanager
def server() -> Iterator[tuple[int, list[str]]]:
    """A server on the loopback address: its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        yield found.server_address[1], asked
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


PROBE = "import sys, urllib.request as u; u.urlopen('http://127.0.0.1:' + sys.argv[1] + '/' + sys.argv[2], timeout=5)"


@pytest.mark.usefixtures("boxed")
async def test_no_server_can_be_reached(context: Any) -> None:
    with server() as (port, asked):
        request = {"argv": ["/usr/bin/env", "python3", "-c", PROBE, str(port)]}
        path = f"/usr/bin:{Path(sys.executable).parent}"
        free = await shell.perform({"argv": [*request["argv"], "free"], "env": {"PATH": path}}, context)
        assert isinstance(free, Done), free
        end = await sh(f"exec 3<>/dev/tcp/127.0.0.1/{port}", context, shell="bash")
        assert "refused" in bad(end).message or "unreachable" in bad(end).message
    assert asked == ["/free"]


@pytest.mark.usefixtures("boxed")
async def test_abstract_sockets_and_those_of_other_folders_are_not_there(context: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as named:
        abstract.bind("\0orch-test-canary")
        named.bind(str(tmp_path / "socket"))
        shown = done(await sh('cat /proc/net/unix; test ! -e "$1"', context, str(tmp_path / "socket")))["stdout"]
    assert "orch-test-canary" not in shown


@pytest.mark.usefixtures("boxed")
async def test_what_is_outside_cannot_be_read(context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = [tmp_path / "canary", tmp_path / "home" / ".netrc", context.folder.parent / "beside"]
    (tmp_path / "home").mkdir()
    for place in places:
        place.write_text(CANARY)
        assert CANARY in done(await sh('cat "$1"', context, str(place), sandbox="none"))["stdout"]
        assert CANARY not in repr(await sh('cat "$1"', context, str(place)))
    (context.folder / "link").symlink_to(places[0])
    for way in ("link", "../canary", "/proc/1/root" + str(places[0]), f"/proc/{os.getpid()}/root{places[0]}"):
        assert bad(await sh('cat "$1"', context, way)).code == "tool_error"
    shown = done(await sh("ls -a / /etc /home /root 2>&1 || true; ls -a /tmp", context))["stdout"]
    assert "shadow" not in shown
    assert "work" not in shown.split("\n")


@pytest.mark.usefixtures("boxed")
async def test_one_folder_can_be_written(context: Any, tmp_path: Path) -> None:
    done(await sh("echo x > here; mkdir -p deep; echo y > deep/there; echo z > /tmp/other; cat /tmp/other", context))
    assert (context.folder / "deep/there").read_text() == "y\n"
    assert bad(await sh("cat /tmp/other", context)).code == "tool_error"
    for place in ("/x", "/usr/x", "/etc/x", "/var/x", "/run/x", "/var/tmp/x"):
        assert bad(await sh('echo x > "$1"', context, place)).code == "tool_error"
    await sh('echo x > "$1"', context, str(tmp_path / "x"))  # in a folder of its own /tmp, if anywhere
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("boxed")
async def test_the_kernels_settings_are_left_alone_even_as_root(context: Any) -> None:
    end = await sh("find /proc -writable -type f -not -path '/proc/[0-9]*' | head; echo x >/proc/sys/kernel/x", context)
    assert "Read-only file system" in bad(end).message or "nonexistent" in bad(end).message
    assert bad(end).detail["stdout"] == ""
    for mount in done(await sh("grep /proc /proc/mounts", context))["stdout"].splitlines():
        assert mount.split()[3].startswith("ro,")


@pytest.mark.usefixtures("boxed")
async def test_no_processes_of_others_and_no_new_rights(context: Any) -> None:
    shown = done(await sh("ls /proc; grep -E 'NoNewPrivs|CapEff' /proc/self/status; env; pwd", context))["stdout"]
    pids = [word for word in shown.split() if word.isdigit()]
    assert len(pids) < 6
    assert "NoNewPrivs:\t1" in shown
    assert "CapEff:\t0000000000000000" in shown
    assert "HOME=/tmp" in shown
    assert str(context.folder) in shown


@pytest.mark.usefixtures("boxed")
async def test_the_environment_is_the_list(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    shown = done(await shell.perform({"argv": ["env", "-0"], "env": {"A": "b"}, "sandbox": "required"}, context))
    names = {line.partition("=")[0] for line in shown["stdout"].replace("\ufffd", "\0").split("\0") if line}
    assert names <= {*shell.PASSED, "ORCH_IDEMPOTENCY_KEY", "A", "PWD"}
    assert {"A", "ORCH_IDEMPOTENCY_KEY"} <= names


@pytest.mark.usefixtures("boxed")
async def test_nothing_of_the_store_is_seen(contexts: Any) -> None:
    folder = contexts.folder
    (folder / ".orch" / "files").mkdir(parents=True)
    (folder / ".orch" / "runs.db").write_text(CANARY)
    name = "ab" * 32
    (folder / ".orch" / "files" / name).write_text("the given one")
    (folder / ".orch" / "files" / ("cd" * 32)).write_text(CANARY)
    context = replace(contexts(), stored=lambda name: folder / ".orch" / "files" / name)
    shown = await sh('find .orch -type f | xargs cat; cat "$1"', context, {"$file": name})  # pyright: ignore[reportArgumentType]
    assert done(shown)["stdout"] == "the given one" * 2
    path = str(folder / ".orch" / "files" / name)
    assert done(await sh("cat $(cat)", context, stdin=path))["stdout"] == "the given one"
    assert bad(await sh("mv .orch away", context)).code == "tool_error"


@pytest.mark.usefixtures("boxed")
async def test_nothing_of_a_store_beside_is_seen(contexts: Any) -> None:
    folder = contexts.folder
    (folder / "runs.db.files").mkdir()
    for name in ("runs.db", "runs.db-wal", "runs.db.files/one"):
        (folder / name).write_text(CANARY)
    (folder / "data.csv").write_text("1")
    context = replace(contexts(), stored=lambda name: folder / "runs.db.files" / name)
    shown = done(
        await sh("cat runs.db runs.db-wal data.csv; ls runs.db.files; mv runs.db x", context, shell=["sh"], expect=[1])
    )
    assert shown["stdout"] == "1"
    assert (folder / "runs.db").read_text() == CANARY


@pytest.mark.usefixtures("boxed")
async def test_orchs_own_state_is_not_seen(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(context.folder / "state"))
    user_state_dir().mkdir(parents=True)
    (user_state_dir() / "notes").write_text(CANARY)
    assert CANARY not in done(await sh("find . -type f | xargs cat", context))["stdout"]


@pytest.mark.usefixtures("boxed")
async def test_links_that_a_program_leaves_are_not_followed(context: Any, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text(CANARY)
    script = 'ln -s "$1" link; ln -s .. up; echo fine > good'
    end = await sh(script, context, str(tmp_path / "canary"), files={"out": "link"})
    assert CANARY not in repr(end)
    assert "link" in bad(end).message
    for path in ("up/canary", "../canary", str(tmp_path / "canary")):
        assert CANARY not in repr(await sh("true", context, files={"out": path}))
    end = await sh("true", context, files={"out": "good"})
    assert isinstance(end, Done)
    assert end.files["out"].body == b"fine\n"


@pytest.mark.usefixtures("boxed")
async def test_exits_and_signals_come_through(context: Any) -> None:
    assert bad(await sh("exit 7", context)).detail["exit"] == 7
    assert bad(await sh("kill -TERM $$", context)).detail["exit"] == 143
    assert "no-such-program" in bad(await sh("exec no-such-program", context)).message


@pytest.mark.usefixtures("boxed")
async def test_a_cancelled_call_leaves_no_process(context: Any) -> None:
    mark = f"orch-test-{os.getpid()}"
    ready = context.folder / "ready"
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(sh, "trap '' TERM; touch ready; while :; do sleep 600; done", context, mark)
            while not ready.exists():  # noqa: ASYNC110  another process sets no event
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    assert running(mark) == []


def running(mark: str) -> list[Path]:
    """The processes that have ``mark`` among their arguments."""
    found: list[Path] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


SOURCE = """
    import os, socket, subprocess, sys
    import orch_neighbour
    def tries(canary, port):
        found = []
        for path in canary:
            try:
                found.append(open(path).read())
            except OSError as error:
                found.append(type(error).__name__)
        try:
            socket.create_connection(("127.0.0.1", port), 2)
            found.append("reached")
        except OSError as error:
            found.append("unreachable")
        with open("written", "w") as file: file.write("x")
        return found
    def json_of_ours():
        from orchestrator.jsonish import dumps
        return dumps([1])
"""


@pytest.mark.usefixtures("boxed")
async def test_a_function_in_a_sandbox(context: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "orch_sample.py").write_text(textwrap.dedent(SOURCE))
    (folder / "orch_neighbour.py").write_text("")
    places = [folder / "secret.env", tmp_path / "canary", ROOT / "README.md"]
    for place in places[:2]:
        place.write_text(CANARY)

    async def call(name: str, **args: Any) -> Any:
        request = {"ref": f"orch_sample:{name}", "search": [str(folder)], "args": args, "isolate": "process"}
        return done(await python.perform(request | {"sandbox": "required"}, context))

    with server() as (port, _):
        found = await call("tries", canary=[str(place) for place in places], port=port)
    assert found == ["FileNotFoundError", "FileNotFoundError", "FileNotFoundError", "unreachable"]
    assert (context.folder / "written").read_text() == "x"
    assert await call("json_of_ours") == "[1]"


@pytest.mark.usefixtures("nowhere")
async def test_without_bubblewrap_required_refuses_and_preferred_runs(context: Any) -> None:
    why = why_none()
    assert why == "bubblewrap (bwrap) is not installed"
    end = bad(await sh("touch ran", context))
    assert (end.code, end.no_effect) == ("no_sandbox", True)
    assert "is not installed" in end.message
    assert not (context.folder / "ran").exists()
    assert done(await sh("echo ran", context, sandbox="preferred"))["stdout"] == "ran\n"
    request = {"ref": "os:getpid", "isolate": "process", "sandbox": "required"}
    assert bad(await python.perform(request, context)).code == "no_sandbox"


async def test_one_that_does_not_work_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'No permissions to create a namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert why_none() == f"{program} cannot make one: No permissions to create a namespace"
    program.write_text("no program at all")
    sandbox._why_none.cache_clear()  # noqa: SLF001
    assert "does not run" in str(why_none())
    program.write_text("#!/bin/sh\nexit 3\n")
    sandbox._why_none.cache_clear()  # noqa: SLF001
    assert str(why_none()).endswith("exit 3")
    with pytest.raises(NoSandbox, match="ls requires a sandbox"):
        sandboxed(["ls"], folder=tmp_path)
    sandbox._why_none.cache_clear()  # noqa: SLF001


@pytest.mark.usefixtures("boxed")
async def test_the_whole_disk_is_no_folder_for_a_sandbox() -> None:
    with pytest.raises(NoSandbox, match="whole disk"):
        sandboxed(["ls"], folder="/")
    assert sandboxed(["ls"], folder="/", mode="preferred") == ["ls"]
    assert sandboxed(["ls"], folder="/", mode="none") == ["ls"]


def test_what_belongs_to_a_store() -> None:
    assert of_store(Path("/p/.orch/files")) == [Path("/p/.orch")]
    assert of_store(Path("/state/orch/files")) == [Path("/state/orch/files")]
    assert [path.name for path in of_store(Path("/p/x.db.files"))] == [
        "x.db.files",
        "x.db",
        "x.db-wal",
        "x.db-shm",
        "x.db-journal",
    ]
