from __future__ import annotations

import pytest

from orchestrator.agents.builtin import FILE_OPERATIONS, READ_RESULT
from orchestrator.spec.types import check_value

GOOD = {
    "read": {"path": "a", "offset": 1, "limit": 2},
    "list": {"path": "."},
    "glob": {"pattern": "**/*.py"},
    "grep": {"pattern": "x", "path": "a"},
    "write": {"path": "a", "content": ""},
    "edit": {"path": "a", "old": "x", "new": "y"},
}


def test_every_operation_is_known():
    assert FILE_OPERATIONS.keys() == GOOD.keys()


@pytest.mark.parametrize("name", GOOD)
def test_arguments_are_closed_objects_of_simple_types(name):
    schema, good = FILE_OPERATIONS[name].input, GOOD[name]
    assert check_value(schema, good) == []
    assert check_value(schema, good | {"more": 1})
    for key in schema["required"]:
        assert check_value(schema, {other: value for other, value in good.items() if other != key})
        assert check_value(schema, good | {key: 5})


def test_a_folder_is_listed_by_default_from_the_root():
    assert check_value(FILE_OPERATIONS["list"].input, {}) == []


def test_what_writes_may_be_repeated_under_one_key():
    assert {name for name, known in FILE_OPERATIONS.items() if known.effect == "idempotent"} == {"write", "edit"}


def test_the_rest_of_a_result_is_read_by_its_id():
    assert check_value(READ_RESULT.input, {"id": "turn1/tool0", "offset": 1, "limit": 5}) == []
    assert check_value(READ_RESULT.input, {"offset": 1})
