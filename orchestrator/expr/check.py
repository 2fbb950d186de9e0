"""The type of an expression, and everything that is wrong with it, before it runs.

What passes never fails on types when it runs, but where ``any`` is: its values are not checked. Null is followed: a
type ``T?`` can only be used after ``!= null``, ``has()`` or ``default()``. Absence needs no type: it travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from orchestrator.errors import did_you_mean
from orchestrator.expr.calls import call_type, macro_type
from orchestrator.expr.fit import expect
from orchestrator.expr.kinds import ARITHMETIC, base, comparable, conversion, kinds_of, leaving, order_kinds, shown
from orchestrator.expr.narrow import NOTHING, known_when, misused_secrets
from orchestrator.expr.nodes import (
    Binary,
    Call,
    Conditional,
    Expr,
    Index,
    ListLiteral,
    Literal,
    Macro,
    MapLiteral,
    Name,
    Select,
    Unary,
)
from orchestrator.expr.parse import path_of, unparse
from orchestrator.frozen import field, frozen, slotted
from orchestrator.spec.types import (
    ANY,
    BOOLEAN,
    FILE_FIELDS,
    NEVER,
    NULL,
    OPEN_OBJECT,
    AnyType,
    EnumType,
    FileType,
    ListType,
    NeverType,
    Nullable,
    NullType,
    ObjectType,
    StringType,
    Type,
    bare,
    field_type,
    join,
    nullable,
    same_scalar,
    scalar_type,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.expr.narrow import Path

__all__ = ["Checked", "Entry", "Namespace", "Problem", "check", "known_when"]


@frozen
class Namespace:
    """A group of names that is no value itself: ``steps``, ``secrets``. ``noun`` says what one of them is."""

    fields: Mapping[str, Entry]
    noun: str = "name"


Entry: TypeAlias = "Type | Namespace"


@frozen
class Problem:
    """One thing wrong. ``offset`` and ``end`` bound it, in code points of the text that was parsed."""

    code: str
    message: str
    offset: int
    end: int
    hint: str | None = None


@frozen
class Checked:
    """The type of an expression's value as it leaves the expression, and all problems in the order of the source."""

    type: Type
    problems: tuple[Problem, ...] = ()


def check(
    expr: Expr,
    scope: Mapping[str, Entry],
    *,
    known: frozenset[Path] = NOTHING,
    expected: Type | None = None,
    text: bool = False,
) -> Checked:
    """The type of ``expr`` where the names of ``scope`` are seen.

    ``known`` are paths that are not null here (``known_when`` of a condition around it). With ``expected``, a value
    that cannot stand for that type is a problem (E205, or E206 where it may be null). With ``text`` the value becomes
    text: a list or an object that holds a secret is a problem then (E211).
    """
    checker = Checker(scope, known)
    type_ = checker.type(expr)
    if expected is not None:
        expect(checker, expr, type_, expected)
    for secret in misused_secrets(expr, text=text):
        checker.problem("E211", "a secret can only be joined to text", secret, "its value is not known to expressions")
    problems = sorted(set(checker.problems), key=lambda problem: (problem.offset, problem.end, problem.code))
    return Checked(leaving(type_), tuple(problems))


_COMPARED: Final = ("<", "<=", ">", ">=")


