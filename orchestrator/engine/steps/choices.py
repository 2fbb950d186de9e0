"""The models that an agent may call: the one that it names, or those that a fallback stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.agents.turns import frame_of
from orchestrator.engine.activation import Choice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.agents.turns import Offer
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import ModelDef, Schema


def choices_of(
    decider: Decider, act: Act, model: ModelDef, *, system: str, offers: Iterable[Offer], output: Schema | None
) -> tuple[tuple[Choice, ...], int]:
    """What is called, in order; and the size in bytes of what each reads beside the messages."""
    leaves = model.chain or (model,)
    tools = [offer.spec for offer in offers]
    found: list[Choice] = []
    size = 0
    for index, leaf in enumerate(leaves):
        settings = {key: decider.render(act, value, f"model.{key}") for key, value in leaf.settings.items()}
        frame = frame_of(settings=settings, system=system, tools=tools, output=output)
        found.append(Choice(leaf.name, settings, frame.hash, index, len(leaves)))
        size = frame.size
    return tuple(found), size
