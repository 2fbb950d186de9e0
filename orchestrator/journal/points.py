"""Named instants at which the crash suite may kill this process; nothing at all unless it asked for that.

``ORCH_CRASH_POINTS`` names a file to which each point's name is appended as it is passed, and
``ORCH_CRASH_AT=name:n`` has the process kill itself with SIGKILL at the n-th passing of that point.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_LOG = os.environ.get("ORCH_CRASH_POINTS")
_NAME, _, _COUNT = os.environ.get("ORCH_CRASH_AT", "").partition(":")


if _LOG is None:

    def at(name: str) -> None:
        """Pass the point ``name``."""

else:
    _descriptor = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _passed: Counter[str] = Counter()

    def at(name: str) -> None:
        """Pass the point ``name``."""
        os.write(_descriptor, f"{name}\n".encode())
        _passed[name] += 1
        if name == _NAME and _passed[name] == int(_COUNT or 1):
            os.kill(os.getpid(), signal.SIGKILL)
