"""Agents that come to each other in any number cost no more to check than others."""

from __future__ import annotations

import pytest

from tests.unit.compiler.helpers import MODELS, codes

MANY = 1_000
FEW = 60


def chain(key: str, last: str = "{}") -> str:
    agents = "".join(f"  r{n}: {{{key}: {{r{n + 1}: {{}}}}}}\n" for n in range(MANY))
    steps = "".join(f"  s{n}: {{agent: r0, prompt: x}}\n" for n in range(MANY))
    return f"{MODELS}agents:\n{agents}  r{MANY}: {last}\nsteps:\n{steps}"


def everyone(more: str = "") -> str:
    others = ", ".join(f"r{n}: {{}}" for n in range(FEW))
    agents = "".join(f"  r{n}: {{delegates: {{{others}}}}}\n" for n in range(FEW))
    return f"{more}{MODELS}agents:\n{agents}steps:\n  s: {{agent: r0, prompt: x}}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (chain("delegates"), set()),
        (chain("handoffs"), set()),
        (chain("delegates", "{delegates: {r0: {}}}"), {"E407"}),
        (everyone(), {"E407"}),
        (everyone("budget: {depth: 3, tokens: 9}\n"), set()),
    ],
)
def test_ways_without_end_are_walked_once(text: str, found: set[str]) -> None:
    # To walk each way would take longer than any test may.
    assert set(codes(text)) == found


def test_what_runs_after_a_failure_is_looked_at() -> None:
    text = f"{MODELS}agents: {{a: {{delegates: {{a: {{}}}}}}}}\nsteps: {{s: {{set: {{}}}}}}\non_failure: {{agent: a, prompt: x}}\n"
    assert codes(text) == ["E407"]
