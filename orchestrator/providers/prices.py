"""What model calls cost, in whole micro-dollars.

A price that is not known is None, never zero. The table is dated: a file's own ``price:`` wins over it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.agents.messages import FRAME_TOKENS
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.agents.messages import Usage

# Source: the pricing pages of the Claude API and of the OpenAI API; checked against genai-prices 0.2.3 on this day.
AS_OF = "2026-11-23"
MILLION = 1_000_000
# A whole megapixel image in the finest resolution costs fewer; a small file can hold a large image.
IMAGE_TOKENS = 8_000


@frozen
class Price:
    """Micro-dollars per million tokens. Over ``long_over`` tokens of prompt, ``long`` holds for the whole call."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    long_over: int | None = None
    long: Price | None = None


def _price(input_: str, output: str, cache_read: str) -> Price:
    """From dollars per million tokens. A cache write costs 1.25 (5 min) or 2 (1 h) times the input."""
    base = _micros(Decimal(input_))
    return Price(base, _micros(Decimal(output)), _micros(Decimal(cache_read)), -(-base * 5 // 4), base * 2)


def _openai(
    input_: str, output: str, cache_read: str | None = None, *, writes: bool = False, long: bool = False
) -> Price:
    """From dollars per million tokens. Some models charge what they write to the cache, at 1.25 times the input; over
    272,000 tokens of prompt, some cost twice the input and 1.5 times the output.
    """
    base, said = _micros(Decimal(input_)), _micros(Decimal(output))
    read = base if cache_read is None else _micros(Decimal(cache_read))
    written = -(-base * 5 // 4) if writes else base
    more = Price(base * 2, -(-said * 3 // 2), read * 2, written * 2, written * 2) if long else None
    return Price(base, said, read, written, written, 272_000 if long else None, more)


def _micros(dollars: Decimal) -> int:
    return int((dollars * MILLION).to_integral_value(ROUND_CEILING))


_TABLE: dict[str, Price] = {
    "claude-fable-5-2": _price("8", "40", "0.2"),
    "claude-mythos-5-2": _price("8", "40", "0.2"),
    "claude-fable-5-1": _price("10", "50", "0.25"),
    "claude-fable-5": _price("10", "50", "1"),
    "claude-opus-5-5": _price("4", "20", "0.2"),
    "claude-opus-5": _price("5", "25", "0.5"),
    "claude-opus-4-8": _price("5", "25", "0.5"),
    "claude-opus-4-7": _price("5", "25", "0.5"),
    "claude-opus-4-6": _price("5", "25", "0.5"),
    "claude-opus-4-5": _price("5", "25", "0.5"),
    "claude-sonnet-5-5": _price("2", "10", "0.1"),
    "claude-sonnet-5": _price("2", "10", "0.2"),
    "claude-sonnet-4-6": _price("3", "15", "0.3"),
    "claude-sonnet-4-5": _price("3", "15", "0.3"),
    "claude-haiku-5-5": replace(_price("0.1", "0.5", "0.01"), long_over=100_000, long=_price("0.5", "2.5", "0.05")),
    "claude-haiku-4-5": _price("1", "5", "0.1"),
    "gpt-6-astra": _openai("10", "50", "1", writes=True, long=True),
    "gpt-6.1-sol": _openai("2", "10", "0.1", writes=True, long=True),
    "gpt-6.1-terra": _openai("1", "5", "0.05", writes=True, long=True),
    "gpt-6-sol": _openai("2", "10", "0.2", writes=True, long=True),
    "gpt-6-luna": _openai("0.1", "0.5", "0.01", writes=True, long=True),
    "gpt-5.6-sol": _openai("4", "20", "0.4", writes=True, long=True),
    "gpt-5.6-terra": _openai("2", "12", "0.2", writes=True, long=True),
    "gpt-5.6-luna": _openai("0.2", "1.2", "0.02", writes=True, long=True),
    "gpt-5.5": _openai("5", "30", "0.5", long=True),
    "gpt-5.5-pro": _openai("30", "180", long=True),
    "gpt-5.4": _openai("2.5", "15", "0.25", long=True),
    "gpt-5.4-mini": _openai("0.75", "4.5", "0.075"),
    "gpt-5.4-nano": _openai("0.2", "1.25", "0.02"),
    "gpt-5.2": _openai("1.75", "14", "0.175"),
    "gpt-5.2-pro": _openai("21", "168"),
    "gpt-5.1": _openai("1.25", "10", "0.125"),
    "gpt-5": _openai("1.25", "10", "0.125"),
    "gpt-5-mini": _openai("0.25", "2", "0.025"),
    "gpt-5-nano": _openai("0.05", "0.4", "0.005"),
    "gpt-5-pro": _openai("15", "120"),
    "gpt-4.1": _openai("2", "8", "0.5"),
    "gpt-4.1-mini": _openai("0.4", "1.6", "0.1"),
    "gpt-4.1-nano": _openai("0.1", "0.4", "0.025"),
    "gpt-4o": _openai("2.5", "10", "1.25"),
    "gpt-4o-2024-05-13": _openai("5", "15"),
    "gpt-4o-mini": _openai("0.15", "0.6", "0.075"),
    "o4-mini": _openai("1.1", "4.4", "0.275"),
    "o3": _openai("2", "8", "0.5"),
    "o3-mini": _openai("1.1", "4.4", "0.55"),
    "o1": _openai("15", "60", "7.5"),
}
_DATED = re.compile(r"-(\d{8}|\d{4}-\d\d-\d\d|latest)$")
# Settings passed through that change what a call costs.
_REPRICING = ("speed", "inference_geo", "service_tier")


def price_of(
    model: str, override: Mapping[str, Any] | None = None, *, params: Mapping[str, Any] | None = None
) -> Price | None:
    """The price of a model of the table, or of ``override`` (``{input, output, cache_read?, cache_write?}``, dollars
    per million tokens). None where it is not known, as under ``params`` that change it.
    """
    if override is not None:
        return _own_price(override)
    if params and any(key in params for key in _REPRICING):
        return None
    return _TABLE.get(model) or _TABLE.get(_DATED.sub("", model))


def _own_price(given: Mapping[str, Any]) -> Price:
    """A file's own price. A cache read that it leaves out costs as input, a write by the table's factor."""
    own = {key: _micros(Decimal(str(value))) for key, value in given.items() if value is not None}
    base, write = own["input"], own.get("cache_write")
    return Price(
        input=base,
        output=own["output"],
        cache_read=own.get("cache_read", base),
        cache_write_5m=-(-base * 5 // 4) if write is None else write,
        cache_write_1h=base * 2 if write is None else write,
    )


def cost(price: Price, usage: Usage) -> int:
    """Micro-dollars of a call, rounded up."""
    prompt = usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
    rate = _rate(price, prompt)
    total = (
        usage.input * rate.input
        + usage.output * rate.output
        + usage.cache_read * rate.cache_read
        + usage.cache_write_5m * rate.cache_write_5m
        + usage.cache_write_1h * rate.cache_write_1h
    )
    return -(-total // MILLION)


def most_input(request_bytes: int, *, images: int = 0) -> int:
    """Tokens that a request of this size can count at most: a token of text is at least a byte."""
    return request_bytes + FRAME_TOKENS + images * IMAGE_TOKENS


def worst_case(request_bytes: int, max_tokens: int, price: Price, *, ttl: str | None = "1h", images: int = 0) -> int:
    """Micro-dollars that a call can cost at most. ``ttl`` is how long its prompt is cached: ``5m``, ``1h`` or None."""
    prompt = most_input(request_bytes, images=images)
    rate = _rate(price, prompt)
    dearest = max(rate.input, rate.cache_read)
    if ttl == "5m":
        dearest = max(dearest, rate.cache_write_5m)
    elif ttl is not None:
        dearest = max(dearest, rate.cache_write_5m, rate.cache_write_1h)
    return -(-(prompt * dearest + max_tokens * rate.output) // MILLION)


def _rate(price: Price, prompt: int) -> Price:
    return price.long if price.long and price.long_over is not None and prompt > price.long_over else price
