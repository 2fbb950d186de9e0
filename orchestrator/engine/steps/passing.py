"""Which agent has control in an activation, and to whom it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.frozen import frozen, slotted

if TYPE_CHECKING:
    from orchestrator.graph.nodes import AgentDef

ANOTHER = -1
"""Stands for the model that gave a reply, where that is none of the agent that has control."""


@frozen
class Held:
    """An agent that waits for control to come back, with how many turns it has had, which of its models gave each
    reply, and how deep it was."""

    agent: AgentDef
    turns: int
    answered: tuple[int, ...]
    depth: int


@slotted
class Control:
    """The agent in control has had it since turn ``since``; ``depth`` are the handoffs that led to it, ``held`` the
    agents that wait for it to end. ``handoff`` is the call of the last reply that passes control on, by its index."""

    since: int = 0
    depth: int = 0
    held: tuple[Held, ...] = ()
    handoff: int | None = None

    def passed(self, own: AgentDef, *, turn: int, answered: list[int], returns: bool) -> tuple[Control, list[int]]:
        """Control under another agent from that turn on, and who has answered as it sees that."""
        mine = Held(own, turn - self.since, tuple(answered), self.depth)
        held = (*self.held, mine) if returns else self.held
        return Control(turn, self.depth + 1, held), [ANOTHER] * len(answered)

    def back(self, *, turn: int, answered: list[int]) -> tuple[AgentDef, Control, list[int]]:
        """The agent that control comes back to, and how it goes on."""
        *held, mine = self.held
        others = [ANOTHER] * (len(answered) - len(mine.answered))
        return mine.agent, Control(turn - mine.turns, mine.depth, tuple(held)), [*mine.answered, *others]
