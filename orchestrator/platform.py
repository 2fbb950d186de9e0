"""All that depends on Linux, with what stands in for it elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

LINUX = sys.platform == "linux"


def boottime() -> float:
    """Seconds on CLOCK_BOOTTIME; elsewhere the monotonic clock, which may stand still while the machine sleeps."""
    if LINUX:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def boot_id() -> str:
    """A name of this boot of this machine, or an empty text where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def pid_namespace() -> str:
    """The pid namespace of this process, or an empty text."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def process_started(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None where there is no such process, or no way to
    tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def process_gone(pid: int, started: int) -> bool:
    """True where it is certain that the process ``pid`` that started then is no more (a zombie counts as gone)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return LINUX
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return fields[0] in "ZX" or int(fields[19]) != started


def user_state_dir() -> Path:
    """Where this user's state lives (``$XDG_STATE_HOME``, else ``~/.local/state``)."""
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "orch"


def home() -> Path:
    """The user's home. Where there is none (a container's bare uid), a path below which nothing can be or be made."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)
