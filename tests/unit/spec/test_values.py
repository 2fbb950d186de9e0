"""What is plainly right is right, and what is not is left to the library."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import values
from orchestrator.spec.values import check_value

SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text("ab", max_size=2)
)
FIELD: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "boolean", "integer", "number", "null", "array", "object"])},
    optional={"title": st.just("x"), "default": SCALARS, "minimum": st.just(1)},
) | st.sampled_from([True, False, {}])
SCHEMA: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": st.sampled_from(["object", "object", "object", "array"])},
    optional={
        "properties": st.dictionaries(st.sampled_from("abc"), FIELD),
        "required": st.lists(st.sampled_from("abc"), unique=True),
        "additionalProperties": st.booleans(),
        "minProperties": st.just(2),
    },
)


@given(
    SCHEMA | FIELD.filter(lambda one: isinstance(one, dict)),
    st.dictionaries(st.sampled_from("abcd"), SCALARS | st.just([])) | SCALARS,
)
@settings(max_examples=400, deadline=None)
def test_what_is_plainly_right_is_right(schema: Any, value: Any) -> None:
    if values._plainly_right(schema, value):
        assert values._validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "value", "plain"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 1}, True),
        ({"type": "object", "properties": {"a": {"type": "number"}}}, {}, True),
        ({"type": "object"}, {"a": [1]}, True),
        ({"type": "object", "additionalProperties": False}, {"a": 1}, False),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": 1}, False),
        ({"type": "integer"}, 1, True),
        ({"type": "integer", "minimum": 2}, 1, False),
        ({"type": "string"}, None, False),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": True}, False),
        ({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}}, {"a": 1}, False),
        ({"type": "object", "properties": {"a": {"enum": [1]}}}, {"a": 1}, False),
        ({"type": "object", "required": ["a"]}, {}, False),
        ({"type": "object", "required": "a"}, {}, False),
        ({"type": "object", "properties": []}, {}, False),
        ({"type": "object", "minProperties": 1}, {}, False),
        ({"type": "array"}, [], False),
    ],
)
def test_only_scalars_and_flat_objects_of_them_are_plain(schema: Any, value: Any, plain: bool) -> None:
    assert values._plainly_right(schema, value) is plain


def test_what_is_wrong_is_said_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_validators", type(values._validators)())
    monkeypatch.setattr(values, "_looked", count())
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert check_value(schema, {"a": 1}) == []
    assert not values._validators
    assert check_value(schema, {"a": "x"}) == ['/a: "x" is not of type "integer"']
    assert values._validators
    assert check_value(schema, {"a": 1}) == []


def test_a_process_that_checks_little_does_not_load_the_library() -> None:
    code = (
        "import sys\nfrom orchestrator.spec.values import check_value\n"
        "schema = {'type': 'object', 'properties': {'a': {'type': 'string'}}}\n"
        "assert check_value(schema, {'a': 'x'}) == []\n"
        "assert 'jsonschema_rs' not in sys.modules\n"
        "assert all(check_value(schema, {'a': 'x'}) == [] for _ in range(30))\n"
        "assert 'jsonschema_rs' in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
