from __future__ import annotations

from orchestrator.journal.kept import Board, Kept
from orchestrator.jsonish import canonical


def whole(board):
    """The size of a board, counted anew."""
    return sum(len(canonical(key)) + len(canonical(value)) for key, value in board.values.items())


def test_a_board_counts_what_it_holds():
    board = Board()
    for key, value in [("a", 1), ("ä", {"x": ["long" * 50]}), ("a", "longer"), ("b", None), ("ä", None), ("a", False)]:
        grows = board.growth(key, value)
        before = board.size
        board.put(key, value)
        assert board.size == before + grows == whole(board)
    assert board.values == {"a": False}


def test_notes_and_lists_are_what_the_last_call_gave():
    kept = Kept()
    kept.apply({"note": "a"}, ["one"])
    kept.apply({"note": "a"}, ["one", "two"])
    kept.apply({"todo": ""}, [{"id": 1}])
    kept.apply({"todo": "a"}, [{"id": 2}])
    assert kept.notes == {"a": ["one", "two"]}
    assert kept.todos == {"": [{"id": 1}], "a": [{"id": 2}]}


def test_a_board_has_what_was_set_and_reading_changes_nothing():
    kept = Kept()
    kept.apply({"board": "b", "key": "k"}, 5)
    kept.apply({"board": "b"}, {"k": 5})
    kept.apply({"board": "b", "key": "k"}, {"ok": False, "value": 5})
    assert kept.boards == {}
    kept.apply({"board": "b", "key": "k", "set": True}, {"ok": True, "value": 6})
    kept.apply({"board": "c", "key": "k", "set": True}, {"ok": True, "value": 7})
    kept.apply({"board": "c", "key": "k", "set": True}, {"ok": True, "value": None})
    assert {name: board.values for name, board in kept.boards.items()} == {"b": {"k": 6}, "c": {}}


def test_an_agent_that_begins_anew_has_its_own_things_no_more():
    kept = Kept()
    kept.apply({"note": "a"}, ["one"])
    kept.apply({"todo": "a"}, [{"id": 1}])
    kept.apply({"todo": ""}, [{"id": 2}])
    kept.apply({"board": "b", "key": "k", "set": True}, {"ok": True, "value": 6})
    kept.forget("a")
    kept.forget("nobody")
    assert (kept.notes, kept.todos) == ({}, {"": [{"id": 2}]})
    assert kept.boards["b"].values == {"k": 6}
