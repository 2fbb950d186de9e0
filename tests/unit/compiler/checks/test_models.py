"""Providers that other packages offer, and lists of models that fall back."""

from __future__ import annotations

from orchestrator.graph.nodes import graph_from_json, to_json
from tests.unit.compiler.helpers import codes, graph_of, said

LISTS = """
models:
  default: {fallback: [inner, c]}
  inner: {provider: fallback, fallback: [a, b]}
  a: {provider: scripted, replies: [{text: x}]}
  b: {provider: scripted, replies: [{text: y}], limits: {concurrency: 2, tokens_per_minute: 5}}
  c: {provider: openai, model: m}
steps:
  a: {agent: {}, prompt: x}
"""
PLUGGED = """
models: {default: {provider: parrot}}
steps:
  a: {agent: {}, prompt: x}
"""


def chain(text: str, **options: object) -> list[str]:
    graph = graph_of(text, **options)
    assert graph_from_json(to_json(graph)) == graph
    return [model.name for model in graph.root.by_name["a"].config.agent.model.chain]


def test_lists_in_a_list_are_one_chain() -> None:
    assert chain(LISTS) == ["a", "b", "c"]
    assert chain(LISTS.replace("[inner, c]", "[c, inner, b]")) == ["c", "a", "b"]


def test_a_swap_holds_in_a_list_too() -> None:
    assert chain(LISTS, models={"a": "c"}) == ["c", "b"]
    assert chain(LISTS, models={"default": "inner"}) == ["a", "b"]


def test_a_swap_may_close_a_ring() -> None:
    (ring,) = said(LISTS, models={"a": "inner"})
    assert ring == ("E406", "models fall back on each other: inner → inner")


def test_limits_are_settings_of_a_model() -> None:
    _, limited, _ = graph_of(LISTS).root.by_name["a"].config.agent.model.chain
    assert limited.settings["limits"].value == {"concurrency": 2, "tokens_per_minute": 5}


def test_a_plug_in_is_asked_for_where_a_name_is_not_built_in() -> None:
    asked: list[bool] = []

    def offered() -> list[str]:
        asked.append(True)
        return ["parrot"]

    assert codes(LISTS, plugins=offered) == []
    assert asked == []
    assert codes(PLUGGED, plugins=offered) == []
    assert asked == [True]
    assert codes(PLUGGED) == ["E460"]


def test_thinking_within_tokens_compiles_in_silence() -> None:
    """A warning of the library that reads files would be an error here."""
    text = PLUGGED.replace("parrot", "anthropic, model: m, thinking: {tokens: 5}, cache: 1h, max_tokens: 9")
    settings = graph_of(text).root.by_name["a"].config.agent.model.settings
    assert settings["thinking"].value == {"tokens": 5}
