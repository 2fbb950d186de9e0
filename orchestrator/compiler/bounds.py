"""How large a type may get. Types share their parts in memory, but what looks at them walks every path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.spec.types import ANY, Faceted, ListType, Nullable, ObjectType

if TYPE_CHECKING:
    from orchestrator.spec.types import Type

PARTS: Final = 2000
RESULT: Final = 500
DEPTH: Final = 64
"""Values nest no deeper either (``jsonish.clean``)."""


def parts_of(type_: Type, most: int = PARTS) -> int | None:
    """How many parts a type has, along every path; None where there are over ``most``, or it nests over ``DEPTH``."""
    count = 0
    waiting: list[tuple[Type, int]] = [(type_, 1)]
    while waiting:
        found, depth = waiting.pop()
        count += 1
        if count > most or depth > DEPTH:
            return None
        match found:
            case Nullable(inner=inner) | ListType(item=inner) | Faceted(base=inner):
                waiting.append((inner, depth + 1))
            case ObjectType():
                waiting.extend((item, depth + 1) for item in found.fields.values())
            case _:
                pass
    return count


def bounded(type_: Type) -> Type:
    """The type of a result, or ``any`` for one that is too large to be looked at again and again."""
    return ANY if parts_of(type_, RESULT) is None else type_
