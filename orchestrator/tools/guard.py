"""The process between a driver and a program that it runs: it leaves nothing of the program running.

It runs in a fresh interpreter without site packages, and imports little, and nothing of this package: start-up is most
of what a call costs. Its arguments are three descriptors:

``ORDER`` a file with a marshalled mapping, ``{"argv", "env", "rlimits", "grace"}`` (``grace``: seconds between TERM and
KILL); ``LIFE`` one that reads as ended when the driver has died or wants the program gone; ``REPORT`` gets one word and
a number: ``exit CODE``, ``error ERRNO`` where the program could not be started, or ``killed 0``.

The program's variables come in the order, so that none of them has a part in how this process runs.

On Linux this process is the subreaper of all that the program starts: what leaves its session or loses its parent
becomes this one's child. When there is none left, nothing is.
"""

from __future__ import annotations

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

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"


def main(argv: list[str]) -> None:
    """Start the program, wait for its end or for that of ``LIFE``, and kill what is left."""
    order, life, report = (int(number) for number in argv)
    with open(order, "rb") as file:  # noqa: PTH123  of a descriptor
        wanted = marshal.load(file)  # noqa: S302  written by this very interpreter
    for descriptor in (life, report):
        os.set_inheritable(descriptor, False)  # the program has no part in what is said here
    parent = os.getppid()
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    ended = {"asked": False}
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: ended.update(asked=True))
    child = _start(wanted["argv"], wanted["env"], wanted["rlimits"], report, prctl)
    if child is None:
        return
    for descriptor in (0, 1, 2):
        os.close(descriptor)  # so that the driver's ends see the program's end, not this process's
    code = None
    while code is None and not ended["asked"] and os.getppid() == parent:
        ready, _, _ = select.select([life, wake], [], [], 5.0)
        if wake in ready:
            os.read(wake, 512)
        if life in ready:
            break
        code = _reap(child)
    _clear(child, wanted["grace"])
    _say(report, "killed", 0) if code is None else _say(report, "exit", code)


def _start(
    program: list[str],
    environment: dict[str, str],
    limits: dict[str, int],
    report: int,
    prctl: Callable[[int, int], int],
) -> int | None:
    """Fork and exec the program in a session of its own; None, and the errno in the report, where that fails."""
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
        _say(report, "error", int(failure))
        return None
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
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib is not imported here: it costs as much as all the rest
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


def _say(report: int, word: str, number: int) -> None:
    _ignoring(lambda: os.write(report, f"{word} {number}\n".encode()))


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
