"""Running one program to its end, with nothing of it left afterwards, whatever happens to us."""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from orchestrator.tools.policy import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GRACE = 1.0
"""Seconds between TERM and KILL."""

# Imported, not run as a file: so that it is compiled once, and not at each call.
_GUARD = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from guard import main; main(sys.argv[1:])"
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Ended:
    """The program ran. ``exit`` is its code, 128 + n after signal n; each output at most ``KEPT`` bytes, and what it
    had more.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    dropped_stdout: int = 0
    dropped_stderr: int = 0


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The program never ran: ``number`` is the errno of the attempt."""

    number: int

    def __str__(self) -> str:
        return os.strerror(self.number)


@dataclass(frozen=True, slots=True)
class Vanished:
    """The program was killed from outside together with what watched it: how it ended is not known."""


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: str,
    stdin: bytes | None = None,
    rlimits: Mapping[str, int] | None = None,
    grace: float = GRACE,
    seen: Callable[[bytes], None] | None = None,
) -> Ended | NotStarted | Vanished:
    """Run ``argv`` with exactly the variables of ``env`` in ``folder``; ``seen`` is given stdout as it comes.

    Everything that the program started is killed when it ends, when this call is cancelled (which then goes on), and
    when this process dies.
    """
    order = _order({"argv": list(argv), "env": dict(env), "rlimits": dict(rlimits or {}), "grace": grace})
    life_read, life_write = os.pipe()
    report_read, report_write = os.pipe()
    passed = (order, life_read, report_write)
    life = _Descriptor(life_write)
    try:
        try:
            process = await anyio.open_process(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _GUARD, *map(str, passed)],
                env={},
                cwd=folder,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                start_new_session=True,
                pass_fds=passed,
            )
        except OSError as error:
            os.close(report_read)
            return NotStarted(error.errno or errno.EINVAL)
        finally:
            for descriptor in passed:
                os.close(descriptor)
        return await _attend(process, stdin, life, report_read, seen)
    finally:
        life.close()


def _order(order: dict[str, object]) -> int:
    """A descriptor of a file with ``order``, in memory alone where that can be: it may hold secrets."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("order")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "wb", closefd=False) as file:
        marshal.dump(order, file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


async def _attend(
    process: anyio.abc.Process,
    stdin: bytes | None,
    life: _Descriptor,
    report: int,
    seen: Callable[[bytes], None] | None,
) -> Ended | NotStarted | Vanished:
    out, err = _Kept(seen), _Kept(None)
    try:
        async with anyio.create_task_group() as group:
            if stdin is not None:
                group.start_soon(_write, process, stdin)
            group.start_soon(out.read, process.stdout)
            group.start_soon(err.read, process.stderr)
            await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            life.close()
            await process.wait()
            with contextlib.suppress(anyio.BrokenResourceError):
                await process.aclose()
        said = _said(report)
    match said:
        case ["exit", code]:
            return Ended(int(code), bytes(out.body), bytes(err.body), out.dropped, err.dropped)
        case ["error", number]:
            return NotStarted(int(number))
        case _:
            return Vanished()


def _said(report: int) -> list[str]:
    """The guard's report, nothing where it died before it could make one; closes the descriptor."""
    os.set_blocking(report, False)
    try:
        return os.read(report, 4096).decode().split()
    except BlockingIOError:
        return []
    finally:
        os.close(report)


async def _write(process: anyio.abc.Process, body: bytes) -> None:
    assert process.stdin is not None
    # A program need not read what it is given.
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
        await process.stdin.send(body)
    with contextlib.suppress(anyio.BrokenResourceError, ConnectionError):
        await process.stdin.aclose()


class _Kept:
    """Reads an output to its end and keeps at most ``KEPT`` bytes of it."""

    def __init__(self, seen: Callable[[bytes], None] | None) -> None:
        self.body = bytearray()
        self.dropped = 0
        self._seen = seen

    async def read(self, stream: anyio.abc.ByteReceiveStream | None) -> None:
        assert stream is not None
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                chunk = await stream.receive(_CHUNK)
                room = KEPT - len(self.body)
                self.body += chunk[:room]
                self.dropped += max(len(chunk) - room, 0)
                if self._seen is not None:
                    self._seen(chunk)


class _Descriptor:
    """A descriptor that is closed once, whoever comes first."""

    def __init__(self, number: int) -> None:
        self._number: int | None = number

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            os.close(number)
