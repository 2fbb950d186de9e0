"""``note todo board_get board_set skill``: calls of agents that change nothing outside the run.

They are decided in the order of the journal, from what it holds, and their ``done`` says what they keep: two agents
that write one board at once take turns, and a run that is taken up again finds it as it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents import keeping
from orchestrator.engine.steps.common import Base, Wrong
from orchestrator.journal.kept import Board

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.expr.values import Const
    from orchestrator.graph.nodes import CallConfig
    from orchestrator.journal.kept import Kept
    from orchestrator.journal.state import StepState

Args = dict[str, Any]


def arguments_of(act: Act) -> Args:
    """What the model gave, checked against the tool's schema when the node was made."""
    return cast("Const", cast("CallConfig", act.node.config).args).value


def given_to(act: Act, name: str) -> Any:
    """What the agent's definition gives a call."""
    return cast("Const", cast("CallConfig", act.node.config).tool.config[name]).value


class Keeping(Base, ABC):
    """A call that is answered at once."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        try:
            output, kept = self.answer(act, decider.state.kept, arguments_of(act))
        except keeping.Refused as refused:
            raise Wrong(refused.code, refused.message, detail=refused.detail) from None
        more = {} if kept is None else {"kept": kept}
        decider.finish(act, output, **more)

    @abstractmethod
    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        """The output, and what ``done`` says of what is kept. Raises Refused."""


class Note(Keeping):
    """The scratch pad of one activation of an agent."""

    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        notes = keeping.noted(state.notes.get(act.owner.path, []), args)
        return notes, {"note": act.owner.path} if args else None


class Todo(Keeping):
    """The list of one activation of an agent, or that of the run."""

    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        whose = "" if given_to(act, "shared") else act.owner.path
        items = keeping.listed(state.todos.get(whose, []), args)
        return items, {"todo": whose} if args else None


class BoardGet(Keeping):
    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        return keeping.read_board(state.boards.get(args["board"], Board()), args), args


class BoardSet(Keeping):
    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        output = keeping.changed_board(state.boards.get(args["board"], Board()), args)
        named = {"board": args["board"], "key": args["key"]}
        return output, named | {"set": True} if output["ok"] else named


class Skill(Keeping):
    """The text of a skill, which stands in the graph."""

    def answer(self, act: Act, state: Kept, args: Args) -> tuple[Any, dict[str, Any] | None]:
        return given_to(act, args["name"]), None
