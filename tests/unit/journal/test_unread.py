from __future__ import annotations

from typing import Any

from orchestrator.journal.records import Draft
from orchestrator.journal.state import RunState
from orchestrator.journal.store import InboxRow
from orchestrator.journal.unread import left_in, unread


def folded(*drafts: tuple[str, str, dict[str, Any]]) -> RunState:
    state = RunState()
    for seq, (kind, path, body) in enumerate(drafts, 1):
        state.apply(Draft(kind, path, body), seq=seq, at=seq)  # type: ignore[arg-type]
    return state


def started(path: str) -> tuple[str, str, dict[str, Any]]:
    return "started", path, {"attempt": 1, "effect": "read", "agent": "a"}


def message(path: str, text: str, turn: int | None) -> tuple[str, str, dict[str, Any]]:
    body = {"kind": "message", "by": "me", "text": text}
    return "received", path, body if turn is None else body | {"turn": turn}


def test_what_a_later_turn_may_read_is_not_unread_before_its_agent_ends():
    sent = (started("a/turn1"), message("a", "late", 2))
    assert unread(folded(*sent)) == []
    late = [{"step": "a", "text": "late"}]
    assert unread(folded(*sent, ("done", "a/turn1", {"attempt": 1}), ("done", "a", {}))) == late
    assert unread(folded(*sent, ("run_finished", "", {"status": "failed"}))) == late


def test_a_turn_reads_what_was_said_before_it():
    sent = (started("a/turn1"), message("a", "one", 2), ("done", "a/turn1", {"attempt": 1}))
    end = ("run_finished", "", {"status": "done"})
    assert unread(folded(*sent, started("a/turn2"), end)) == []
    # A turn that a budget had no room for is passed over.
    over = ("limit_reached", "a/turn2", {"then": "fail"})
    assert unread(folded(*sent, over, end)) == [{"step": "a", "text": "one"}]
    assert unread(folded(*sent, over, started("a/turn3"), end)) == []
    # Turns of others are none of its own.
    assert len(unread(folded(*sent, started("b/turn2"), started("a/turn1/tool0/turn7"), end))) == 1


def test_what_came_when_no_agent_was_there_any_more():
    assert unread(folded(message("a", "hello", None))) == [{"step": "a", "text": "hello"}]
    # So it was written once, without its text.
    assert unread(folded(("received", "a", {"kind": "message", "by": "me"}))) == [{"step": "a", "text": ""}]
    assert unread(folded(("received", "a", {"kind": "answer", "by": "me"}))) == []


def test_what_is_left_in_an_inbox():
    def row(kind: str, **body: Any) -> InboxRow:
        return InboxRow(run_id="r", request_id=kind, kind=kind, path="a", body=body, by="me", at=1)

    assert left_in([row("cancel"), row("message", text="hi")]) == [{"step": "a", "text": "hi"}]
