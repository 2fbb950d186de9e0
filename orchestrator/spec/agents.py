"""Models and agents, as a pipeline file declares them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from orchestrator.spec.fields import (
    Amount,
    Budget,
    Count,
    Duration,
    DurationOrText,
    Expr,
    FixedText,
    FullText,
    Hooks,
    Limit,
    LongName,
    Name,
    Positive,
    Prompt,
    Text,
    ToolName,
    Type,
)
from orchestrator.spec.model import (
    BY_SHAPE,
    FLAG,
    MAP,
    NUMBER,
    TEXT,
    Bound,
    Model,
    refuse,
    rule,
)


class ThinkingTokens(Model):
    """Thinking within a number of tokens."""

    tokens: Positive


class Price(Model):
    """What a model costs, in dollars for a million tokens."""

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None


CountOrText: TypeAlias = Annotated[
    Annotated[Count, NUMBER] | Annotated[Text, TEXT],
    BY_SHAPE,
]


class Usage(Model):
    """Tokens that a scripted reply counts as used."""

    input: CountOrText | None = None
    output: CountOrText | None = None


class ScriptedCall(Model):
    """A call of a tool that a scripted reply makes."""

    tool: FullText
    with_: dict[str, Any] | None = None


class ScriptedReply(Model):
    """One rule of a scripted model: the first whose `when` holds answers."""

    when: Expr | None = None
    text: Text | None = None
    calls: list[ScriptedCall] | None = None
    output: Any = None
    thinking: Text | None = None
    usage: Usage | None = None
    delay: DurationOrText | None = None
    stop: Text | None = None
    error: Text | None = None

    @rule
    def _one_answer(self) -> None:
        if "output" in self.given and (self.text is not None or self.calls is not None):
            raise refuse("E127", "`output` is the whole reply: neither `text` nor `calls` go with it", "output")


class ModelLimits(Model):
    """How much of a model all runs of a process may use together."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    """Calls that are under way at once."""


PROVIDERS: Final = ("anthropic", "openai", "scripted", "fallback")
"""Those that are built in; any other name is an entry point of an installed package."""


class ModelEntry(Model):
    """A model: whose it is, which one, and how it is called."""

    provider: FixedText | None = None
    """`anthropic`, `openai`, `scripted`, `fallback`, or an entry point."""
    model: FixedText | None = None
    """The provider's own name of the model."""
    api: Literal["chat", "responses"] | None = None
    base_url: Text | None = None
    api_key: Text | None = None
    headers: dict[str, Text] | None = None
    max_tokens: Positive | None = None
    """Tokens of one reply; 4,096 by default."""
    effort: Literal["none", "minimal", "low", "medium", "high", "max"] | None = None
    thinking: Thinking | None = None
    cache: Cache | None = None
    price: Price | None = None
    limits: ModelLimits | None = None
    timeout: Duration | None = None
    params: dict[str, Any] | None = None
    """Passed through to the provider."""
    replies: Annotated[list[ScriptedReply], Bound(least=1)] | None = None
    """Rules of a scripted model."""
    fallback: Annotated[list[Name], Bound(least=1)] | None = None
    """Models in order: the next one when one is unavailable."""

    @rule
    def _of_provider(self) -> None:
        provider = self.provider
        if provider is None and self.fallback is None:
            raise refuse("E105", "`provider` is missing")
        if provider in ("anthropic", "openai") and self.model is None:
            raise refuse("E105", f"`model` is missing: provider `{provider}` needs its name")
        if provider == "scripted" and self.replies is None:
            raise refuse("E105", "`replies` is missing: provider `scripted` answers from them")
        for name, owner in (("replies", "scripted"), ("api", "openai")):
            if name in self.given and provider != owner:
                raise refuse("E127", f"`{name}` goes with `provider: {owner}`", name)
        if provider == "fallback" and self.fallback is None:
            raise refuse("E105", "`fallback` is missing: the models in order")
        if self.fallback is not None and provider not in (None, "fallback"):
            raise refuse("E127", f"`fallback` does not go with `provider: {provider}`", "fallback")
        if self.fallback is not None:
            self._only_a_list()
        if provider == "openai":
            self._of_openai()

    def _only_a_list(self) -> None:
        for name in self.given:
            if name not in ("provider", "fallback"):
                raise refuse("E127", f"`{name}` does not go with `fallback`: each model of the list has its own", name)

    def _of_openai(self) -> None:
        if isinstance(self.thinking, ThinkingTokens):
            raise refuse("E127", "`thinking: {tokens}` does not go with `provider: openai`: use `effort`", "thinking")
        if self.cache not in (None, True):
            raise refuse("E127", "`cache` does not go with `provider: openai`, which caches by itself", "cache")


Thinking: TypeAlias = Annotated[
    Annotated[Literal["off", "adaptive"], TEXT] | Annotated[ThinkingTokens, MAP],
    BY_SHAPE,
]
Cache: TypeAlias = Annotated[
    Annotated[bool, FLAG] | Annotated[Literal["5m", "1h"], TEXT],
    BY_SHAPE,
]


class Delegate(Model):
    """Bounds of calls to another agent, which is seen as a tool."""

    max_calls: Limit | None = None
    budget: Budget | None = None
    context: Literal["none", "summary", "full"] | None = None


class Handoff(Model):
    """How control passes to another agent."""

    return_: bool | None = None


class Spawn(Model):
    """Bounds of agents that the agent makes at run time."""

    tools: list[ToolName] | None = None
    models: list[Name] | None = None
    max_agents: Limit | None = None
    depth: Limit | None = None
    budget: Budget | None = None


class Plan(Model):
    """Bounds of steps that the agent writes at run time."""

    kinds: list[FixedText] | None = None
    max_steps: Limit | None = None
    budget: Budget | None = None


class ContextRule(Model):
    """How a long conversation is made shorter."""

    max_tokens: Positive | None = None
    keep: Count | None = None
    strategy: Literal["summarize", "drop"] | None = None
    model: Name | None = None


class Memory(Model):
    """Facts that are kept over runs."""

    scope: LongName
    recall: bool | None = None
    remember: bool | None = None


class AgentEntry(Model):
    """An agent: a model, instructions and tools in a loop."""

    description: str | None = None
    """What other agents see."""
    model: Name | None = None
    instructions: Prompt | None = None
    tools: list[ToolName] | None = None
    output: Type = None
    turns: Limit | None = None
    """Calls of the model in one activation; 24 by default."""
    parallel_tools: bool | None = None
    budget: Budget | None = None
    delegates: dict[Name, Delegate] | None = None
    handoffs: dict[Name, Handoff] | None = None
    spawn: Spawn | None = None
    plan: Plan | None = None
    context: ContextRule | None = None
    memory: Memory | None = None
    skills: list[FixedText] | None = None
    share: list[Name] | None = None
    notes: bool | None = None
    todo: Todo | None = None
    hooks: Hooks | None = None


Todo: TypeAlias = Annotated[
    Annotated[bool, FLAG] | Annotated[Literal["shared"], TEXT],
    BY_SHAPE,
]

AgentOrName: TypeAlias = Annotated[
    Annotated[Name, TEXT] | Annotated[AgentEntry, MAP],
    BY_SHAPE,
]
