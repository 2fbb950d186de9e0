"""Data -> models: what is read as what, and every kind of fault with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.spec.agents import ModelEntry, Price
from orchestrator.spec.document import Document
from orchestrator.spec.fields import Budget
from orchestrator.spec.reader import read
from orchestrator.spec.steps import AskBody, LoopBody, MapStep, Retry
from orchestrator.spec.tools import Auth, FilesBody, HttpBody, ShellBody

if TYPE_CHECKING:
    from orchestrator.spec.model import Model


def faults(model: type[Model], data: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    made, found = read(model, data)
    assert made is None
    return [(fault["type"], fault["loc"]) for fault in found]


@pytest.mark.parametrize(
    ("model", "data", "kind", "where"),
    [
        (Document, [], "model_type", ()),
        (Budget, {"usd": "1"}, "float_type", ("usd",)),
        (Budget, {"usd": True}, "float_type", ("usd",)),
        (Budget, {"usd": 10**400}, "float_type", ("usd",)),
        (Budget, {"usd": -1}, "greater_than_equal", ("usd",)),
        (Budget, {"usd": None}, "float_type", ("usd",)),
        (Budget, {"tokens": 1.0}, "int_type", ("tokens",)),
        (Budget, {"tokens": True}, "int_type", ("tokens",)),
        (Budget, {"time": 5}, "E120", ("time",)),
        (Budget, {"on_exceed": "stop"}, "literal_error", ("on_exceed",)),
        (Budget, {"on_exceed": []}, "literal_error", ("on_exceed",)),
        (Budget, {"usd": 1, "Usd": 1}, "extra_forbidden", ("Usd",)),
        (Price, {"input": 1}, "missing", ("output",)),
        (Document, {"version": "1", "steps": {"a": {"run": "x"}}}, "literal_error", ("version",)),
        (Document, {"version": 1, "steps": []}, "dict_type", ("steps",)),
        (Document, {"version": 1, "steps": {}}, "too_short", ("steps",)),
        (Document, {"version": 1, "steps": {"A": {"run": "x"}}}, "E108", ("steps", "A", "[key]")),
        (Document, {"version": 1, "steps": {"a": {"run": 1}}}, "string_type", ("steps", "a", "\0run", "run")),
        (Document, {"version": 1, "steps": {"a": {}}}, "union_tag_invalid", ("steps", "a")),
        (Document, {"version": 1, "imports": "x", "steps": {"a": {"run": "x"}}}, "list_type", ("imports",)),
        (FilesBody, {"root": "", "operations": ["read", "rm"]}, "literal_error", ("operations", 1)),
        (HttpBody, {"url": "x", "expect": 600}, "less_than_equal", ("expect", "\0number")),
        (HttpBody, {"url": "x", "json": 1, "body": 2}, "E127", ()),
        (Auth, {"basic": ["a"]}, "too_short", ("basic",)),
        (Auth, {"basic": ["a", "b", "c"]}, "too_long", ("basic",)),
        (Auth, {}, "E109", ()),
        (ShellBody, {"argv": ["a"], "script": "b"}, "E109", ()),
        (ModelEntry, {"provider": "scripted"}, "E105", ()),
    ],
)
def test_each_fault_has_its_kind_and_its_place(
    model: type[Model], data: Any, kind: str, where: tuple[str | int, ...]
) -> None:
    assert faults(model, data)[-1] == (kind, where)


def test_faults_come_in_the_order_of_fields_and_what_is_unknown_last() -> None:
    data = {"nope": 1, "tokens": "x", "usd": "x"}
    assert [where for _, where in faults(Budget, data)] == [("usd",), ("tokens",), ("nope",)]


def test_a_rule_waits_for_right_fields() -> None:
    assert faults(AskBody, {"message": 5}) == [("union_tag_invalid", ("message",))]
    assert faults(AskBody, {"message": "x"}) == [("E109", ())]


def test_whole_numbers_stand_for_fractions_and_nothing_else_is_converted() -> None:
    made, _ = read(Retry, {"attempts": 3, "backoff": 2, "on": ["timeout", 503]})
    assert made is not None
    assert (type(made.backoff), made.backoff, made.attempts, made.on) == (float, 2.0, 3, ["timeout", 503])
    document, _ = read(Document, {"version": 1.0, "steps": {"a": {"run": "x"}}})
    assert document is not None
    assert type(document.version) is int
    loop, _ = read(LoopBody, {"until": True, "start": None})
    assert loop is not None
    assert (loop.until, loop.start, list(loop.given)) == (True, None, ["until", "start"])


def test_fields_that_are_python_words_have_their_keys() -> None:
    made, _ = read(MapStep, {"map": "xs", "as": "x", "if": "a", "do": {"run": "x"}})
    assert made is not None
    assert (made.as_, made.if_, made.key) == ("x", "a", None)
    assert made.data() == {"if": "a", "map": "xs", "as": "x", "do": {"run": "x"}}
    assert faults(MapStep, {"map": "xs", "as_": "x", "do": {"run": "x"}}) == [("extra_forbidden", ("as_",))]


def test_what_is_written_comes_back_as_plain_data() -> None:
    data = {
        "provider": "scripted",
        "price": {"input": 1.0, "output": 2.5},
        "replies": [{"text": "a"}, {"output": {"b": 1}}],
    }
    made, _ = read(ModelEntry, data)
    assert made is not None
    assert made.data() == data
