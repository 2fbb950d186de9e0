"""Models: whose they are, and what stands in the lists of those that fall back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.compiler.agents import leaves
from orchestrator.spec.agents import PROVIDERS

if TYPE_CHECKING:
    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.spec.agents import ModelEntry


def check(lowered: Lowered) -> None:
    """Providers that nobody offers; lists that name what is not there, name it twice, or lead back to themselves."""
    resolved = lowered.resolved
    told: set[str] = set()
    for name, entry in (resolved.document.models or {}).items():
        if entry.provider is not None and entry.provider not in PROVIDERS:
            _offered(resolved, name, entry.provider)
        if entry.fallback is not None:
            _listed(resolved, name, entry.fallback)
            _ends(resolved, name, entry, told)


def _offered(resolved: Resolved, name: str, provider: str) -> None:
    known = [*PROVIDERS, *sorted(resolved.plugins())]
    if provider not in known:
        resolved.report.unknown("E460", "provider", provider, known, ("models", name, "provider"))


def _listed(resolved: Resolved, name: str, listed: list[str]) -> None:
    for index, other in enumerate(listed):
        at = ("models", name, "fallback", index)
        if other not in resolved.models:
            resolved.report.unknown("E234", "model", other, resolved.models, at)
        elif other in listed[:index]:
            resolved.report.error("E404", f"the model `{other}` stands twice", at)


def _ends(resolved: Resolved, name: str, entry: ModelEntry, told: set[str]) -> None:
    """A ring is said once, at the first of its models."""
    ring = leaves(resolved.models, name, entry).ring
    if not ring or ring[0] in told:
        return
    told.update(ring)
    following = (resolved.document.models or {})[ring[0]].fallback or []
    index = next(i for i, other in enumerate(following) if resolved.models.get(other, ("",))[0] == ring[1])
    resolved.report.error(
        "E406",
        f"models fall back on each other: {' → '.join(ring)}",
        ("models", ring[0], "fallback", index),
        hint="a list has to end at models that are called",
    )
