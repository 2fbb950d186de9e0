"""Fields of the file -> values of the graph, each noted as a site that the checks come back to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from orchestrator.compiler.references import refer
from orchestrator.expr.parse import ExprSyntaxError, parse, parse_template, unparse
from orchestrator.expr.values import (
    Const,
    EachPart,
    Expression,
    FilePart,
    ListOf,
    MapOf,
    Prompt,
    Text,
    TextPart,
    compile_value,
)
from orchestrator.frozen import frozen, slotted
from orchestrator.spec import fields as written
from orchestrator.spec.types import ANY, BOOLEAN, STRING, ListType, Type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.report import Path, Report
    from orchestrator.compiler.scope import Scope
    from orchestrator.expr.check import Entry
    from orchestrator.expr.nodes import Expr
    from orchestrator.expr.values import Encoding, Part, Value

OPENING = "${{"
ROOTS = ("inputs", "steps", "run", "index", "error", "args", "secrets", "step", "round")
LISTS = ListType(ANY)


@frozen
class Leaf:
    """One text with expressions in it. ``text`` where it becomes text, else it keeps the type of its only part.

    ``broken`` where it does not parse, or a name in it is unknown: its type is not looked at then.
    """

    at: Path
    parts: tuple[str | Expr, ...]
    text: bool
    broken: bool = False


Tree: TypeAlias = "Leaf | dict[str, Any] | list[Any] | str | int | float | bool | None"
"""A field as data with leaves in it; what is no leaf is constant."""


@slotted
class Site:
    """A field that was compiled. ``want`` is the type that it must have, ``type`` the one found when it is checked.

    ``noun`` is what its keys are called.
    The items of a list may get a name in another scope: ``binds``. ``guard`` is a condition that holds here;
    ``attached`` a field whose value is sent along, and so must be a file or a list of them.
    """

    at: Path
    tree: Tree
    scope: Scope
    want: Type | None = None
    type: Type = ANY
    noun: str = "field"
    binds: tuple[Scope, str] | None = None
    guard: Site | None = None
    attached: bool = False


@frozen
class Place:
    """Where fields are compiled: what they see, and the list that their sites go to."""

    report: Report
    scope: Scope
    sites: list[Site]

    def seeing(self, names: Mapping[str, Entry]) -> Place:
        """A place with more names in scope."""
        return replace(self, scope=self.scope.bind(names))

    def within(self, scope: Scope) -> Place:
        return replace(self, scope=scope)

    def value(
        self, data: Any, at: Path, *, want: Type | None = None, text: bool = False, encode: Encoding = ""
    ) -> Value:
        """Plain data with ``${{ }}`` in its texts. With ``text`` its scalars become text."""
        site = Site(at, None, self.scope, want)
        value, site.tree = self._compile(data, at, text=text, encode=encode)
        self.sites.append(site)
        return value

    def maybe(self, data: Any, at: Path, *, want: Type | None = None, text: bool = False) -> Value | None:
        """A value, or None where the field is not given."""
        return None if data is None else self.value(data, at, want=want, text=text)

    def text(self, data: str, at: Path, *, encode: Encoding = "") -> Value:
        """Text, whatever stands in it."""
        return self.value(data, at, text=True, encode=encode)

    def limit(self, data: Any, at: Path, *, want: Type | None = None) -> Value:
        """A number or duration, or ``${{ }}`` over inputs alone."""
        return self.within(self.scope.only("inputs")).value(data, at, want=want)

    def duration(self, data: int | str, at: Path) -> Value:
        """Microseconds, more than none, or ``${{ }}`` over inputs alone that gives a duration as text."""
        positive(self.report, data, at)
        return self.limit(data, at, want=STRING if isinstance(data, str) else None)

    def bare(self, data: Any, at: Path, *, want: Type | None = BOOLEAN) -> str:
        """One expression without ``${{ }}``, as its source; literals of YAML are themselves."""
        site = Site(at, Leaf(at, (), text=False, broken=True), self.scope, want)
        self.sites.append(site)
        if isinstance(data, str):
            return self._bare_text(data, at, site)
        _, site.tree = self._compile(data, at, text=False, encode="")
        return self._source(site.tree)

    def _source(self, tree: Tree) -> str:
        """The expression of a literal of YAML, whose items may be expressions."""
        match tree:
            case Leaf(parts=(part,)) if not isinstance(part, str):
                return f"({unparse(part)})"
            case Leaf():
                return "null" if not tree.parts else self._mixed(tree.at)
            case list():
                return f"[{', '.join(self._source(item) for item in tree)}]"
            case dict():
                return f"{{{', '.join(f'{json.dumps(name)}: {self._source(item)}' for name, item in tree.items())}}}"
            case _:
                return json.dumps(tree, ensure_ascii=False)

    def _bare_text(self, data: str, at: Path, site: Site) -> str:
        if not self.report.room(1, at):
            return "null"
        try:
            if data.lstrip().startswith(OPENING):
                parts = tuple(part for part in parse_template(data) if not (isinstance(part, str) and part.isspace()))
                if len(parts) != 1 or isinstance(parts[0], str):
                    return self._mixed(at)
                expr = parts[0]
            else:
                expr = parse(data)
        except ExprSyntaxError as error:
            if OPENING in data and not data.lstrip().startswith(OPENING):
                return self._mixed(at)
            self._syntax(error, at)
            return "null"
        site.tree = Leaf(at, (expr,), text=False, broken=not refer(self.report, self.scope, expr, at))
        return data[expr.offset : expr.end] if data.lstrip().startswith(OPENING) else data.strip()

    def _mixed(self, at: Path) -> str:
        hint = "write it without `${{ }}`, as one expression"
        self.report.error("E240", "this field takes one expression, not text", at, hint=hint)
        return "null"

    def prompt(self, data: str | list[Any], at: Path) -> Value:
        """A text, or a list of text parts."""
        if isinstance(data, str):
            return self.text(data, at)
        return Prompt(tuple(self._part(part, (*at, index)) for index, part in enumerate(data)))

    def _part(self, part: Any, at: Path) -> Part:
        match part:
            case str():
                return TextPart(self.text(part, at))
            case written.EachPart():
                over = self.bare(part.each, (*at, "each"), want=LISTS)
                name = part.as_ or "item"
                self.check_name(part.as_, (*at, "as"))
                inner = self.seeing({name: ANY})
                self.sites[-1].binds = (inner.scope, name)
                return EachPart(over, name, inner.text(part.text, (*at, "text")))
            case written.FilePart() if OPENING in part.file:
                value = self.value(part.file, (*at, "file"))
                self.sites[-1].attached = True
                return FilePart(value)
            case written.FilePart():
                found = self.report.loaded.parts.get((*at, "file"), "")
                return TextPart(Const(found), self._condition(part.if_, at))
            case written.TemplatePart():
                found = self.report.loaded.parts.get((*at, "template"), "")
                return self._guarded(found, (*at, "template"), part.if_, at)
            case _:
                return self._guarded(part.text, (*at, "text"), part.if_, at)

    def _guarded(self, text: str, where: Path, condition: Any, at: Path) -> TextPart:
        """A text with a condition, which narrows what the text sees."""
        if_ = self._condition(condition, at)
        guard = None if if_ is None else self.sites[-1]
        value = self.text(text, where)
        self.sites[-1].guard = guard
        return TextPart(value, if_)

    def check_name(self, name: str | None, at: Path) -> None:
        """A name that an author gives to items must not hide another one."""
        if name is not None and name in (*self.scope.names, *ROOTS):
            hint = "inner places see outer names, so they must differ"
            self.report.error("E237", f"`as: {name}` hides another name", at, hint=hint)

    def _condition(self, data: Any, at: Path) -> str | None:
        return None if data is None else self.bare(data, (*at, "if"))

    def _compile(self, data: Any, at: Path, *, text: bool, encode: Encoding) -> tuple[Value, Tree]:
        match data:
            case str():
                return self._text(data, at, text=text, encode=encode)
            case list():
                made = [
                    self._compile(item, (*at, index), text=text, encode=encode)
                    for index, item in enumerate(cast("list[Any]", data))
                ]
                trees = [tree for _, tree in made]
                values = tuple(value for value, _ in made)
                constants = [value.value for value in values if isinstance(value, Const)]
                return Const(constants) if len(constants) == len(values) else ListOf(values), trees
            case dict():
                fields = {
                    name: self._compile(item, (*at, name), text=text, encode=encode)
                    for name, item in cast("dict[str, Any]", data).items()
                }
                tree = {name: inner for name, (_, inner) in fields.items()}
                values = {name: value for name, (value, _) in fields.items()}
                constants = {name: value.value for name, value in values.items() if isinstance(value, Const)}
                return Const(constants) if len(constants) == len(values) else MapOf(values), tree
            case _:
                constant = cast("Const", compile_value(data, text=text))
                return constant, constant.value

    def _text(self, data: str, at: Path, *, text: bool, encode: Encoding) -> tuple[Value, Tree]:
        if OPENING not in data:
            return Const(data), data
        if not self.report.room(data.count(OPENING), at):
            return Const(data), Leaf(at, (), text, broken=True)
        try:
            parts = parse_template(data)
        except ExprSyntaxError as error:
            self._syntax(error, at)
            return Const(data), Leaf(at, (), text, broken=True)
        pieces = tuple(part if isinstance(part, str) else Expression(data[part.offset : part.end]) for part in parts)
        known = [refer(self.report, self.scope, part, at) for part in parts if not isinstance(part, str)]
        alone = pieces[0]
        if len(pieces) == 1 and isinstance(alone, Expression) and not text:
            return alone, Leaf(at, parts, text=False, broken=not all(known))
        return Text(pieces, encode), Leaf(at, parts, text=True, broken=not all(known))

    def _syntax(self, error: ExprSyntaxError, at: Path) -> None:
        hint = self.report.loaded.quoting_hint(at) or error.hint
        self.report.error(error.code, error.message, at, span=(error.offset, error.end), hint=hint)


def positive(report: Report, data: int | str | None, at: Path) -> None:
    """Say that a time must be longer than none; nothing could end within it."""
    if data == 0:
        report.error("E120", f"`{at[-1]}` must be longer than 0", at)


__all__ = ["LISTS", "OPENING", "STRING", "Leaf", "Place", "Site", "Tree", "positive"]
