"""Activations: which steps of the graph a run has reached, as a tree. It is derived from graph and state, and never
stored."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from orchestrator.engine.scope import item_of
from orchestrator.frozen import field, frozen, slotted
from orchestrator.graph.nodes import GroupConfig

if TYPE_CHECKING:
    from orchestrator.engine.budgets import Account
    from orchestrator.engine.scope import Scope
    from orchestrator.graph.nodes import Block, Effect, Node
    from orchestrator.journal.state import RunState, StepState

Role: TypeAlias = Literal[
    "step", "item", "case", "fallback", "turn", "tool", "reconcile", "failure", "summary", "hook", "list"
]


class Phase(IntEnum):
    """How far an activation is: its siblings not ended, queued, begun, ended."""

    WAITING = 0
    QUEUED = 1
    OPEN = 2
    ENDED = 3


class Act:
    """One activation of a node. ``data`` is what its kind keeps while it is open; ``stop`` says why it is being
    stopped: an error to fail with, or an empty object where its scope takes it down. ``account`` is the budget that it
    is in, or has."""

    __slots__ = (
        "account",
        "data",
        "kind",
        "node",
        "owner",
        "path",
        "phase",
        "ready_at",
        "role",
        "scope",
        "state",
        "stop",
        "unmet",
    )

    def __init__(
        self,
        node: Node,
        path: str,
        *,
        kind: str,
        scope: Scope,
        owner: Act | BlockAct,
        role: Role,
        state: RunState,
        ready_at: int,
    ) -> None:
        self.node = node
        self.path = path
        self.kind = kind
        self.scope = scope
        self.owner = owner
        self.role: Role = role
        self.state = state
        self.ready_at = ready_at
        self.phase = Phase.WAITING
        self.unmet = len(node.needs)
        self.stop: dict[str, Any] | None = None
        self.data: Any = None
        self.account: Account

    @property
    def recorded(self) -> StepState | None:
        """What is recorded of it."""
        return self.state.steps.get(self.path)

    def items(self) -> list[dict[str, Any]]:
        """``.items`` of a map or a group; steps of ``finally`` are none of them."""
        config = self.node.config
        if isinstance(config, GroupConfig):
            return [item_of(self.state, f"{self.path}/{node.name}", node.name) for node in config.block.nodes]
        step = self.recorded
        if step is None or step.expanded is None:
            return []
        return [item_of(self.state, item_path(self.path, key), key) for key in keys_of(step.expanded)]


class BlockAct:
    """The activations of one scope. ``live`` counts those begun and not ended, ``left`` those not ended, of this
    stage."""

    __slots__ = ("account", "acts", "block", "left", "live", "owner", "path", "scope", "stage", "stopping")

    def __init__(self, block: Block, *, owner: Act | None, path: str) -> None:
        self.block = block
        self.owner = owner
        self.path = path
        self.acts: dict[str, Act] = {}
        self.stage: Literal["main", "failure", "finally", "over"] = "main"
        self.stopping = False
        self.live = 0
        self.left = 0
        self.scope: Scope
        self.account: Account


@frozen
class Choice:
    """A model that an agent may call, the ``index``-th ``of`` so many that a fallback stands for; else the only one.

    ``frame`` is the hash of all of its requests but the messages.
    """

    name: str
    settings: dict[str, Any]
    frame: str
    index: int = 0
    of: int = 1


@slotted
class Intent:
    """An effect that is permitted: what ``started`` will say, and what the performer needs.

    ``not_before`` in microseconds; ``request`` the evaluated request of a tool; of a model call it is made when it
    is sent, and ``model`` is the one to call. ``last``: its agent's last turn, for which a budget has room.
    """

    act: Act
    kind: Literal["tool", "model", "builtin", "plan"]
    attempt: int
    logical: int
    hash: str
    effect: Effect
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    not_before: int = 0
    timeout: int | None = None
    key: str = ""
    tool: str = ""
    last: bool = False
    model: Choice | None = None

    @property
    def path(self) -> str:
        return self.act.path

    @property
    def what(self) -> str:
        """What it counts as: a hook is no tool call."""
        return "hook" if self.act.role == "hook" else self.kind


def keys_of(expanded: dict[str, Any]) -> list[Any]:
    """The keys of a map's items: those given, else their indexes."""
    return expanded.get("keys") or list(range(expanded["count"]))


def item_path(path: str, key: Any) -> str:
    """The path of a map's item. Brackets and the escape itself are escaped, so that no two keys share one."""
    text = str(key).replace("%", "%25").replace("[", "%5B").replace("]", "%5D")
    return f"{path}[{text}]"
