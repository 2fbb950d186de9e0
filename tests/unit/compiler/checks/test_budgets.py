from __future__ import annotations

from typing import Any

import pytest

from orchestrator.app.prices import is_priced
from tests.unit.compiler.helpers import MODELS, compiled, said

UNPRICED = """
models:
  default: {provider: anthropic, model: a-model-of-mine}
  priced: {provider: anthropic, model: a-model-of-mine, price: {input: 1, output: 2}}
  canned: {provider: scripted, replies: [{text: x}]}
  moved: {provider: anthropic, model: claude-haiku-5-5, params: {service_tier: batch}}
  told: {provider: anthropic, model: claude-haiku-5-5, params: {speed: "${{ 'fast' }}"}}
  far: {provider: anthropic, model: claude-haiku-5-5, params: {user: me}}
"""


def found(text: str, **more: Any) -> list[tuple[str, int | None, int | None]]:
    diagnostics = compiled(text, priced=is_priced, **more).diagnostics
    return [
        (one.code, one.mark and one.mark.line, one.mark and one.mark.column)
        for one in diagnostics
        if one.code[0] == "E"
    ]


def codes(text: str) -> list[str]:
    return [code for code, _, _ in found(text)]


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("usd: 1", "usd: 1", []),
        ("usd: 1", "usd: 1.01", ["E470"]),
        ("usd: 1", "tokens: 100", []),
        ("tokens: 10, model_calls: 2", "tokens: 11, model_calls: 3", ["E470", "E470"]),
        ("time: 1m", "time: 61s", ["E470"]),
        ("deadline: 1m", "deadline: 1h", ["E470"]),
        ("depth: 1", "depth: 2", ["E470"]),
        ("agents: 1", "agents: 2, on_exceed: fail", ["E470"]),
        ("tool_calls: 1", "tool_calls: 2", ["E470"]),
    ],
)
def test_a_budget_is_not_over_the_one_around_it(outer: str, inner: str, expected: list[str]) -> None:
    assert codes(f"budget: {{{outer}}}\nsteps: {{a: {{run: x, budget: {{{inner}}}}}}}") == expected
    assert codes(f"steps: {{g: {{budget: {{{outer}}}, steps: {{a: {{run: x, budget: {{{inner}}}}}}}}}}}") == expected
    assert codes(f"budget: {{{outer}}}\nsteps: {{m: {{map: '[1]', do: {{run: x, budget: {{{inner}}}}}}}}}") == expected
    switch = f"{{switch: '1', cases: {{'1': {{run: x, budget: {{{inner}}}}}}}, default: {{run: y}}}}"
    assert codes(f"budget: {{{outer}}}\nsteps: {{s: {switch}}}") == expected
    assert (
        codes(f"{MODELS}\nbudget: {{{outer}}}\nsteps: {{a: {{agent: {{budget: {{{inner}}}}}, prompt: x}}}}") == expected
    )
    failure = f"{{run: x, budget: {{{inner}}}}}"
    assert codes(f"budget: {{{outer}}}\non_failure: {failure}\nsteps: {{a: {{run: x}}}}") == expected


def test_it_stands_at_the_bound_and_says_where_the_outer_one_is() -> None:
    text = "budget: {usd: 1}\nsteps:\n  a: {run: x, budget: {tokens: 5, usd: 2}}"
    diagnostics = compiled(text).diagnostics
    assert [(one.code, one.mark and (one.mark.line, one.mark.column)) for one in diagnostics] == [("E470", (4, 40))]
    assert [note.mark.line for note in diagnostics[0].notes if note.mark] == [2]


def test_a_step_and_its_agent_have_one_account() -> None:
    text = """
        {}
        agents: {{s: {{budget: {{usd: 3}}}}}}
        budget: {{usd: {}}}
        steps: {{a: {{agent: s, prompt: x, budget: {{usd: 2}}}}}}
    """
    assert codes(text.format(MODELS.replace("\n", "\n        "), 5)) == []
    assert codes(text.format(MODELS.replace("\n", "\n        "), 2.5)) == ["E470"]


def test_a_fallback_stands_outside_the_budget_of_its_step() -> None:
    step = "{run: x, budget: {usd: 1}, on_error: {run: y, budget: {usd: 2}}}"
    assert codes(f"budget: {{usd: 2}}\nsteps: {{a: {step}}}") == []
    assert codes(f"budget: {{usd: 1.5}}\nsteps: {{a: {step}}}") == ["E470"]


def test_an_agent_that_several_steps_use_is_told_of_once() -> None:
    text = f"{MODELS}\nbudget: {{usd: 1}}\nagents: {{s: {{budget: {{usd: 2}}}}}}\nsteps: {{a: {{agent: s, prompt: x}}, b: {{agent: s, prompt: y}}}}"
    assert codes(text) == ["E470"]


@pytest.mark.parametrize(
    "bound", ["usd: 0", "usd: 0.0000001", "tokens: 0", "time: 0s", "deadline: 0s", "model_calls: 0", "agents: 0"]
)
def test_a_budget_of_nothing(bound: str) -> None:
    assert codes(f"budget: {{{bound}}}\nsteps: {{a: {{run: x}}}}") == ["E473"]
    assert codes(f"steps: {{a: {{run: x, budget: {{{bound}}}}}}}") == ["E473"]


