"""Messages to agents that nobody has read: what was sent must not be lost without a word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.journal.state import RunState
    from orchestrator.journal.store import InboxRow


def unread(state: RunState) -> list[dict[str, str]]:
    """``{step, text}`` of each message to an agent that ended, or whose run did, before a turn could read it."""
    found = [{"step": path, "text": text} for path, text in state.missed]
    for path, sent in state.messages.items():
        step = state.steps.get(path)
        if state.finished is not None or (step is not None and step.ended):
            begun = _last_turn(state, path)
            found += ({"step": path, "text": text} for turn, text in sent if turn > begun)
    return found


def left_in(inbox: Iterable[InboxRow]) -> list[dict[str, str]]:
    """The same of those that nobody has even taken up, out of the inbox of a run that has ended."""
    return [{"step": row.path, "text": row.body["text"]} for row in inbox if row.kind == "message"]


def _last_turn(state: RunState, path: str) -> int:
    """The last turn of an agent that began; 0 where none did."""
    turn = re.compile(re.escape(path) + r"/turn(\d+)")
    begun = (turn.fullmatch(other) for other, step in state.steps.items() if step.attempt)
    return max((int(one[1]) for one in begun if one), default=0)
