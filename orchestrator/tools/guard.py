"""The process between a driver and the programs that it runs: it leaves nothing of them running.

One *server* belongs to a driver. It runs in a fresh interpreter without site packages, imports little, and nothing of
this package, and lasts as long as the driver. For each program it forks a *guard*, which costs a tenth of a start. Its
arguments are the descriptor of a socket and the pid of the driver. Each byte on the socket brings six descriptors:

``ORDER`` a file with a marshalled mapping, ``{"argv", "env", "folder", "script", "rlimits", "grace"}`` (``grace``:
seconds between TERM and KILL; ``script``: None, or a new folder and the text of the file ``script`` in it); ``LIFE``
one that reads as ended when the driver has died or wants the program gone; ``REPORT`` gets ``began`` just before the
program does, and then ``exit CODE``, ``error ERRNO`` where it could not be started, or ``killed``; and the program's
``stdin``, ``stdout`` and ``stderr``.

The program's variables come in the order, so that none of them has a part in how this process runs.

On Linux a guard is the subreaper of all that its program starts: what leaves its session or loses its parent becomes
the guard's child. When there is none left, nothing is. Guards end with their server, and the server with its driver.
"""

from __future__ import annotations

import _socket  # socket itself imports as much as all the rest
import errno
import marshal
import os
import select
import signal
import sys
import time
from functools import partial

TYPE_CHECKING = False  # typing is not imported here: it costs as much as all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_PASSED = 6
_WORD = 4  # bytes of a descriptor


def serve(argv: list[str]) -> None:
    """Fork a guard for each order, until the driver is gone."""
    number, driver = (int(word) for word in argv)
    os.set_inheritable(number, False)
    os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, number)
    prctl = _prctl()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards that have ended are nobody's
    watched: list[Any] = [control]
    if hasattr(os, "pidfd_open"):
        try:
            watched.append(os.pidfd_open(driver))
        except OSError:
            return
    # A copy of the socket in a fork of the driver's keeps it open: that alone would not do.
    while os.getppid() == driver:
        ready, _, _ = select.select(watched, [], [], 5.0)
        if control not in ready:
            continue
        passed = _receive(control)
        if not passed:
            return
        _fork(passed, prctl)


def _receive(control: _socket.socket) -> list[int]:
    """The descriptors of the next order, nothing where there are no more."""
    body, parts, _, _ = control.recvmsg(1, _socket.CMSG_SPACE(_PASSED * _WORD))
    if not body:
        return []
    data = b"".join(part for _, _, part in parts)
    passed = [int.from_bytes(data[at : at + _WORD], sys.byteorder) for at in range(0, len(data), _WORD)]
    for descriptor in passed:
        os.set_inheritable(descriptor, False)
    return passed


def _fork(passed: list[int], prctl: Callable[[int, int], int]) -> None:
    server = os.getpid()
    try:
        if len(passed) == _PASSED and os.fork() == 0:
            try:
                _guard(passed, server, prctl)
            finally:
                os._exit(0)
    except OSError as error:
        _say(passed[2], f"error {error.errno or errno.EAGAIN}")
    for descriptor in passed:
        os.close(descriptor)


def _guard(passed: list[int], server: int, prctl: Callable[[int, int], int]) -> None:
    """Start the program, wait for its end or for that of ``LIFE``, and kill what is left."""
    order, life, report, *streams = passed
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    ended = {"asked": False}
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: ended.update(asked=True))
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    with open(order, "rb") as file:  # noqa: PTH123  of a descriptor
        wanted = marshal.load(file)  # noqa: S302  written by a driver of this very interpreter
    if os.getppid() != server or select.select([life], [], [], 0)[0]:
        return  # the driver went before anything began: nothing may begin now
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    child = _begin(wanted, report, prctl)
    if child is None:
        return
    for descriptor in (0, 1, 2):
        os.close(descriptor)  # so that the driver's ends see the program's end, not this process's
    code = None
    while code is None and not ended["asked"] and os.getppid() == server:
        ready, _, _ = select.select([life, wake], [], [], 5.0)
        if wake in ready:
            os.read(wake, 512)
        if life in ready:
            break
        code = _reap(child)
    _clear(child, wanted["grace"])
    _remove(wanted["script"])
    _say(report, "killed" if code is None else f"exit {code}")


def _begin(wanted: dict[str, Any], report: int, prctl: Callable[[int, int], int]) -> int | None:
    """The pid of the program; None, and the errno in the report, where it could not be started."""
    try:
        os.chdir(wanted["folder"])
        _write(wanted["script"])
        _say(report, "began")
        try:
            return _start(wanted["argv"], wanted["env"], wanted["rlimits"], prctl)
        except OSError:
            _remove(wanted["script"])
            raise
    except OSError as error:
        _say(report, f"error {error.errno or errno.EINVAL}")
        return None


