"""An effect ledger kept by another process: each line is on disk, fsync'd, before the effect goes on.

``python -m tests.crash.ledger SOCKET FILE`` serves until its standard input closes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
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
    """A ledger process and what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "ledger.sock"
        self.file = folder / "ledger.jsonl"
        self.file.touch()
        command = [sys.executable, "-m", "tests.crash.ledger", str(self.socket), str(self.file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the ledger did not start")
            time.sleep(0.01)
        os.environ[ENV] = str(self.socket)

    def lines(self, run: str) -> list[dict[str, Any]]:
        found = (json.loads(line) for line in self.file.read_text().splitlines())
        return [line for line in found if line["run"] == run]

    def close(self) -> None:
        self.process.communicate()


def serve(path: str, file: str) -> None:
    """Take lines from any number of connections; one at a time goes to disk."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(128)

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                line = connection.makefile("rb").readline()
                if line:
                    os.write(out, line)
                    os.fsync(out)
                    try:
                        connection.sendall(b"ok")
                    except OSError:  # the other side was killed: what it wrote stands
                        continue

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
