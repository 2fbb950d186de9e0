"""Model providers by the name that ``provider:`` gives, each loaded only when something calls it.

Those of other packages are entry points of the group ``orchestrator.providers``: a name, and a class that is made
without arguments. One is imported where a run calls a model that names it, and never to find out what there is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from orchestrator.providers.protocol import Provider

_PROVIDERS = {
    "anthropic": "orchestrator.providers.anthropic:AnthropicProvider",
    "openai": "orchestrator.providers.openai:OpenAIProvider",
    "scripted": "orchestrator.providers.scripted:ScriptedProvider",
}
NAMES = tuple(_PROVIDERS)
GROUP = "orchestrator.providers"
KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""The variable that holds a provider's key, where an entry has none of its own."""


class UnknownProvider(OrchError):
    """A model entry names a provider that does not exist."""

    code = "E460"

    def __init__(self, name: str, known: tuple[str, ...] = NAMES) -> None:
        close = did_you_mean(name, known)
        hint = f"did you mean `{close}`?" if close else f"known are {', '.join(known)}"
        super().__init__(f"there is no model provider `{name}`", hint=hint)


class UnusableProvider(OrchError):
    """A provider of another package that cannot be used."""

    code = "E461"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the model provider `{name}` cannot be used: {problem}", hint="`orch doctor` lists plug-ins")


def load_provider(name: str) -> Provider:
    """The provider of that name. Raises UnknownProvider and UnusableProvider. What a built-in one needs of other
    packages is imported at its first call.
    """
    if name not in _PROVIDERS:
        return _load_plugin(name)
    module, _, attribute = _PROVIDERS[name].partition(":")
    return getattr(import_module(module), attribute)()


def offered() -> frozenset[str]:
    """The names of the providers that installed packages offer; none of them is imported for it."""
    from importlib.metadata import entry_points

    return frozenset(point.name for point in entry_points(group=GROUP))


def _load_plugin(name: str) -> Provider:
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise UnknownProvider(name, (*NAMES, *sorted(offered())))
    if len(found) > 1:
        raise UnusableProvider(name, f"it is offered by {', '.join(sorted(map(origin_of, found)))}")
    try:
        return found[0].load()()
    except Exception as error:
        raise UnusableProvider(name, f"{found[0].value} of {origin_of(found[0])}: {error!r}") from error


def origin_of(point: EntryPoint) -> str:
    """The distribution that an entry point comes from."""
    return point.dist.name if point.dist else "?"


def missing_key(settings: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """The variable to set before a model with these settings can be called; None where nothing is missing."""
    own = settings.get("api_key") or settings.get("base_url")
    variable = KEYS.get(str(settings.get("provider")))
    return variable if variable and not own and not environ.get(variable) else None
