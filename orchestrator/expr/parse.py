"""From text to a syntax tree: a closed subset of CEL, and ``${{ }}`` in other text.

Precedence, lowest first: ``?:``, ``||``, ``&&``, comparison and ``in``, ``+ -``, ``* / %``, ``! -``, members.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from orchestrator.expr.lex import ExprSyntaxError, Lexer, Token
from orchestrator.expr.nodes import (
    MACROS,
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
    children,
)
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "ExprSyntaxError",
    "Reference",
    "parse",
    "parse_template",
    "path_of",
    "references",
    "unparse",
]

MAX_DEPTH: Final = 64
"""Levels of nodes in one expression; a chain of one operator has as many as it has operators."""
MAX_LENGTH: Final = 16 << 10
"""Code points of one expression."""

_BINDING: Final = {
    "||": 2, "&&": 3,
    "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "in": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
_CONDITIONAL: Final = 1
_UNARY: Final = 7
_WORDS: Final = {
    "and": "'and' is written &&",
    "or": "'or' is written ||",
    "not": "'not' is written !",
    "is": "equality is written ==",
    "if": "a condition is written CONDITION ? A : B",
    "else": "a condition is written CONDITION ? A : B",
}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_FOREIGN_CONSTANTS: Final = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null"}


def parse(source: str) -> Expr:
    """The tree of one expression. Raises ExprSyntaxError."""
    parser = _Parser(source, 0)
    expr = parser.whole()
    if parser.token.kind != "end":
        raise parser.unexpected()
    return expr


def parse_template(text: str) -> tuple[str | Expr, ...]:
    """The parts of a text with ``${{ }}``: pieces of text (never empty) and trees, with offsets into ``text``.

    ``${{`` ends where its expression ends, wherever else ``}}`` may stand. Raises ExprSyntaxError.
    """
    parts: list[str | Expr] = []
    at = 0
    while (start := text.find("${{", at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        parser = _Parser(text, start + 3)
        parts.append(parser.whole())
        at = parser.close(start)
    if at < len(text):
        parts.append(text[at:])
    return tuple(parts)


class _Parser:
    def __init__(self, text: str, at: int) -> None:
        self.start = at
        self.depth = 0
        self.lexer = Lexer(text, at)
        self.token = self.lexer.next()

    def whole(self) -> Expr:
        if self.token.kind in ("end", "}"):
            raise ExprSyntaxError("an expression is missing", offset=self.token.offset, end=self.token.end)
        expr = self.expression(0)
        _check_depth(expr)
        return expr

    def close(self, start: int) -> int:
        """Past the ``}}`` of a template that began at ``start``."""
        at = self.token.offset
        if self.lexer.text.startswith("}}", at):
            return at + 2
        if self.token.kind in ("end", "}"):
            raise ExprSyntaxError("'${{' does not end", offset=start, end=start + 3, hint="close it with }}")
        raise self.unexpected()

    def advance(self) -> Token:
        token = self.token
        if token.end - self.start > MAX_LENGTH:
            message = f"an expression is at most {MAX_LENGTH} characters long"
            raise ExprSyntaxError(message, offset=token.offset, end=token.end)
        self.token = self.lexer.next()
        return token

    def take(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.advance()
        return True

    def expect(self, kind: str, opened: Token) -> Token:
        if self.token.kind == kind:
            return self.advance()
        if self.token.kind == "end":
            message = f"{opened.value!r} does not end"
            raise ExprSyntaxError(message, offset=opened.offset, end=opened.end, hint=f"close it with {kind}")
        raise self.unexpected(f"{kind!r} is expected")

    def unexpected(self, wanted: str | None = None) -> ExprSyntaxError:
        token = self.token
        shown = "end" if token.kind == "end" else repr(self.lexer.text[token.offset : token.end])
        hint = _WORDS.get(str(token.value)) if token.kind == "name" else None
        text = self.lexer.text
        if token.kind == "*" and text.startswith("**", token.offset - 1):
            hint = "there is no power operator"
        if token.kind in (">", "==") and text[token.offset - 1 : token.offset] in ("<", "=", "!"):
            hint = "inequality is written !=" if token.kind == ">" else "equality is written =="
        if token.kind == "." and text[token.offset - 1 : token.offset] == "?":
            hint = "has(x.y) and default(x.y, z) take a field of what may be null"
        message = f"unexpected {shown}" + (f": {wanted}" if wanted else "")
        return ExprSyntaxError(message, offset=token.offset, end=token.end, hint=hint)

    def expression(self, least: int) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _too_deep(self.token.offset, self.token.end)
        left = self.unary()
        while True:
            token = self.token
            operator = str(token.value) if token.kind != "string" else ""
            binding = _BINDING.get(operator, 0)
            if binding > least:
                self.advance()
                right = self.expression(binding)
                left = Binary(operator, left, right, offset=left.offset, end=right.end, operator_offset=token.offset)
            elif operator == "?" and least < _CONDITIONAL:
                left = self.conditional(left)
            else:
                self.depth -= 1
                return left

    def conditional(self, condition: Expr) -> Expr:
        opened = self.advance()
        then = self.expression(0)
        if not self.take(":"):
            raise (
                self.unexpected("a condition is written CONDITION ? A : B")
                if self.token.kind != "end"
                else (ExprSyntaxError("':' is missing", offset=opened.offset, end=opened.end, hint="CONDITION ? A : B"))
            )
        otherwise = self.expression(0)
        return Conditional(condition, then, otherwise, offset=condition.offset, end=otherwise.end)

    def unary(self) -> Expr:
        token = self.token
        if token.kind not in ("!", "-"):
            return self.members(self.primary())
        self.advance()
        if token.kind == "-" and self.token.kind in ("int", "float"):
            number = self.advance()
            return self.members(Literal(-_number(number), offset=token.offset, end=number.end))
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _too_deep(token.offset, token.end)
        operand = self.unary()
        self.depth -= 1
        return Unary(token.kind, operand, offset=token.offset, end=operand.end)

    def members(self, expr: Expr) -> Expr:
        while True:
            token = self.token
            if token.kind == ".":
                self.advance()
                name = self.token
                if name.kind != "name":
                    raise self.unexpected("a field is expected")
                self.advance()
                if self.token.kind == "(":
                    expr = self.call(name, expr)
                else:
                    field = str(name.value)
                    expr = Select(expr, field, offset=expr.offset, end=name.end, field_offset=name.offset)
            elif token.kind == "[":
                self.advance()
                index = self.expression(0)
                end = self.expect("]", token).end
                expr = Index(expr, index, offset=expr.offset, end=end)
            else:
                return expr

    def primary(self) -> Expr:
        token = self.token
        match token.kind:
            case "int" | "float":
                self.advance()
                if token.value == 1 << 63:
                    raise ExprSyntaxError("this integer has more than 64 bits", offset=token.offset, end=token.end)
                return Literal(token.value, offset=token.offset, end=token.end)
            case "string":
                self.advance()
                return Literal(token.value, offset=token.offset, end=token.end)
            case "name":
                return self.name()
            case "(":
                self.advance()
                inner = self.expression(0)
                end = self.expect(")", token).end
                return replace(inner, offset=token.offset, end=end)
            case "[":
                return self.list()
            case "{":
                return self.map()
            case _:
                raise self.unexpected()

    def name(self) -> Expr:
        token = self.token
        name = str(token.value)
        if name in _CONSTANTS:
            self.advance()
            return Literal(_CONSTANTS[name], offset=token.offset, end=token.end)
        if name in _FOREIGN_CONSTANTS:
            hint = f"write {_FOREIGN_CONSTANTS[name]}"
            raise ExprSyntaxError(f"unknown name {name!r}", offset=token.offset, end=token.end, hint=hint)
        if name == "in" or name in _WORDS:
            raise self.unexpected()
        self.advance()
        if self.token.kind == "(":
            return self.call(token, None)
        return Name(name, offset=token.offset, end=token.end)

    def call(self, name: Token, receiver: Expr | None) -> Expr:
        opened = self.advance()
        args = [] if receiver is None else [receiver]
        while self.token.kind != ")":
            args.append(self.expression(0))
            if not self.take(","):
                break
        end = self.expect(")", opened).end
        offset = name.offset if receiver is None else receiver.offset
        if name.value in MACROS:
            return _macro(name, args, offset, end)
        return Call(str(name.value), tuple(args), offset=offset, end=end, name_offset=name.offset)

    def list(self) -> Expr:
        opened = self.advance()
        items: list[Expr] = []
        while self.token.kind != "]":
            items.append(self.expression(0))
            if not self.take(","):
                break
        end = self.expect("]", opened).end
        return ListLiteral(tuple(items), offset=opened.offset, end=end)

    def map(self) -> Expr:
        opened = self.advance()
        entries: list[tuple[Expr, Expr]] = []
        while self.token.kind != "}":
            key = self.expression(0)
            bare = isinstance(key, Name) and key.end - key.offset == len(key.name)
            if isinstance(key, Name) and bare and self.token.kind == ":":
                hint = f"write '{key.name}', or ({key.name}) for the value of that name"
                raise ExprSyntaxError("a key of a map stands in quotes", offset=key.offset, end=key.end, hint=hint)
            self.expect(":", opened)
            entries.append((key, self.expression(0)))
            if not self.take(","):
                break
        end = self.expect("}", opened).end
        return MapLiteral(tuple(entries), offset=opened.offset, end=end)


def _number(token: Token) -> int | float:
    assert not isinstance(token.value, str)
    return token.value


def _macro(name: Token, args: list[Expr], offset: int, end: int) -> Expr:
    word = str(name.value)
    usage = (
        f"{word}(LIST, x, EXPRESSION)"
        if word != "map"
        else "map(LIST, x, EXPRESSION) or map(LIST, x, WHERE, EXPRESSION)"
    )
    if len(args) != 3 and not (word == "map" and len(args) == 4):
        raise ExprSyntaxError(f"{word} binds a name over a list", offset=name.offset, end=end, hint=f"write {usage}")
    target, variable = args[0], args[1]
    if not isinstance(variable, Name):
        message = f"{word} needs a plain name for the item"
        raise ExprSyntaxError(message, offset=variable.offset, end=variable.end, hint=f"write {usage}")
    where = args[2] if len(args) == 4 else None
    return Macro(word, target, variable.name, args[-1], where, offset=offset, end=end, name_offset=name.offset)


def _too_deep(offset: int, end: int) -> ExprSyntaxError:
    hint = "split it over `set` steps; a long chain of + or || is join([...]) or x in [...]"
    return ExprSyntaxError(f"an expression nests at most {MAX_DEPTH} deep", offset=offset, end=end, hint=hint)


def _check_depth(expr: Expr) -> None:
    stack: list[tuple[Expr, int]] = [(expr, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(node.offset, node.end)
        stack.extend((child, depth + 1) for child in children(node))


@frozen
class Reference:
    """A name in scope that an expression uses, with the fields that follow it: ``steps.find.output``."""

    root: str
    fields: tuple[str, ...]
    offset: int
    end: int


def path_of(expr: Expr) -> tuple[str, ...] | None:
    """Root and fields of a plain path (``a.b`` and ``a['b']`` alike); None for any other expression."""
    fields: list[str] = []
    while True:
        match expr:
            case Name():
                return (expr.name, *reversed(fields))
            case Select():
                fields.append(expr.field)
                expr = expr.target
            case Index(index=Literal(value=str(key))):
                fields.append(key)
                expr = expr.target
            case _:
                return None


def references(expr: Expr) -> list[Reference]:
    """The names in scope that an expression uses, in the order of the source, without those that a macro binds."""
    return list(_references(expr, frozenset()))


def _references(expr: Expr, bound: frozenset[str]) -> Iterator[Reference]:
    path = path_of(expr)
    if path is not None:
        if path[0] not in bound:
            yield Reference(path[0], path[1:], expr.offset, expr.end)
        return
    if isinstance(expr, Macro):
        yield from _references(expr.target, bound)
        for inner in children(expr)[1:]:
            yield from _references(inner, bound | {expr.variable})
        return
    for child in children(expr):
        yield from _references(child, bound)


def unparse(expr: Expr) -> str:
    """Source that parses to the same tree."""
    match expr:
        case Literal():
            return _literal(expr.value)
        case Name():
            return expr.name
        case Select():
            return f"{_operand(expr.target)}.{expr.field}"
        case Index():
            return f"{_operand(expr.target)}[{unparse(expr.index)}]"
        case Unary():
            inner = unparse(expr.operand)
            return f"{expr.operator}{inner if isinstance(expr.operand, Name) else f'({inner})'}"
        case Binary():
            return f"{_operand(expr.left)} {expr.operator} {_operand(expr.right)}"
        case Conditional():
            return f"{_operand(expr.condition)} ? {_operand(expr.then)} : {_operand(expr.otherwise)}"
        case ListLiteral():
            return "[" + ", ".join(unparse(item) for item in expr.items) + "]"
        case MapLiteral():
            return "{" + ", ".join(f"{_key(key)}: {unparse(value)}" for key, value in expr.entries) + "}"
        case Call():
            return f"{expr.name}({', '.join(unparse(arg) for arg in expr.args)})"
        case Macro():
            where = f"{unparse(expr.where)}, " if expr.where is not None else ""
            return f"{expr.name}({unparse(expr.target)}, {expr.variable}, {where}{unparse(expr.body)})"
        case _:
            assert_never(expr)


def _operand(expr: Expr) -> str:
    plain = isinstance(expr, (Name, Select, Index, Call, Macro, ListLiteral, MapLiteral))
    return unparse(expr) if plain else f"({unparse(expr)})"


def _key(expr: Expr) -> str:
    return f"({expr.name})" if isinstance(expr, Name) else unparse(expr)


def _literal(value: None | bool | int | float | str) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\\/", "/")
        case _:
            return repr(value)
