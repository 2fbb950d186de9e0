from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.app.secrets import Missing, SecretsMissing, resolve_secrets, secret_value
from orchestrator.errors import Exit
from orchestrator.graph.nodes import SecretDef

if TYPE_CHECKING:
    from pathlib import Path


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from the file\r\n")
    env = {"KEY_FILE": str(file)}
    assert secret_value("KEY", env) == "from the file"
    assert secret_value("KEY", env | {"KEY": "set"}) == "set"
    assert secret_value("KEY", env | {"KEY": ""}) == "from the file"


@pytest.mark.parametrize("body", [b"", b"\n", b"\xff", b"x" * 70_000])
def test_a_file_without_a_usable_value(body: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(body)
    found = secret_value("KEY", {"KEY_FILE": str(file)})
    assert isinstance(found, Missing)
    assert found.why


def test_all_that_are_missing_are_named_and_the_exit_is_4() -> None:
    declared = [SecretDef(name="A"), SecretDef(name="B"), SecretDef(name="C", optional=True), SecretDef(name="D")]
    with pytest.raises(SecretsMissing) as raised:
        resolve_secrets(declared, {"D": "value"})
    assert raised.value.exit is Exit.NO_KEY
    assert "A, B" in raised.value.message
    assert "value" not in raised.value.message
    assert raised.value.hint == "set A and B, or A_FILE to the path of a file that holds the value"


def test_an_optional_one_whose_file_is_broken_is_said() -> None:
    with pytest.raises(SecretsMissing, match=r"C \(C_FILE cannot be read"):
        resolve_secrets([SecretDef(name="C", optional=True)], {"C_FILE": "/nowhere"})


def test_the_values_that_are_there() -> None:
    assert resolve_secrets([SecretDef(name="A"), SecretDef(name="C", optional=True)], {"A": "1"}) == {"A": "1"}
