"""An effect ledger kept by another process: each line is on disk, fsync'd, before the effect goes on.

``python -m tests.crash.ledger SOCKET FILE SHARED`` serves until its standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ENV = "ORCH_TEST_LEDGER"


def tell(phase: str, **line: Any) -> None:
    """Write a line, and return when it is safe. A connection each: a fork must not share one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ENV])
        connection.sendall(json.dumps({"phase": phase, "run": os.environ["ORCH_TEST_RUN"], **line}).encode() + b"\n")
        if connection.recv(2) != b"ok":
            raise RuntimeError("the ledger did not take the line")


class Ledger:
    """A ledger process and what it wrote. ``shared``: how many lines may share an fsync, and so be answered at once."""

    def __init__(self, folder: Path, *, shared: int = 1) -> None:
        self.socket = folder / "ledger.sock"
        self.file = folder / "ledger.jsonl"
        self.file.touch()
        command = [sys.executable, "-m", "tests.crash.ledger", str(self.socket), str(self.file), str(shared)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the ledger did not start")
            time.sleep(0.01)
        os.environ[ENV] = str(self.socket)

    def lines(self, run: str) -> list[dict[str, Any]]:
        """What is told of a run, with all that a process sent before it was killed."""
        with socket.socket(socket.AF_UNIX) as connection:
            # What was sent before is taken before: when this connection is hung up on, it is on disk.
            connection.connect(str(self.socket))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        told = f'"run": "{run}"'
        return [json.loads(line) for line in self.file.read_text().splitlines() if told in line]

    def close(self) -> None:
        self.process.communicate()


def serve(path: str, file: str, shared: int) -> None:
    """Take a line from each connection, until standard input closes. Nobody waits for a process that was stopped before
    it sent its line."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(128)
    server.setblocking(False)
    open_: list[socket.socket] = []
    while True:
        ready = select.select([sys.stdin, server, *open_], [], [])[0]
        if sys.stdin in ready:
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                open_.append(server.accept()[0])
        ready = select.select(open_, [], [], 0)[0]
        for first in range(0, len(ready), shared):
            _take(ready[first : first + shared], out)
        open_ = [connection for connection in open_ if connection not in ready]


def _take(connections: list[socket.socket], out: int) -> None:
    told = [(connection, connection.recv(1 << 16)) for connection in connections]
    if lines := b"".join(line for _, line in told):
        os.write(out, lines)
        os.fsync(out)
    for connection, line in told:
        with connection, contextlib.suppress(OSError):  # the other side was killed: what it wrote stands
            connection.sendall(b"ok" if line else b"")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
