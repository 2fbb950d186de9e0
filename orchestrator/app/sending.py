"""What people send to a run: rows of its inbox, of which the first one of a request wins."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SystemClock
from orchestrator.journal.store import InboxRow

if TYPE_CHECKING:
    from orchestrator.journal.store import Store


async def send(
    store: Store, run_id: str, *, kind: str, request_id: str, body: dict[str, Any], path: str = ""
) -> InboxRow:
    """The row that holds the request id afterwards: ours, or that of whoever was first. Raises ``RunEnded``."""
    row = InboxRow(
        run_id=run_id, request_id=request_id, kind=kind, path=path, body=body, by=sender(), at=SystemClock().now()
    )
    return await store.send(row)


def sender() -> str:
    """Who sends: the user's name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
