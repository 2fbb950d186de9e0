"""``python -m orchestrator``, and what the command ``orch`` calls."""

from __future__ import annotations

import sys

try:
    import gc
    import os
    import signal
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run the command line on ``sys.argv`` and end the process with its exit code."""
    # Imports make many objects and no garbage: looking for it after each 700 costs a sixth of the start.
    gc.set_threshold(100_000, 20, 20)
    # Until there is somebody to catch it, Ctrl-C has nothing to undo; and once all is done, nothing to stop.
    heeded = signal.getsignal(signal.SIGINT)
    if heeded is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from orchestrator.cli.main import main as run

    try:
        signal.signal(signal.SIGINT, heeded)
        code = run(sys.argv[1:])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        code = 130
    # As the interpreter ends it looks for garbage among all that there is, several times: a fifth of a short command.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
