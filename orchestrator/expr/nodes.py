"""The syntax tree of an expression: frozen nodes that know where in the source they stand.

``offset`` and ``end`` are code points from the start of the parsed text; they take no part in equality, so two trees
are equal when they mean the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from orchestrator.frozen import field as attribute
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen(kw_only=True)
class Node:
    """What all nodes have. ``cache`` holds the node's compiled form, once there is one."""

    offset: int = attribute(default=0, compare=False, repr=False)
    end: int = attribute(default=0, compare=False, repr=False)
    cache: list[object] = attribute(default_factory=list, init=False, compare=False, repr=False)


@frozen
class Literal(Node):
    """null, true, false, a number or a text."""

    value: None | bool | int | float | str

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and true are equal in Python, and three expressions here.
        if not isinstance(other, Literal):
            return NotImplemented
        return type(self.value) is type(other.value) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), repr(self.value)))


@frozen
class Name(Node):
    """A name in scope, or one that a macro binds."""

    name: str


@frozen
class Select(Node):
    """``target.field``; the field's own text begins at ``field_offset``."""

    target: Expr
    field: str
    field_offset: int = attribute(default=0, compare=False, repr=False)


@frozen
class Index(Node):
    """``target[index]``."""

    target: Expr
    index: Expr


@frozen
class Unary(Node):
    """``!x`` or ``-x``."""

    operator: str
    operand: Expr


@frozen
class Binary(Node):
    """``left operator right``; the operator's own text begins at ``operator_offset``."""

    operator: str
    left: Expr
    right: Expr
    operator_offset: int = attribute(default=0, compare=False, repr=False)


@frozen
class Conditional(Node):
    """``condition ? then : otherwise``."""

    condition: Expr
    then: Expr
    otherwise: Expr


@frozen
class ListLiteral(Node):
    """``[a, b]``."""

    items: tuple[Expr, ...]


@frozen
class MapLiteral(Node):
    """``{'a': 1}``."""

    entries: tuple[tuple[Expr, Expr], ...]


@frozen
class Call(Node):
    """``name(a, b)``, also when it was written ``a.name(b)``; the name begins at ``name_offset``."""

    name: str
    args: tuple[Expr, ...]
    name_offset: int = attribute(default=0, compare=False, repr=False)


@frozen
class Macro(Node):
    """``target.name(variable, body)``: map, filter, all, exists, exists_one, sort_by.

    ``where`` is the condition of the three-part ``map(x, where, body)``.
    """

    name: str
    target: Expr
    variable: str
    body: Expr
    where: Expr | None = None
    name_offset: int = attribute(default=0, compare=False, repr=False)


Expr: TypeAlias = (
    "Literal | Name | Select | Index | Unary | Binary | Conditional | ListLiteral | MapLiteral | Call | Macro"
)

MACROS = ("map", "filter", "all", "exists", "exists_one", "sort_by")
"""What binds a name over the items of a list, or over the keys of an object."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """The nodes directly inside a node, in the order of the source."""
    match expr:
        case Literal() | Name():
            return ()
        case Select():
            return (expr.target,)
        case Index():
            return (expr.target, expr.index)
        case Unary():
            return (expr.operand,)
        case Binary():
            return (expr.left, expr.right)
        case Conditional():
            return (expr.condition, expr.then, expr.otherwise)
        case ListLiteral():
            return expr.items
        case MapLiteral():
            return tuple(part for entry in expr.entries for part in entry)
        case Call():
            return expr.args
        case Macro():
            return (expr.target, *((expr.where,) if expr.where is not None else ()), expr.body)
        case _:
            assert_never(expr)


def walk(expr: Expr) -> Iterator[Expr]:
    """The node and all nodes in it, parents first."""
    stack: list[Expr] = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))
