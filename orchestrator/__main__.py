"""``python -m orchestrator``, and what the command ``orch`` calls."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line on ``sys.argv`` and end the process with its exit code."""
    from orchestrator.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
