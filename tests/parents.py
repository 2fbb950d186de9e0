"""Processes that end with the one that started them: a killed run of the tests leaves no server behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Found here and not in the child, which may not read what this process may.
_LIBC = ctypes.CDLL(None)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; may run in the child, between fork and exec.

    ``parent`` is the pid that forked: where it is gone already, the child ends itself. Elsewhere than on Linux nothing
    happens.
    """
    if sys.platform != "linux":
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)
