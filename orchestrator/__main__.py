"""``python -m orchestrator``, and what the command ``orch`` calls."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line on ``sys.argv`` and end the process with its exit code."""
    # Imports make many objects and no garbage: looking for it after each 700 costs a sixth of the start.
    gc.set_threshold(50_000, 20, 20)
    from orchestrator.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
