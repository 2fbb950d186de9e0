from __future__ import annotations

from orchestrator.ids import request_id
from orchestrator.stores.texts import MAX_ID


def test_a_request_id_says_what_it_is_about() -> None:
    assert request_id("resolve", "a/b[1]", 2) == "resolve:a/b[1]:2"


def test_a_long_path_still_makes_an_id_that_a_store_takes() -> None:
    path = "é" * 5000
    made = request_id("evidence", path, 1, 2)
    assert len(made) <= MAX_ID
    assert made.startswith("evidence:é")
    assert len({made, request_id("evidence", path, 1, 3), request_id("evidence", path + "x", 1, 2)}) == 3
