"""From the types that authors write, as plain data, to types; import it from ``orchestrator.spec.types``.

A type is written as a name (``string``, ``string?``, also ``[string]?`` in text), a list of one type, a mapping of
fields, ``{object: {...}}`` (no key inside it is special), or a facet form: a mapping with ``type``, ``enum`` or
``schema``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, cast

from orchestrator.errors import OrchError, did_you_mean
from orchestrator.frozen import slotted
from orchestrator.regex import regex
from orchestrator.spec.type_algebra import (
    ANY,
    SIMPLE,
    AnyType,
    EnumType,
    Facets,
    FileType,
    IntegerType,
    ListType,
    NumberType,
    ObjectType,
    SchemaType,
    StringType,
    Type,
    assignable,
    bare,
    enum_base,
    nullable,
    same_scalar,
    with_facets,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Path: TypeAlias = "tuple[str | int, ...]"


class TypeProblem(OrchError):
    """One thing wrong with a type as written. ``path`` leads to it: keys and indices into the data."""

    code: ClassVar[str] = "E220"

    def __init__(self, message: str, *, path: Path = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


def parse_type(data: Any, *, names: Mapping[str, Type]) -> Type:
    """The type that ``data`` writes; ``names`` are the reusable ones. Raises the first ``TypeProblem``."""
    type_, problems = parse_type_all(data, names)
    if problems:
        raise problems[0]
    assert type_ is not None
    return type_


def parse_type_all(data: Any, names: Mapping[str, Type]) -> tuple[Type | None, list[TypeProblem]]:
    """The type that ``data`` writes, and everything that is wrong with it (the type is None then)."""
    forms = _Forms(names)
    type_ = forms.type(data, ())
    return (None if forms.problems else type_), forms.problems


_FOREIGN: Final = {
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "str": "string",
    "text": "string",
    "bool": "boolean",
    "object": "{name: TYPE, ...}, or any",
    "dict": "{name: TYPE, ...}, or any",
    "map": "{name: TYPE, ...}, or any",
    "array": "[TYPE]",
    "list": "[TYPE]",
    "null": "a type with a question mark: string?",
}
_FACET_KEYS: Final = {
    "description": "description",
    "default": "default",
    "env": "env",
    "minimum": "minimum",
    "maximum": "maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "minItems": "min_items",
    "maxItems": "max_items",
}
_KINDS: Final = ("type", "enum", "schema")
_NUMBERS: Final = ("minimum", "maximum")
_TEXTS: Final = ("minLength", "maxLength", "pattern")
_LISTS: Final = ("minItems", "maxItems")
_ENV: Final = regex(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


_DEEPEST: Final = 64


def _nesting(text: str) -> int:
    """How deep the brackets of a text go, and that no type of it goes deeper."""
    return max(accumulate((char in "[{") - (char in "]}") for char in text), default=0)


@slotted
class _Text:
    """A reader of types that stand in one text: ``[string]?``, ``{a: integer, b?: string}``."""

    text: str
    at: int = 0

    def read(self, forms: _Forms, path: Path) -> Any:
        self.space()
        if self.take("["):
            item = self.read(forms, path)
            type_: Type | None = ListType(item) if self.expect("]", forms, path) and item else None
        elif self.take("{"):
            type_ = self.fields(forms, path)
        else:
            word = re.compile(r"[^\s\[\]{},:?]*").match(self.text, self.at)
            assert word is not None
            self.at = word.end()
            type_ = forms.named(word.group(), path)
        self.space()
        while type_ is not None and self.take("?"):
            type_ = nullable(type_)
            self.space()
        return type_

    def fields(self, forms: _Forms, path: Path) -> Type | None:
        found: dict[str, Any] = {}
        self.space()
        while not self.take("}"):
            key = re.compile(r"\s*([^\s\[\]{},:]+)\s*:").match(self.text, self.at)
            if key is None:
                forms.problem("a field is written as name: TYPE", path)
                return None
            self.at = key.end()
            found[key.group(1)] = self.read(forms, path)
            self.space()
            if not self.take(",") and not self.text.startswith("}", self.at):
                self.expect("}", forms, path)
                return None
        return forms.object({name: type_ for name, type_ in found.items() if type_}, path, lambda item, _: item)

    def space(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def take(self, char: str) -> bool:
        if self.text.startswith(char, self.at):
            self.at += 1
            return True
        return False

    def expect(self, char: str, forms: _Forms, path: Path) -> bool:
        self.space()
        if not self.take(char):
            forms.problem(f"{self.text!r} is not a type: {char!r} is missing", path)
            return False
        return True


class _Forms:
    def __init__(self, names: Mapping[str, Type]) -> None:
        self.names = names
        self.problems: list[TypeProblem] = []

    def problem(self, message: str, path: Path, hint: str | None = None) -> None:
        self.problems.append(TypeProblem(message, path=path, hint=hint))

    def type(self, data: Any, path: Path) -> Type | None:
        match data:
            case str():
                return self.text(data, path)
            case list() if len(cast("list[Any]", data)) == 1:
                item = self.type(data[0], (*path, 0))
                return ListType(item) if item else None
            case list():
                return self.problem("a list type has exactly one type in it", path, "write [string], for example")
            case Mapping():
                return self.mapping(cast("Mapping[str, Any]", data), path)
            case _:
                return self.problem(
                    f"{json.dumps(data, default=str)} is not a type", path, "string integer number boolean any file"
                )

    def text(self, text: str, path: Path) -> Type | None:
        before = len(self.problems)
        if _nesting(text) > _DEEPEST:
            return self.problem(f"a type nests at most {_DEEPEST} deep", path, "name the inner types under types")
        reader = _Text(text)
        type_ = reader.read(self, path)
        for problem in self.problems[before:]:
            problem.path = path
        if len(self.problems) == before and reader.at != len(text):
            return self.problem(f"{text!r} is not a type: {text[reader.at :]!r} is too much", path)
        return type_

    def named(self, word: str, path: Path) -> Type | None:
        found = SIMPLE.get(word) or self.names.get(word)
        if found is not None:
            return found
        known = (*SIMPLE, *self.names)
        foreign = _FOREIGN.get(word.lower())
        close = foreign or did_you_mean(word, known)
        hint = f"did you mean {close!r}?" if close and not foreign else foreign and f"write {foreign}"
        if not word:
            return self.problem("a type is missing", path, "string integer number boolean any file")
        return self.problem(f"unknown type {word!r}", path, hint or f"known types: {' '.join(known)}")

    def mapping(self, data: Mapping[str, Any], path: Path) -> Type | None:
        if len(data) == 1 and isinstance(data.get("object"), Mapping):
            return self.object(data["object"], (*path, "object"), self.type)
        if any(kind in data for kind in _KINDS):
            return self.facets(data, path)
        return self.object(data, path, self.type)

    def object(self, data: Mapping[str, Any], path: Path, read: Callable[[Any, Path], Type | None]) -> Type | None:
        fields: dict[str, Type] = {}
        optional: set[str] = set()
        for key, item in data.items():
            at = (*path, key)
            name = key.removesuffix("?")
            if not name or name in fields:
                self.problem(f"the field {name!r} stands twice" if name else "a field needs a name", at)
            type_ = read(item, at)
            if type_ is None:
                continue
            if name != key:
                optional.add(name)
                type_ = without_null(type_)
            fields[name] = type_
        return ObjectType(fields, frozenset(optional))

    def facets(self, data: Mapping[str, Any], path: Path) -> Type | None:
        before = len(self.problems)
        for key in data:
            if key not in _KINDS and key not in _FACET_KEYS:
                close = did_you_mean(key, (*_KINDS, *_FACET_KEYS))
                self.problem(
                    f"unknown facet {key!r}",
                    (*path, key),
                    f"did you mean {close!r}?" if close else "an object with such a field is {object: {...}}",
                )
        base = self.base(data, path)
        values = {field: data[key] for key, field in _FACET_KEYS.items() if key in data}
        for key in _FACET_KEYS:
            if key in data:
                self.facet(key, data[key], base, (*path, key))
        self.bounds(data, path)
        if base is None or len(self.problems) > before:
            return None
        type_ = with_facets(base, Facets(**values))
        self.default(type_, data, path)
        return type_

    def base(self, data: Mapping[str, Any], path: Path) -> Type | None:
        if "schema" in data:
            if "type" in data or "enum" in data:
                return self.problem("a facet form has a schema, or a type or enum: not both", path)
            return self.schema(data["schema"], (*path, "schema"))
        declared = self.type(data["type"], (*path, "type")) if "type" in data else ANY
        if declared is None or "enum" not in data:
            return declared
        return self.enum(data["enum"], declared, (*path, "enum"))

    def enum(self, values: Any, declared: Type, path: Path) -> Type | None:
        hint = "a field of that name is written {object: {enum: TYPE}}"
        if not isinstance(values, list) or not values:
            return self.problem("enum is a list of the allowed values", path, hint)
        seen: list[Any] = []
        for index, value in enumerate(cast("list[Any]", values)):
            if not isinstance(value, (str, int, float)) and value is not None:
                return self.problem("a value of an enum is text, a number, true, false or null", (*path, index))
            if any(same_scalar(value, other) for other in seen):
                return self.problem(f"{value!r} stands twice", (*path, index))
            seen.append(value)
        null = None in seen
        found: Type = EnumType(tuple(value for value in seen if value is not None))
        if not assignable(enum_base(seen), declared):
            return self.problem(f"the values are not all of type {declared}", path)
        return nullable(found) if null or declared != without_null(declared) else found

    def schema(self, schema: Any, path: Path) -> Type | None:
        from orchestrator.spec.values import schema_error

        if isinstance(schema, bool):
            return ANY
        if not isinstance(schema, Mapping):
            return self.problem("schema is a JSON Schema: a mapping", path)
        message = schema_error(cast("dict[str, Any]", schema))
        return self.problem(message, path) if message else SchemaType(cast("dict[str, Any]", schema))

    def facet(self, key: str, value: Any, base: Type | None, path: Path) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        match key:
            case "description" if not isinstance(value, str):
                self.problem("description is text", path)
            case "env" if not isinstance(value, str) or not _ENV.fullmatch(value):
                self.problem("env is the name of an environment variable", path)
            case "minimum" | "maximum" if not whole and not isinstance(value, float):
                self.problem(f"{key} is a number", path)
            case "minLength" | "maxLength" | "minItems" | "maxItems" if not whole or int(value) < 0:
                self.problem(f"{key} is a whole number, not below 0", path)
            case "pattern":
                self.pattern(value, path)
            case _:
                pass
        kind = without_null(bare(base)) if base else None
        fits = (
            (key in _NUMBERS, (IntegerType, NumberType), "numbers"),
            (key in _TEXTS, (StringType,), "text"),
            (key in _LISTS, (ListType,), "lists"),
        )
        for applies, kinds, what in fits:
            if applies and kind is not None and not isinstance(kind, (*kinds, AnyType)):
                self.problem(f"{key} is for {what}, not for {base}", path)

    def pattern(self, value: Any, path: Path) -> None:
        if not isinstance(value, str) or not value:
            self.problem("pattern is a regular expression, and not empty", path)
            return
        from orchestrator.expr.patterns import pattern_error

        message = pattern_error(value)
        if message:
            self.problem(message, path, "RE2 syntax: no look-around, no back-references")

    def bounds(self, data: Mapping[str, Any], path: Path) -> None:
        for low, high in (_NUMBERS, _TEXTS[:2], _LISTS):
            least, most = data.get(low), data.get(high)
            if isinstance(least, (int, float)) and isinstance(most, (int, float)) and least > most:
                self.problem(f"{low} {least} is over {high} {most}", (*path, low))

    def default(self, type_: Type, data: Mapping[str, Any], path: Path) -> None:
        if "default" not in data:
            return
        from orchestrator.spec.type_schema import to_schema
        from orchestrator.spec.values import check_value

        at = (*path, "default")
        value = data["default"]
        if "${{" in json.dumps(value, default=str):
            self.problem("a default is a literal: it takes no ${{ }}", at)
        elif isinstance(without_null(bare(type_)), FileType) and isinstance(value, str):
            return
        elif problems := check_value(to_schema(type_), value):
            self.problem(f"the default does not fit `{type_}`: {problems[0]}", at)
