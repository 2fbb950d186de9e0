from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.jsonish import dumps
from orchestrator.tools.policy import KEPT, as_text, cap, failed, finish, head, read_result
from orchestrator.tools.protocol import Done, Failed


def size(value: Any) -> int:
    return len((value if isinstance(value, str) else dumps(value)).encode())


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "x" * 100, ["a"] * 10, {"a": {"b": "c" * 50}}])
def test_what_fits_is_left_alone(value: Any) -> None:
    assert cap(value, 200) == (value, None)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000,
        "☃" * 5_000,
        {"exit": 0, "stdout": "o" * 5_000, "stderr": "short"},
        {"exit": 0, "stdout": "o" * 5_000, "stderr": "e" * 5_000},
        {"exit": 0, "stdout": '"\n' * 5_000, "stderr": ""},
        ["a" * 100] * 100,
        list(range(5_000)),
        {"k" * 3_000: 1},
        [[["\x01" * 3000]]],
    ],
)
def test_what_does_not_fit_is_cut_to_the_bytes_and_kept_whole_beside(value: Any) -> None:
    shown, overflow = cap(value, 1_000)
    assert size(shown) <= 1_000
    assert overflow == (value if isinstance(value, str) else dumps(value))


def test_a_cut_keeps_the_shape_and_the_short_texts() -> None:
    shown, overflow = cap({"exit": 3, "stdout": "o" * 5_000, "stderr": "why"}, 1_000)
    assert shown["exit"] == 3
    assert shown["stderr"] == "why"
    assert 800 < len(shown["stdout"]) < 1_000
    assert overflow is not None
    assert json.loads(overflow)["stdout"] == "o" * 5_000


def test_what_is_kept_beside_has_a_bound() -> None:
    _, overflow = cap("x" * (KEPT + 5), 10)
    assert overflow is not None
    assert len(overflow) == KEPT


def test_head_never_cuts_a_character() -> None:
    assert [head("a☃b", n) for n in range(6)] == ["", "a", "a", "a", "a☃", "a☃b"]


def test_finish_cleans_redacts_and_then_cuts(contexts: Any) -> None:
    contexts.secrets["KEY"] = "hunter2-hunter2"
    end = finish("a\0b\ud800 hunter2-hunter2", contexts(max_output=14))
    assert isinstance(end, Done)
    assert "hunter" not in end.output
    assert end.overflow == "a\ufffdb\ufffd ***KEY***"


@pytest.mark.parametrize("value", [object(), float("nan"), {1: 2}, b"x"])
def test_finish_refuses_what_is_no_json(context: Any, value: Any) -> None:
    end = finish(value, context)
    assert isinstance(end, Failed)
    assert end.code == "invalid_output"


def test_failed_is_clean_short_and_redacted(contexts: Any) -> None:
    contexts.secrets["KEY"] = "hunter2-hunter2"
    end = failed(contexts(), "tool_error", "no\0 hunter2-hunter2" + "x" * 9_999, detail={"d": ["hunter2-hunter2"]})
    assert end.message.startswith("no\ufffd ***KEY***")
    assert len(end.message) <= 4_000
    assert end.detail == {"d": ["***KEY***"]}


def test_read_result_walks_through_a_kept_text() -> None:
    text = "".join(chr(0x61 + n % 26) for n in range(1_000)) + "☃" * 10
    pieces, offset = [], 0
    while offset is not None:
        found = read_result(text, offset=offset, limit=300, max_output=250)
        assert len(found["text"].encode()) <= 250
        assert found["total"] == len(text)
        pieces.append(found["text"])
        offset = found["next"]
    assert "".join(pieces) == text
    assert read_result(text, offset=5_000) == {"text": "", "offset": 5_000, "next": None, "total": len(text)}


@pytest.mark.parametrize(("offset", "limit"), [(-1, None), (0, 0), (0, -5)])
def test_read_result_refuses_what_counts_backwards(offset: int, limit: int | None) -> None:
    with pytest.raises(ValueError, match="at least"):
        read_result("x", offset=offset, limit=limit)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        (2.0, "2"),
        (1e21, "1e+21"),
        ([1, "é"], '[1,"é"]'),
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
    ],
)
def test_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text