def test_nothing_of_some_things_says_something() -> None:
    assert codes("budget: {tool_calls: 0, depth: 0}\nsteps: {a: {run: x}}") == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("{run: x}", ["E472"]),
        ("{agent: {}, prompt: x}", []),
        ("{steps: {b: {agent: {}, prompt: x}}}", []),
        ("{map: '[1]', do: {agent: {}, prompt: x}}", []),
        ("{run: x, on_error: {agent: {}, prompt: x}}", []),
        ("{switch: '1', cases: {'1': {run: x}}, default: {agent: {}, prompt: x}}", []),
    ],
)
def test_finish_is_for_agents(step: str, expected: list[str]) -> None:
    assert codes(f"{MODELS}\nbudget: {{usd: 1, on_exceed: finish}}\nsteps: {{a: {step}}}") == expected
    if "on_error" not in step:
        inner = step.removesuffix("}") + ", budget: {usd: 1, on_exceed: finish}}"
        assert codes(f"{MODELS}\nsteps: {{a: {inner}}}") == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [("default", ["E471"]), ("priced", []), ("canned", []), ("moved", ["E471"]), ("told", ["E471"]), ("far", [])],
)
def test_dollars_are_over_models_with_a_price(model: str, expected: list[str]) -> None:
    step = f"{{agent: {{model: {model}}}, prompt: x}}"
    assert codes(f"{UNPRICED}\nbudget: {{usd: 1}}\nsteps: {{a: {step}}}") == expected
    assert codes(f"{UNPRICED}\nsteps: {{g: {{budget: {{usd: 1}}, steps: {{a: {step}}}}}}}") == expected
    assert codes(f"{UNPRICED}\nbudget: {{tokens: 1}}\nsteps: {{a: {step}}}") == []
    assert codes(f"{UNPRICED}\nsteps: {{a: {step}}}") == []
    own = f"{{agent: {{model: {model}, budget: {{usd: 1}}}}, prompt: x}}"
    assert codes(f"{UNPRICED}\nsteps: {{a: {own}}}") == expected


def test_a_model_without_a_price_is_told_of_once_at_its_entry() -> None:
    text = f"{UNPRICED}\nbudget: {{usd: 1}}\nsteps: {{a: {{agent: {{}}, prompt: x}}, b: {{agent: {{}}, prompt: x}}}}"
    assert found(text) == [("E471", 4, 3)]
    assert said(text.replace("usd: 1", "tokens: 9"))[0][0] == "W502"


def test_models_that_a_fallback_stands_for_need_prices_too() -> None:
    models = UNPRICED + "  both: {provider: fallback, fallback: [priced, default]}\n"
    assert codes(f"{models}\nbudget: {{usd: 1}}\nsteps: {{a: {{agent: {{model: both}}, prompt: x}}}}") == ["E471"]


def test_without_prices_at_hand_every_model_has_one() -> None:
    text = f"{UNPRICED}\nbudget: {{usd: 1}}\nsteps: {{a: {{agent: {{}}, prompt: x}}}}"
    assert [code for code, _ in said(text) if code[0] == "E"] == []


DELEGATES = """
models:
  default: {provider: scripted, replies: [{text: x}]}
  other: {provider: anthropic, model: a-model-of-mine}
agents:
  boss: {budget: {tokens: 50}, delegates: {critic: {BUDGET}}, HANDOFFS}
  critic: {description: x, budget: {tokens: INNER}, model: MODEL}
budget: {tokens: 100, OUTER}
steps: {a: {agent: boss, prompt: x}}
"""


@pytest.mark.parametrize(
    ("budget", "inner", "handoffs", "expected"),
    [
        ("", 50, "", []),
        ("", 60, "", ["E470"]),
        ("budget: {tokens: 20}", 20, "", []),
        ("budget: {tokens: 20}", 30, "", ["E470"]),
        ("budget: {tokens: 60}", 40, "", ["E470"]),
        ("budget: {tokens: 20}", 20, "spawn: {budget: {tokens: 51}}", ["E470"]),
        ("budget: {tokens: 20}", 20, "plan: {budget: {tokens: 51}}", ["E470"]),
        ("", 50, "handoffs: {critic: {}}", []),
    ],
)
def test_what_an_agent_calls_is_inside_its_budget(budget: str, inner: int, handoffs: str, expected: list[str]) -> None:
    text = DELEGATES.replace("BUDGET", budget).replace("INNER", str(inner)).replace("HANDOFFS", handoffs)
    text = text.replace(", OUTER", "").replace("MODEL", "default").replace("}}, }", "}}}")
    assert [code for code in codes(text) if code.startswith("E47")] == expected


def test_models_of_agents_that_are_called_need_prices_too() -> None:
    text = DELEGATES.replace("BUDGET", "").replace("INNER", "50").replace(", HANDOFFS", "").replace("MODEL", "other")
    assert codes(text.replace("OUTER", "usd: 1")) == ["E471"]
    assert codes(text.replace(", OUTER", "")) == []


def test_models_that_sum_up_or_are_spawned_need_prices_too() -> None:
    summing = "context: {max_tokens: 5000, model: default}"
    for own in (summing, "spawn: {models: [default]}"):
        text = f"{UNPRICED}\nbudget: {{usd: 1}}\nsteps: {{a: {{agent: {{model: canned, {own}}}, prompt: x}}}}"
        assert codes(text) == ["E471"]


def test_agents_that_call_each_other_are_looked_at_once() -> None:
    text = """
        models: {default: {provider: scripted, replies: [{text: x}]}}
        agents:
          a: {description: a, delegates: {b: {}}}
          b: {description: b, delegates: {a: {}}}
        budget: {depth: 3, tokens: 9}
        steps: {s: {agent: a, prompt: x}}
    """
    assert [code for code in codes(text) if code.startswith("E47")] == []
