"""What a model call may cost and what one did cost, by the settings of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.agents.messages import Usage


def is_priced(settings: Mapping[str, Any]) -> bool:
    """Whether the price of a model is known."""
    return reserve(settings, 0) is not None


def reserve(settings: Mapping[str, Any], size: int) -> int | None:
    """The worst case of a call of ``size`` bytes, in micro-dollars."""
    from orchestrator.providers.anthropic_body import cache_ttl
    from orchestrator.providers.prices import worst_case

    price = _price(settings)
    if price is None:
        return 0 if _free(settings) else None
    return worst_case(size, int(settings.get("max_tokens", 4096)), price, ttl=cache_ttl(dict(settings)))


def cost(settings: Mapping[str, Any], usage: Usage) -> int | None:
    from orchestrator.providers import prices

    price = _price(settings)
    if price is None:
        return 0 if _free(settings) else None
    return prices.cost(price, usage)


def _price(settings: Mapping[str, Any]) -> Any:
    from orchestrator.providers.prices import price_of

    own = settings.get("price")
    if own is None and _free(settings):
        return None
    return price_of(str(settings.get("model", "")), own, params=settings.get("params"))


def _free(settings: Mapping[str, Any]) -> bool:
    """A scripted model calls no API: it costs what its own ``price`` says, else nothing."""
    return settings.get("provider") == "scripted" and settings.get("price") is None
