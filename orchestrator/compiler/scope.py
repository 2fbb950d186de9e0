"""What an expression may see from where it stands, and which steps its references make it wait for."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.expr.check import Namespace
from orchestrator.frozen import field, frozen, slotted
from orchestrator.spec.types import ANY, INTEGER, STRING, EnumType, ObjectType, Type, nullable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.report import Path
    from orchestrator.expr.check import Entry

RUN: Final = ObjectType({"id": STRING, "name": STRING, "dir": STRING, "started_at": STRING, "status": STRING})
ERROR: Final = ObjectType(
    {"code": STRING, "message": STRING, "status": nullable(INTEGER), "detail": ANY, "step": STRING}
)
STEP_ERROR: Final = ObjectType({**ERROR.fields, "step": nullable(STRING)})
"""``steps.NAME.error``: only what failed further inside has a ``step``."""
STATUS: Final = EnumType(("done", "failed", "skipped", "cancelled"))


@slotted
class Names:
    """The steps of one block: ``late`` are those of ``finally``.

    ``types`` fills as the steps get their types, ``absent`` with those that may have no output.
    """

    at: Mapping[str, Path]
    late: frozenset[str] = frozenset()
    types: dict[str, Type] = field(default_factory=dict[Any, Any])
    absent: set[str] = field(default_factory=set[Any])


@slotted
class Frame:
    """A block on the way to a place, and the ``step`` of it that the place is in, if any. ``needs`` gathers edges."""

    names: Names
    step: str | None = None
    sees_late: bool = True
    needs: set[str] = field(default_factory=set[Any])


@frozen
class Scope:
    """Root names with their types, and the blocks around, outermost first. ``elsewhere`` has every step of the file."""

    names: ChainMap[str, Entry]
    frames: tuple[Frame, ...] = ()
    elsewhere: Mapping[str, Path] = field(default_factory=dict[Any, Any])

    def bind(self, names: Mapping[str, Entry]) -> Scope:
        """This scope with more root names."""
        return replace(self, names=self.names.new_child(dict(names)))

    def only(self, *roots: str) -> Scope:
        """This scope with no other names than these."""
        return Scope(ChainMap({root: self.names[root] for root in roots if root in self.names}))

    def enter(self, names: Names) -> Scope:
        """Inside a block, in none of its steps yet: what follows the steps, such as ``outputs``, stands there."""
        frames = (*self.frames, Frame(names))
        seen = ChainMap(*(frame.names.types for frame in reversed(frames)))
        return replace(self, names=self.names.new_child({"steps": Namespace(seen, "step")}), frames=frames)

    def in_step(self, name: str) -> Scope:
        """Inside a step of the innermost block."""
        names = self.frames[-1].names
        return replace(self, frames=(*self.frames[:-1], Frame(names, name, name in names.late)))

    @property
    def needs(self) -> set[str]:
        """The siblings that the step around this place waits for, as found so far."""
        return self.frames[-1].needs

    def find(self, step: str) -> Frame | None:
        """The block around this place that has a step of that name."""
        return next((frame for frame in reversed(self.frames) if step in frame.names.at), None)
