from __future__ import annotations

from random import Random

import pytest

from orchestrator.agents.messages import Usage
from orchestrator.providers.prices import Price, cost, price_of, worst_case

SONNET = Price(2_000_000, 10_000_000, 100_000, 2_500_000, 4_000_000)


def test_a_known_model_has_its_price_under_each_of_its_names() -> None:
    assert price_of("claude-sonnet-5-5") == SONNET
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5")


@pytest.mark.parametrize("model", ["", "claude-haiku-9", "claude-sonnet-5-5-preview", "gpt-6", "claude-haiku-4-5-2025"])
def test_an_unknown_price_is_none_and_never_zero(model: str) -> None:
    assert price_of(model) is None


@pytest.mark.parametrize("params", [{"speed": "fast"}, {"inference_geo": "us"}, {"service_tier": "auto"}])
def test_params_that_change_the_price_make_it_unknown(params: dict[str, str]) -> None:
    assert price_of("claude-sonnet-5-5", params=params) is None
    assert price_of("claude-sonnet-5-5", {"input": 1, "output": 2}, params=params) is not None
    assert price_of("claude-sonnet-5-5", params={"top_k": 1}) == SONNET


def test_a_files_own_price_wins() -> None:
    own = price_of("claude-sonnet-5-5", {"input": 0.1, "output": 0.3, "cache_read": 0.01, "cache_write": 0.2})
    assert own == Price(100_000, 300_000, 10_000, 200_000, 200_000)
    assert price_of("mine", {"input": 4, "output": 8}) == Price(4_000_000, 8_000_000, 4_000_000, 5_000_000, 8_000_000)
    assert price_of("mine", {"input": 0.0000001, "output": 0}) == Price(1, 0, 1, 2, 2)


def test_cost_is_exact_and_rounded_up() -> None:
    assert cost(SONNET, Usage()) == 0
    assert cost(SONNET, Usage(cache_read=1)) == 1
    assert cost(SONNET, Usage(input=1_000_000, output=1_000_000)) == 12_000_000
    assert cost(SONNET, Usage(10, 5, 100, 40, 30)) == 20 + 50 + 10 + 100 + 120
    assert cost(SONNET, Usage(input=1, output=1, thinking=1)) == 12


def test_a_long_prompt_costs_more_from_its_first_token() -> None:
    haiku = price_of("claude-haiku-5-5")
    assert haiku is not None
    assert cost(haiku, Usage(input=100_000, output=1000)) == 10_500
    assert cost(haiku, Usage(input=100_001, output=1000)) == 52_501
    assert cost(haiku, Usage(input=1, cache_read=100_000)) == 5_001


def test_no_call_costs_more_than_its_worst_case() -> None:
    chance = Random(3)
    prices = [
        price
        for name in ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "gpt-6-luna", "gpt-5")
        if (price := price_of(name))
    ]
    prices.append(Price(5, 7, 11, 3, 2))
    for _ in range(2000):
        price = chance.choice(prices)
        size, most = chance.randint(0, 300_000), chance.randint(0, 9000)
        left, parts = size, []
        for _ in range(3):
            parts.append(chance.randint(0, left))
            left -= parts[-1]
        ttl = chance.choice(["5m", "1h", None])
        five, hour = (parts[0], 0) if ttl == "5m" else (0, parts[0])
        if ttl is None:
            five = hour = 0
        used = Usage(parts[1], chance.randint(0, most), parts[2], five, hour)
        assert cost(price, used) <= worst_case(size, most, price, ttl=ttl)


def test_the_worst_case_counts_what_bytes_do_not_show() -> None:
    assert worst_case(0, 0, SONNET, ttl=None) > 0
    assert worst_case(100, 0, SONNET, images=1) > worst_case(100, 0, SONNET)
    without, five, hour = (worst_case(9000, 10, SONNET, ttl=ttl) for ttl in (None, "5m", "1h"))
    assert without < five < hour == worst_case(9000, 10, SONNET)


def test_models_of_openai() -> None:
    mini, sol = price_of("gpt-5-mini-2025-08-07"), price_of("gpt-6.1-sol")
    assert mini == Price(250_000, 2_000_000, 25_000, 250_000, 250_000)
    assert sol is not None
    assert sol == Price(2_000_000, 10_000_000, 100_000, 2_500_000, 2_500_000, 272_000, sol.long)
    assert cost(sol, Usage(input=272_000, output=1000)) == 544_000 + 10_000
    assert cost(sol, Usage(input=272_001, output=1000)) == 1_088_004 + 15_000
    assert cost(sol, Usage(input=1, cache_write_5m=272_000, cache_read=1)) == 4 + 1_360_000 + 1


def test_a_dated_model_may_have_a_price_of_its_own() -> None:
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o") != price_of("gpt-4o-2024-05-13")
    assert price_of("gpt-6.2-sol") is price_of("openai/gpt-5") is price_of("gpt-oss:20b") is None
