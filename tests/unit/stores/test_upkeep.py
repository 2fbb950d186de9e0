from __future__ import annotations

from orchestrator.stores import upkeep


def test_ages_and_ends() -> None:
    assert upkeep.is_ended(None)
    assert upkeep.is_ended("limited")
    assert not upkeep.is_ended("waiting")
