"""Model providers by the name that ``provider:`` gives, each loaded only when something calls it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.providers.protocol import Provider

_PROVIDERS = {
    "anthropic": "orchestrator.providers.anthropic:AnthropicProvider",
    "scripted": "orchestrator.providers.scripted:ScriptedProvider",
}
NAMES = tuple(_PROVIDERS)


class UnknownProvider(OrchError):
    """A model entry names a provider that does not exist."""

    code = "E460"

    def __init__(self, name: str) -> None:
        close = did_you_mean(name, NAMES)
        hint = f"did you mean `{close}`?" if close else f"known are {', '.join(NAMES)}"
        super().__init__(f"there is no model provider `{name}`", hint=hint)


def load_provider(name: str) -> Provider:
    """The provider of that name. Raises UnknownProvider. What it needs of other packages is imported at its first
    call.
    """
    if name not in _PROVIDERS:
        raise UnknownProvider(name)
    module, _, attribute = _PROVIDERS[name].partition(":")
    return getattr(import_module(module), attribute)()


def missing_key(settings: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """The variable to set before a model with these settings can be called; None where nothing is missing."""
    own = settings.get("api_key") or settings.get("base_url")
    if settings.get("provider") == "anthropic" and not own and not environ.get("ANTHROPIC_API_KEY"):
        return "ANTHROPIC_API_KEY"
    return None