@slotted
class Checker:
    """One walk over a tree. ``bound`` are the names of macros around a node."""

    scope: Mapping[str, Entry]
    known: frozenset[Path]
    bound: dict[str, Type] = field(default_factory=dict[str, Type])
    problems: list[Problem] = field(default_factory=list[Problem])
    types: dict[int, Type] = field(default_factory=dict[int, Type])

    def problem(self, code: str, message: str, expr: Expr, hint: str | None = None) -> Type:
        """Note a problem; what is wrong has any type from there on."""
        return self.problem_at(code, message, expr.offset, expr.end, hint)

    def problem_at(self, code: str, message: str, offset: int, end: int, hint: str | None = None) -> Type:
        self.problems.append(Problem(code, message, offset, end, hint))
        return ANY

    def type(self, expr: Expr, *, guarded: bool = False) -> Type:
        """The type of a node that is used as a value. Guarded, a field of null is null."""
        entry = self.entry(expr, guarded=guarded)
        if isinstance(entry, Namespace):
            names = ", ".join(sorted(entry.fields)[:5])
            entry = self.problem(
                "E209",
                f"{unparse(expr)} is no value, but a group of {entry.noun}s",
                expr,
                f"name one of them: {names}" if names else None,
            )
        self.types[id(expr)] = entry
        return entry

    def sure(self, expr: Expr, *, what: str) -> Type:
        """The type of a node that must not be null, without facets."""
        return self.not_null(bare(self.type(expr)), expr, what)

    def not_null(self, type_: Type, expr: Expr, what: str) -> Type:
        """``type_`` without null; a problem where it may be null."""
        if isinstance(type_, NullType):
            return self.problem("E206", f"{what} does not take null", expr, "give a value for null: default(x, ...)")
        if not isinstance(type_, Nullable):
            return type_
        text = unparse(expr)
        name = text if len(text) <= 40 else "x"
        hint = f"default({name}, ...) gives a value for null; {name} != null && ... asks first"
        self.problem(
            "E206", f"{name if name != 'x' else 'this'} may be null, and {what} does not take null", expr, hint
        )
        return bare(type_.inner)

    def entry(self, expr: Expr, *, guarded: bool = False) -> Entry:
        match expr:
            case Literal():
                return scalar_type(expr.value)
            case Name():
                return self.sharpened(self.name(expr), expr)
            case Select():
                entry = self.select(self.entry(expr.target, guarded=guarded), expr, guarded)
                return self.sharpened(entry, expr)
            case Index():
                return self.sharpened(self.index(expr, guarded), expr)
            case Unary():
                return self.unary(expr)
            case Binary():
                return self.binary(expr)
            case Conditional():
                return self.conditional(expr)
            case ListLiteral():
                item: Type = NEVER
                for part in expr.items:
                    item = join(item, self.type(part))
                return ListType(item)
            case MapLiteral():
                return self.map(expr)
            case Call():
                return call_type(self, expr)
            case Macro():
                return macro_type(self, expr)
            case _:
                assert_never(expr)

    def sharpened(self, entry: Entry, expr: Expr) -> Entry:
        """Without null where a condition around the node says so."""
        if isinstance(entry, Namespace) or not self.known or path_of(expr) not in self.known:
            return entry
        return without_null(bare(entry))

    def name(self, expr: Name) -> Entry:
        if expr.name in self.bound:
            return self.bound[expr.name]
        entry = self.scope.get(expr.name)
        if entry is not None:
            return entry
        known = (*self.bound, *self.scope)
        close = did_you_mean(expr.name, known)
        for root in known:
            group = self.scope.get(root)
            if isinstance(group, (Namespace, ObjectType)) and expr.name in group.fields:
                close = f"{root}.{expr.name}"
                break
        hint = f"did you mean {close}?" if close else f"names here: {', '.join(sorted(known))}" if known else None
        return self.problem("E201", f"unknown name {expr.name!r}", expr, hint)

    def select(self, target: Entry, expr: Select, guarded: bool) -> Entry:
        return self.field(target, expr.field, expr, guarded, (expr.field_offset, expr.end))

    def field(self, target: Entry, name: str, expr: Select | Index, guarded: bool, at: tuple[int, int]) -> Entry:
        if isinstance(target, Namespace):
            if name in target.fields:
                return target.fields[name]
            return self.unknown(f"unknown {target.noun} {name!r}", name, target.fields, at)
        kind = bare(target)
        if guarded and isinstance(kind, (Nullable, NullType)):
            inner = self.field(without_null(kind), name, expr, guarded, at) if isinstance(kind, Nullable) else NULL
            return inner if isinstance(inner, Namespace) else nullable(inner)
        kind = self.not_null(kind, expr.target, f"field {name!r}")
        match kind:
            case AnyType():
                return ANY
            case ObjectType() if name in kind.fields:
                return field_type(kind, name)
            case ObjectType() if not kind.closed:
                return ANY
            case ObjectType():
                return self.unknown(f"unknown field {name!r}", name, kind.fields, at)
            case FileType() if name in FILE_FIELDS:
                return FILE_FIELDS[name]
            case FileType():
                return self.unknown(f"a file has no field {name!r}", name, FILE_FIELDS, at)
            case _:
                hint = "x[0] is the first item; x.map(item, item.name) takes a field of each"
                hint = hint if isinstance(kind, ListType) else None
                return self.problem_at("E202", f"{shown(kind)} has no field {name!r}", *at, hint)

    def unknown(self, message: str, name: str, known: Mapping[str, object], at: tuple[int, int]) -> Type:
        close = did_you_mean(name, tuple(known))
        listed = ", ".join(sorted(known)[:8])
        hint = f"did you mean {close!r}?" if close else f"there is: {listed}" if listed else "it has none"
        return self.problem_at("E202", message, *at, hint)

    def index(self, expr: Index, guarded: bool) -> Entry:
        target = self.entry(expr.target, guarded=guarded)
        key = expr.index
        if isinstance(key, Literal) and isinstance(key.value, str):
            inner = target if isinstance(target, Namespace) else without_null(bare(target))
            if isinstance(inner, (Namespace, ObjectType, FileType)):
                return self.field(target, key.value, expr, guarded, (key.offset, key.end))
        index = self.sure(key, what="an index")
        if isinstance(target, Namespace):
            return self.problem("E209", f"a {target.noun} is named by a constant", key)
        kind = bare(target)
        null = guarded and isinstance(kind, (Nullable, NullType))
        if guarded and isinstance(kind, NullType):
            return NULL
        kind = without_null(kind) if null else self.not_null(kind, expr.target, "an index")
        found = self.item(bare(kind), index, expr)
        return nullable(found) if null else found

    def item(self, kind: Type, index: Type, expr: Index) -> Type:
        match kind:
            case AnyType():
                return ANY
            case ListType():
                if "integer" not in kinds_of(index):
                    self.problem("E205", f"the index of a list is an integer, not {shown(index)}", expr.index)
                elif isinstance(expr.index, Literal) and isinstance(expr.index.value, int) and expr.index.value < 0:
                    hint = "the last item is x[size(x) - 1]"
                    self.problem("E208", "indices count from 0, upwards", expr.index, hint)
                return kind.item
            case ObjectType() | FileType():
                if "text" not in kinds_of(index):
                    self.problem("E205", f"the key of an object is text, not {shown(index)}", expr.index)
                return ANY
            case _:
                return self.problem("E205", f"{shown(kind)} has no items", expr.target)

    def unary(self, expr: Unary) -> Type:
        kind = self.sure(expr.operand, what=f"'{expr.operator}'")
        if expr.operator == "!":
            self.want(kind, frozenset({"boolean"}), expr.operand, "'!'")
            return BOOLEAN
        if not self.want(kind, frozenset({"integer", "number"}), expr.operand, "'-'"):
            return ANY
        return base(kind)

    def want(self, kind: Type, kinds: frozenset[str], expr: Expr, what: str) -> bool:
        """Whether a type has one of some kinds; a problem where it has not."""
        if kinds_of(kind) & kinds:
            return True
        names = " or ".join(sorted(kinds - {"integer"} if "number" in kinds else kinds))
        hint = None
        if kinds == frozenset({"boolean"}):
            hint = "ask something of it: x != null, size(x) > 0, x == 'a'"
        elif "text" in kinds and not isinstance(kind, (ListType, ObjectType)):
            hint = "string(x) makes text of it"
        elif "number" in kinds and isinstance(kind, StringType):
            hint = "int(x) or double(x) make a number of text"
        self.problem("E205", f"{what} takes {names}, not {shown(kind)}", expr, hint)
        return False

    def binary(self, expr: Binary) -> Type:
        match expr.operator:
            case "&&" | "||":
                self.condition(expr.left, f"'{expr.operator}'")
                before = self.known
                self.known = before | known_when(expr.left, expr.operator == "&&")
                self.condition(expr.right, f"'{expr.operator}'")
                self.known = before
                return BOOLEAN
            case "==" | "!=":
                self.equality(expr)
                return BOOLEAN
            case "in":
                self.membership(expr)
                return BOOLEAN
            case operator:
                left = self.sure(expr.left, what=f"'{operator}'")
                right = self.sure(expr.right, what=f"'{operator}'")
                if operator in _COMPARED:
                    self.order(left, right, expr)
                    return BOOLEAN
                return self.arithmetic(left, right, expr)

    def condition(self, expr: Expr, what: str) -> None:
        self.want(self.sure(expr, what=what), frozenset({"boolean"}), expr, what)

    def equality(self, expr: Binary) -> None:
        sides = (expr.left, expr.right)
        null = [isinstance(side, Literal) and side.value is None for side in sides]
        left, right = (self.type(side, guarded=null[1 - index]) for index, side in enumerate(sides))
        if any(null):
            return
        if not comparable(left, right):
            message = f"{shown(left)} and {shown(right)} are never equal"
            self.problem("E207", message, expr, conversion(left, right))
        self.enum_member(expr.left, right)
        self.enum_member(expr.right, left)

    def enum_member(self, literal: Expr, type_: Type) -> None:
        kind = without_null(bare(type_))
        if isinstance(literal, Literal) and isinstance(kind, EnumType):
            value = literal.value
            if not any(same_scalar(value, other) for other in kind.values):
                known = ", ".join(str(other) for other in kind.values)
                close = did_you_mean(str(value), tuple(str(other) for other in kind.values))
                hint = f"did you mean {close!r}?" if close else f"it is one of: {known}"
                self.problem("E207", f"this is never {value!r}", literal, hint)

    def membership(self, expr: Binary) -> None:
        left, right = bare(self.type(expr.left)), self.sure(expr.right, what="'in'")
        match right:
            case ListType():
                if not comparable(left, right.item):
                    message = f"{shown(left)} is never in {shown(right)}"
                    self.problem("E207", message, expr, conversion(left, right.item))
            case ObjectType() | FileType():
                left = self.not_null(left, expr.left, "'in'")
                self.want(left, frozenset({"text"}), expr.left, "the key of an object")
            case AnyType():
                return
            case _:
                hint = "x.contains(y) looks into text" if "text" in kinds_of(right) else None
                self.problem("E205", f"'in' takes a list or an object, not {shown(right)}", expr.right, hint)

    def order(self, left: Type, right: Type, expr: Binary) -> None:
        if not order_kinds(left) & order_kinds(right):
            message = f"'{expr.operator}' does not compare {shown(left)} and {shown(right)}"
            self.problem("E207", message, expr, conversion(left, right))

    def arithmetic(self, left: Type, right: Type, expr: Binary) -> Type:
        operator = expr.operator
        left, right = base(left), base(right)
        if isinstance(left, AnyType) or isinstance(right, AnyType):
            return self.arithmetic_any(left, right, expr)
        if operator == "+" and isinstance(left, ListType) and isinstance(right, ListType):
            return ListType(join(left.item, right.item))
        found = ARITHMETIC.get((operator, type(left), type(right)))
        if found is not None:
            if operator in "/%" and isinstance(expr.right, Literal) and expr.right.value in (0, 0.0):
                self.problem("E208", "division by zero", expr)
            return found
        hint = None
        if operator == "+" and "text" in kinds_of(left) | kinds_of(right):
            hint = "string(x) makes text; or write the parts as text with ${{ }} in it"
        elif operator == "%":
            hint = "'%' takes integers: int(x)"
        message = f"'{operator}' does not take {shown(left)} and {shown(right)}"
        return self.problem("E205", message, expr, hint)

    def arithmetic_any(self, left: Type, right: Type, expr: Binary) -> Type:
        takes = {kind for operator, a, b in ARITHMETIC if operator == expr.operator for kind in (a, b)}
        takes.add(AnyType)
        takes.add(NeverType)
        if expr.operator == "+":
            takes.add(ListType)
        for side, kind in ((expr.left, left), (expr.right, right)):
            if type(kind) not in takes:
                self.problem("E205", f"'{expr.operator}' does not take {shown(kind)}", side)
        return ANY

    def conditional(self, expr: Conditional) -> Type:
        self.condition(expr.condition, "a condition")
        before = self.known
        self.known = before | known_when(expr.condition, True)
        then = self.type(expr.then)
        self.known = before | known_when(expr.condition, False)
        otherwise = self.type(expr.otherwise)
        self.known = before
        return join(then, otherwise)

    def map(self, expr: MapLiteral) -> Type:
        fields: dict[str, Type] = {}
        closed = True
        for key, value in expr.entries:
            kind = self.sure(key, what="the key of an object")
            self.want(kind, frozenset({"text"}), key, "the key of an object")
            type_ = self.type(value)
            if isinstance(key, Literal) and isinstance(key.value, str):
                if key.value in fields:
                    self.problem("E208", f"the key {key.value!r} stands twice", key)
                fields[key.value] = type_
            else:
                closed = False
        return ObjectType(fields) if closed else OPEN_OBJECT