def _write(script: tuple[str, bytes] | None) -> None:
    if script is not None:
        folder, body = script
        os.mkdir(folder, 0o700)  # noqa: PTH102  pathlib is not imported here: it costs as much as all the rest
        try:
            with open(f"{folder}/script", "xb") as file:  # noqa: PTH123  as above
                file.write(body)
        except OSError:
            _remove(script)
            raise


def _remove(script: tuple[str, bytes] | None) -> None:
    """Remove the script, and what it may have put beside itself."""
    if script is not None:
        for above, folders, files in os.walk(script[0], topdown=False):
            for name in files:
                _ignoring(partial(os.unlink, f"{above}/{name}"))
            for name in folders:
                whole = f"{above}/{name}"
                _ignoring(partial(os.unlink if os.path.islink(whole) else os.rmdir, whole))  # noqa: PTH114  as above
        _ignoring(partial(os.rmdir, script[0]))


def _start(
    program: list[str],
    environment: dict[str, str],
    limits: dict[str, int],
    prctl: Callable[[int, int], int],
) -> int:
    """Fork and exec the program in a session of its own. OSError where that fails."""
    reader, writer = os.pipe()
    me = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:
                os._exit(127)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # the interpreter ignores them, and exec would hand that on
            _limit(limits)
            path = environment.get("PATH", os.defpath)
            _exec(program, environment, path)
        except OSError as error:
            os.write(writer, str(error.errno or errno.EINVAL).encode())
        except ValueError:
            os.write(writer, str(errno.EINVAL).encode())
        finally:
            os._exit(127)
    os.close(writer)
    failure = os.read(reader, 16)
    os.close(reader)
    if failure:
        os.waitpid(child, 0)
        raise OSError(int(failure), "not started")
    return child


def _exec(program: list[str], environment: dict[str, str], path: str) -> None:
    """Replace this process. Raises the error of the first candidate that exists but cannot be run, else ENOENT."""
    if "/" in program[0]:
        os.execve(program[0], program, environment)
    worst = OSError(errno.ENOENT, "not found")
    for folder in path.split(":"):
        try:
            os.execve(os.path.join(folder or ".", program[0]), program, environment)  # noqa: PTH118  in a forked child
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            worst = error
    raise worst


def _limit(limits: dict[str, int]) -> None:
    if limits:
        import resource

        for name, value in limits.items():
            number = getattr(resource, f"RLIMIT_{name.upper()}")
            hard = resource.getrlimit(number)[1]
            # Past its soft limit of time a program gets a signal that says so, past the hard one KILL.
            most = value + (name == "cpu")
            if hard != resource.RLIM_INFINITY:
                value, most = min(value, hard), min(most, hard)
            resource.setrlimit(number, (value, most))


def _reap(child: int) -> int | None:
    """Take in every process that has ended; the exit code of ``child`` if it is among them (128 + n after signal n)."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def _clear(child: int, grace: float) -> None:
    """End every process that descends from this one: TERM, a grace, then KILL until none is left."""
    if not _LINUX:
        for number in (signal.SIGTERM, signal.SIGKILL):
            _ignoring(partial(os.killpg, child, number))
            time.sleep(0.0 if number == signal.SIGKILL else min(grace, 0.1))
        return
    until = time.monotonic() + grace
    number = signal.SIGTERM
    while _children_left():
        if number == signal.SIGTERM or time.monotonic() >= until:
            for pid in descendants(os.getpid()):
                _ignoring(partial(os.kill, pid, number))
            number = signal.SIGKILL
        time.sleep(0.005)


def _children_left() -> bool:
    """Whether this process has children that have not ended; takes in those that have."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def descendants(root: int) -> list[int]:
    """The pids of all processes below ``root``, by /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  as above
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123  as above
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _say(report: int, words: str) -> None:
    _ignoring(lambda: os.write(report, f"{words}\n".encode()))


def _ignoring(act: Callable[[], object]) -> None:
    """Do what may fail because the other side is gone already."""
    try:  # noqa: SIM105  contextlib is one more import
        act()
    except OSError:
        pass


def _prctl() -> Callable[[int, int], int]:
    """The system call, or what does nothing where there is none."""
    if not _LINUX:
        return lambda option, value: 0
    import ctypes

    call = ctypes.CDLL(None).prctl
    return lambda option, value: call(option, value, 0, 0, 0)
