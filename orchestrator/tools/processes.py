"""Running one program to its end, with nothing of it left afterwards, whatever happens to us."""

from __future__ import annotations

import atexit
import contextlib
import errno
import marshal
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from orchestrator.frozen import frozen
from orchestrator.tools.policy import KEPT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from typing import Self

GRACE = 1.0
"""Seconds between TERM and KILL."""

# Imported, not run as a file: so that it is compiled once, and not at each start.
_SERVE = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from guard import serve; serve(sys.argv[1:])"
_CONTROL = 3
_CHUNK = 65_536
_TRIES = 3
_BEGAN = b"began\n"


@frozen
class Ended:
    """The program ran. ``exit`` is its code, 128 + n after signal n; each output at most ``KEPT`` bytes, and what it
    had more.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    dropped_stdout: int = 0
    dropped_stderr: int = 0


@frozen
class NotStarted:
    """The program never ran: ``number`` is the errno of the attempt."""

    number: int

    def __str__(self) -> str:
        return os.strerror(self.number)


@frozen
class Vanished:
    """The program was killed from outside together with what watched it: how it ended is not known."""


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: str,
    stdin: bytes | None = None,
    rlimits: Mapping[str, int] | None = None,
    script: tuple[str, bytes] | None = None,
    grace: float = GRACE,
    seen: Callable[[bytes], None] | None = None,
) -> Ended | NotStarted | Vanished:
    """Run ``argv`` with exactly the variables of ``env`` in ``folder``; ``seen`` is given stdout as it comes.

    ``script`` is a folder that there is not yet and the text of the file ``script`` in it; both last as long as the
    program. Everything that the program started is killed, and that folder removed, when it ends, when this call is
    cancelled (which then goes on), and when this process dies.
    """
    order: dict[str, object] = {
        "argv": list(argv),
        "env": dict(env),
        "folder": folder,
        "script": script,
        "rlimits": dict(rlimits or {}),
        "grace": grace,
    }
    for _ in range(_TRIES):
        with contextlib.ExitStack() as ours:
            try:
                with contextlib.ExitStack() as theirs:
                    program = _Program.make(order, ours, theirs, stdin is not None)
                    await _hand_over(program.passed)
            except OSError as error:
                return NotStarted(error.errno or errno.EINVAL)
            end = await _attend(program, stdin, seen)
            if end is not None:
                return end
    return NotStarted(errno.EAGAIN)


class Lasting:
    """A program that goes on beside its caller, by our ends of its ``stdin``, ``stdout`` and ``stderr``."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._report = _Kept(None)
        assert program.stdin is not None
        self.stdin = program.stdin.number
        self.stdout = program.stdout
        self.stderr = program.stderr

    def close_stdin(self) -> None:
        """Nothing more is written."""
        assert self._program.stdin is not None
        self._program.stdin.close()

    async def ended(self) -> None:
        """Wait until it has ended by itself."""
        await self._report.read(self._program.report)

    async def end(self) -> str:
        """Kill what is left of it and of all that it started; say how it ended. May be called again."""
        with anyio.CancelScope(shield=True):
            self._program.life.close()
            await self._report.read(self._program.report)
        match self._report.body.decode().split():
            case [*_, "exit", code]:
                return f"exit {code}"
            case [*_, "error", number]:
                return os.strerror(int(number))
            case _:
                return "killed"


@contextlib.asynccontextmanager
async def lasting(
    argv: Sequence[str], *, env: Mapping[str, str], folder: str, grace: float = GRACE
) -> AsyncGenerator[Lasting]:
    """``argv`` as it runs; it and all that it started are gone at the end of the block, or with this process.

    What could not be started is found to have ended. OSError where there are no more descriptors.
    """
    order: dict[str, object] = {
        "argv": list(argv), "env": dict(env), "folder": folder, "script": None, "rlimits": {}, "grace": grace,
    }  # fmt: skip
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as theirs:
            program = _Program.make(order, ours, theirs, fed=True)
            await _hand_over(program.passed)
        found = Lasting(program)
        try:
            yield found
        finally:
            await found.end()


