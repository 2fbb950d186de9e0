from __future__ import annotations

import pytest

from orchestrator.spec.scalars import MAX_DIGITS, NotANumber, resolve


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan", ".NaN", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have(text: str) -> None:
    with pytest.raises(NotANumber) as caught:
        resolve(text)
    assert caught.value.code == "E121"


@pytest.mark.parametrize("text", ["1" * (MAX_DIGITS + 1), "0x" + "f" * (MAX_DIGITS + 1), "0." + "1" * MAX_DIGITS])
def test_numbers_that_are_too_long(text: str) -> None:
    with pytest.raises(NotANumber) as caught:
        resolve(text)
    assert caught.value.code == "E116"
