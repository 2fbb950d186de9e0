"""Signals, and what is said, while the store is away, locked or silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.databases import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENV = {key: os.environ[key] for key in ("PATH", "LANG", "TZ", "TMPDIR") if key in os.environ}
SQLITE = "sqlite:///runs.db"
SLOW = """\
version: 1
name: slow
steps:
  wait:
    run: "touch started; while ! test -e stop; do sleep 0.05; done; touch over"
    effect: read
  after: {needs: [wait], run: "while ! test -e end; do sleep 0.05; done"}
"""


class Link:
    """A way to a server, which can be cut: nobody gets through then, and nobody is connected."""

    def __init__(self, url: str) -> None:
        self._where = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        who = f"{self._where.username}@" if self._where.username else ""
        self.url = urlunsplit(
            self._where._replace(netloc=f"{who}127.0.0.1:{self._port}", query="sslmode=disable&timeout=1")
        )
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((str(self._where.hostname), self._where.port or 0))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass, args=(one, other), daemon=True).start()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "slow.yaml").write_text(SLOW)
    return tmp_path


@pytest.fixture
def link() -> Iterator[Link]:
    with database("postgres") as url:
        made = Link(url)
        yield made
        made.cut()


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *args],
        cwd=folder, env=ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run_slow(folder: Path, store: str) -> subprocess.Popen[str]:
    """A run whose first step is under way."""
    process = start(folder, "run", "slow.yaml", "--store", store, "--id", "slow")
    until(folder / "started")
    return process


def until(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The first line of standard error that has the text."""
    assert process.stderr is not None
    return next((line for line in process.stderr if text in line), f"never said: {text}")


def stop_twice(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str, float]:
    process.send_signal(number)
    assert "stopping" in read_until(process, "stopping")
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return out, err, time.monotonic() - began


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_signals_end_a_run_whose_file_another_program_has_locked(
    folder: Path, number: signal.Signals, code: int
) -> None:
    with run_slow(folder, SQLITE) as process:
        other = sqlite3.connect(folder / "runs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        (folder / "stop").touch()
        until(folder / "over")
        out, err, took = stop_twice(process, number)
        other.close()
    assert process.returncode == code, err
    assert took < 10, "the lock is waited for 30 s"
    assert "error[E917]: stopped without the store" in err
    assert "`orch resume slow` goes on" in err
    assert json.loads(out)["error"]["code"] == "E917"
    (folder / "end").touch()
    with start(folder, "resume", "slow", "--store", SQLITE) as again:
        _, err = again.communicate(timeout=30)
    assert again.returncode == 0, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_signals_end_a_run_whose_server_is_away(
    folder: Path, link: Link, number: signal.Signals, code: int
) -> None:
    with run_slow(folder, link.url) as process:
        link.cut()
        (folder / "stop").touch()
        until(folder / "over")
        _, err, took = stop_twice(process, number)
    assert process.returncode == code, err
    assert took < 10
    assert "error[E917]" in err
    assert "Traceback" not in err
    link.mend()
    (folder / "end").touch()
    with start(folder, "resume", "slow", "--store", link.url) as again:
        _, err = again.communicate(timeout=30)
    assert again.returncode == 0, err


def test_an_outage_is_said_once_and_its_end_too(folder: Path, link: Link) -> None:
    with run_slow(folder, link.url) as process:
        link.cut()
        away = read_until(process, "away")
        link.mend()
        back = read_until(process, "is back")
        (folder / "stop").touch()
        (folder / "end").touch()
        _, err = process.communicate(timeout=60)
    assert away.startswith("the store postgresql:")
    assert away.endswith("; waiting up to 10 min\n")
    assert back == "the store is back\n"
    assert process.returncode == 0, err
    assert "store" not in err


def test_one_signal_waits_for_a_server_that_is_away_as_long_as_for_a_step(folder: Path, link: Link) -> None:
    with run_slow(folder, link.url) as process:
        link.cut()
        (folder / "stop").touch()
        until(folder / "over")
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 9 < time.monotonic() - began < 30
    assert "error[E917]" in err


@pytest.mark.parametrize(
    "module",
    ["gc", "signal", "orchestrator.cli.main", "typing", "typer", "orchestrator.cli.list_", "orchestrator.cli.flags"],
)
def test_an_interrupt_while_a_verb_is_imported_ends_it_without_a_traceback(folder: Path, module: str) -> None:
    script = f"""\
import os, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {signal.SIGINT:d})

sys.meta_path.insert(0, Interrupts())
sys.argv = ["orch", "list"]
from orchestrator.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=ENV, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


GONE = [
    (["run", "slow.yaml"], 0),
    (["run", "slow.yaml", "--events", "-"], 0),
    (["run", "fails.yaml"], 1),
    (["nothing"], 2),
    (["run", "slow.yaml", "--id", "/"], 2),
    (["run", "slow.yaml", "--store", "sqlite:////proc/none.db"], 9),
    (["logs", "slow"], 141),
    (["--help"], 141),
    (["run", "--help"], 141),
    (["--version"], 141),
]


@pytest.mark.parametrize(("args", "code"), GONE, ids=lambda value: "_".join(value) if isinstance(value, list) else None)
@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_reader_that_has_gone_changes_no_exit_code(folder: Path, args: list[str], code: int, closed: str) -> None:
    (folder / "stop").touch()
    (folder / "end").touch()
    (folder / "fails.yaml").write_text("version: 1\nname: fails\nsteps: {bad: {run: 'exit 3'}}\n")
    (folder / "orch.toml").write_text('store = "sqlite:///runs.db"\n')
    if args[0] == "logs":
        with start(folder, "run", "slow.yaml", "--id", "slow") as run:
            run.communicate(timeout=30)
    if code == 141 and closed == "stderr":
        code = 0
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *args],
        cwd=folder,
        env=ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if closed == "stderr" else writer,
        stderr=subprocess.PIPE if closed == "stdout" else writer,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in (done.stderr or "")


def test_one_interrupt_ends_a_verb_whose_server_accepts_and_says_nothing(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://x@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable&connect_timeout=40"
        with start(folder, "list", "--store", url) as process:
            near, _ = server.accept()
            assert near.recv(1), "it has asked, and waits"
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            near.close()
    assert (process.returncode, err) == (130, "")
    assert time.monotonic() - began < 10