@frozen
class _Program:
    """A program that is asked for: the descriptors that its guard gets, and our ends of them."""

    passed: tuple[int, ...]
    life: _Descriptor
    report: int
    stdin: _Descriptor | None
    stdout: int
    stderr: int

    @classmethod
    def make(
        cls, order: dict[str, object], ours: contextlib.ExitStack, theirs: contextlib.ExitStack, fed: bool
    ) -> _Program:
        """``ours`` and ``theirs`` close what is opened here. OSError where there are no more descriptors."""
        written = theirs.enter_context(_Descriptor(_order(order)))
        life, keep = _pipe(theirs, ours)
        report, said = _pipe(ours, theirs)
        stdin, feed = _pipe(theirs, ours) if fed else (_Descriptor(os.open(os.devnull, os.O_RDONLY)), None)
        theirs.enter_context(stdin)
        stdout, out = _pipe(ours, theirs)
        stderr, err = _pipe(ours, theirs)
        passed = tuple(one.number for one in (written, life, said, stdin, out, err))
        return cls(passed, keep, report.number, feed, stdout.number, stderr.number)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[_Descriptor, _Descriptor]:
    read, write = os.pipe()
    return reader.enter_context(_Descriptor(read)), writer.enter_context(_Descriptor(write))


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


# --- the server of guards


@frozen
class _Server:
    """The process that forks guards, of the process ``owner``."""

    owner: int
    pid: int
    control: socket.socket

    @classmethod
    def start(cls) -> _Server:
        """Start it; it is ready to be asked at once."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _SERVE, str(_CONTROL), str(os.getpid())]
        with its:
            actions = [*nowhere, (os.POSIX_SPAWN_DUP2, its.fileno(), _CONTROL)]
            pid = os.posix_spawn(sys.executable, words, {}, file_actions=actions, setsid=True)
        return cls(os.getpid(), pid, ours)

    def usable(self) -> bool:
        """Whether it is this process's, and lives."""
        if self.owner != os.getpid():
            return False
        try:
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        except ChildProcessError:
            return False

    def stop(self) -> None:
        """End it: guards that are left end with it."""
        self.control.close()
        if self.usable():
            os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


_servers: list[_Server] = []


def _server() -> _Server:
    """The one of this process, started when it is first needed, and again where somebody killed it."""
    if not _servers or not _servers[-1].usable():
        if not _servers:
            atexit.register(_stop)
        _stop()
        _servers.append(_Server.start())
    return _servers[-1]


def _stop() -> None:
    while _servers:
        _servers.pop().stop()


async def _hand_over(passed: tuple[int, ...]) -> None:
    """Give descriptors to the server. OSError where that cannot be."""
    while True:
        try:
            socket.send_fds(_server().control, [b"+"], list(passed), socket.MSG_NOSIGNAL)
            return
        except BlockingIOError:
            await anyio.sleep(0.002)
        except ConnectionError:
            _stop()  # killed just now


# --- one program


async def _attend(
    program: _Program, stdin: bytes | None, seen: Callable[[bytes], None] | None
) -> Ended | NotStarted | Vanished | None:
    """The end of a program; None where its order was lost with the server, before anything began."""
    out, err, report = _Kept(seen), _Kept(None), _Kept(None)
    try:
        async with anyio.create_task_group() as group:
            if stdin is not None and program.stdin is not None:
                group.start_soon(_feed, program.stdin, stdin)
            group.start_soon(out.read, program.stdout)
            group.start_soon(err.read, program.stderr)
            await report.read(program.report)
            if bytes(report.body) in (b"", _BEGAN):
                group.cancel_scope.cancel()  # no guard has seen to it that nobody holds the outputs
    finally:
        with anyio.CancelScope(shield=True):
            program.life.close()
            await report.read(program.report)
    match report.body.decode().split():
        case []:
            return None
        case [*_, "exit", code]:
            return Ended(int(code), bytes(out.body), bytes(err.body), out.dropped, err.dropped)
        case [*_, "error", number]:
            return NotStarted(int(number))
        case _:
            return Vanished()


async def _feed(stdin: _Descriptor, body: bytes) -> None:
    os.set_blocking(stdin.number, False)
    left = memoryview(body)
    # A program need not read what it is given.
    with stdin, contextlib.suppress(BrokenPipeError):
        while left:
            await anyio.wait_writable(stdin.number)
            left = left[os.write(stdin.number, left[:_CHUNK]) :]


class _Kept:
    """Reads an output to its end and keeps at most ``KEPT`` bytes of it."""

    def __init__(self, seen: Callable[[bytes], None] | None) -> None:
        self.body = bytearray()
        self.dropped = 0
        self._seen = seen

    async def read(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        while True:
            await anyio.wait_readable(descriptor)
            try:
                chunk = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                return
            room = KEPT - len(self.body)
            self.body += chunk[:room]
            self.dropped += max(len(chunk) - room, 0)
            if self._seen is not None:
                self._seen(chunk)


class _Descriptor:
    """A descriptor that is closed once, whoever comes first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
