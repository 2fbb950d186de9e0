"""The kinds of values that fields of a pipeline file take.

Every problem is raised with a code of ``spec/codes.py``, so that ``spec/shape.py`` makes one diagnostic out of each.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeAlias

from orchestrator.spec.model import (
    BY_SHAPE,
    FLAG,
    LIST,
    MAP,
    NUMBER,
    TEXT,
    Bound,
    Check,
    Model,
    Named,
    Parse,
    Refused,
    Schema,
    Tag,
    Told,
    shape,
)

NAME: Final = r"[a-z][a-z0-9_]*"
_LONG_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TYPE_NAME: Final = r"[A-Za-z][A-Za-z0-9_]*"
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*\??"
_FUNCTION: Final = r"(?a:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_REFERENCE: Final = rf"{NAME}(?:\.[A-Za-z0-9_][A-Za-z0-9_./-]*)?"
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_DURATION: Final = f"(?a:{''.join(f'(?:{_NUMBER}{unit})?' for unit in ('d', 'h', 'm', 's', 'ms'))})"
_UNITS: Final = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000)
_LONGEST: Final = 36_500 * _UNITS[0]
MAX_NAME: Final = 128
OPENING: Final = "${{"


def _no_code(what: str) -> Check:
    """Refuse an expression where its value could become code: in a text, or in the first item of a list."""

    def check(value: Any) -> None:
        text = value[0] if isinstance(value, list) and value else value
        if isinstance(text, str) and OPENING in text:
            message = f"no `${{{{ }}}}` in {what}: a value must not become code"
            raise Refused("E126", message, offset=text.index(OPENING), item=isinstance(value, list))

    return Check(check)


def _named(pattern: str, rule: str) -> Check:
    def check(text: str) -> None:
        if len(text) > MAX_NAME:
            longest = f"it has {len(text)} characters, and {MAX_NAME} is the most"
            raise Refused("E108", f"`{text[:40]}…` is not a name: {longest}")
        if not re.fullmatch(pattern, text):
            raise Refused("E108", f"`{text[:80]}` is not a name: {rule}")

    return Check(check)


Name: TypeAlias = Annotated[
    str,
    _named(NAME, "small letters, digits and `_`, a letter first"),
    Schema({"maxLength": MAX_NAME, "pattern": f"^{NAME}$", "type": "string"}),
]
LongName: TypeAlias = Annotated[
    str,
    _named(_LONG_NAME, "letters, digits, `_`, `-` and `.`"),
    Schema({"maxLength": MAX_NAME, "pattern": f"^{_LONG_NAME}$", "type": "string"}),
]
TypeName: TypeAlias = Annotated[
    str,
    _named(_TYPE_NAME, "letters, digits and `_`, a letter first"),
    Schema({"maxLength": MAX_NAME, "pattern": f"^{_TYPE_NAME}$", "type": "string"}),
]
SecretName: TypeAlias = Annotated[
    str,
    _named(_VARIABLE, "the name of a variable, with `?` behind it where it is optional"),
    Schema({"maxLength": MAX_NAME, "pattern": f"^{_VARIABLE}$", "type": "string"}),
]
Function: TypeAlias = Annotated[
    str,
    _named(_FUNCTION, "`module:function`"),
    Schema({"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", "type": "string"}),
]
ToolName: TypeAlias = Annotated[
    str,
    _named(_REFERENCE, "the name of a tool, or `name.tool` for one tool of a server"),
    Schema({"pattern": f"^{_REFERENCE}$", "type": "string"}),
]


def _no_expression(text: str) -> None:
    if OPENING in text:
        raise Refused("E126", "no `${{ }}` here: names and source paths are fixed")


def _not_empty(text: str) -> None:
    if not text:
        raise Refused("E107", "the text is empty")


def _with_expression(text: str) -> None:
    if OPENING not in text:
        raise Refused("E106", "expected a number, or `${{ … }}` over `inputs`; found text")


def parse_duration(value: Any) -> int:
    """Microseconds of ``1h30m``: units ``d h m s ms`` in this order, each at most once. Raises Refused."""
    if not isinstance(value, str):
        hint = f": write `{value}s`, with a unit" if isinstance(value, int | float) else ""
        raise Refused("E120", f"not a duration{hint}")
    match = re.fullmatch(_DURATION, value) if len(value) <= MAX_NAME else None
    if match is None or not value:
        raise Refused("E120", f"`{value[:80]}` is not a duration, as `1h30m` is")
    total = sum(_exactly(part, unit) for part, unit in zip(match.groups(), _UNITS, strict=True) if part is not None)
    if total > _LONGEST:
        raise Refused("E120", f"`{value[:80]}` is longer than 100 years")
    return int(total)


def _exactly(number: str, unit: int) -> Any:
    if number.isdigit():
        return int(number) * unit
    from decimal import Decimal

    return Decimal(number) * unit


def _duration_or_text(value: Any) -> int | str:
    return value if isinstance(value, str) and OPENING in value else parse_duration(value)


_DURATION_SCHEMA: Final = {
    "description": "A duration: `1h30m`, with units d h m s ms",
    "pattern": r"^(?=.)(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?$",
    "type": "string",
}
_EXPRESSION_SCHEMA: Final = {"pattern": r"\$\{\{", "type": "string"}

Duration: TypeAlias = Annotated[int, Parse(parse_duration), Schema(_DURATION_SCHEMA)]
"""Microseconds."""

DurationOrText: TypeAlias = Annotated[
    int | str,
    Parse(_duration_or_text),
    Schema({"anyOf": [_DURATION_SCHEMA, _EXPRESSION_SCHEMA]}),
    Named("DurationOrText"),
]
"""Microseconds, or text that holds ``${{ … }}``."""

Text: TypeAlias = str
"""Text that may hold ``${{ … }}``."""

FixedText: TypeAlias = Annotated[
    str,
    Check(_not_empty),
    Check(_no_expression),
    Schema({"minLength": 1, "not": _EXPRESSION_SCHEMA, "type": "string"}),
]
"""Text without ``${{ … }}``: names, keys, source paths."""

FullText: TypeAlias = Annotated[str, Check(_not_empty), Schema({"minLength": 1, "type": "string"})]
"""Text that may hold ``${{ … }}``, not empty."""

_CODE_SCHEMA: Final = {"minLength": 1, "not": _EXPRESSION_SCHEMA, "type": "string"}
Script: TypeAlias = Annotated[FullText, _no_code("a script"), Schema(_CODE_SCHEMA)]
Statement: TypeAlias = Annotated[FullText, _no_code("a statement"), Schema(_CODE_SCHEMA)]
Command: TypeAlias = Annotated[list[Any], Bound(least=1), _no_code("the name of a command")]
"""A command and its arguments, which may hold ``${{ … }}``."""

Launcher: TypeAlias = Annotated[list[Text], Bound(least=1), _no_code("the name of a command")]

Count: TypeAlias = Annotated[int, Bound(ge=0)]
Positive: TypeAlias = Annotated[int, Bound(ge=1)]
Amount: TypeAlias = Annotated[float, Bound(ge=0)]

Limit: TypeAlias = Annotated[
    Annotated[Positive, NUMBER] | Annotated[str, Check(_with_expression), Schema(_EXPRESSION_SCHEMA), TEXT],
    BY_SHAPE,
    Named("Limit"),
]
"""A whole number from 1, or text with ``${{ … }}`` over ``inputs``."""

Expr: TypeAlias = Annotated[
    Annotated[FullText, TEXT] | Annotated[bool, FLAG] | Annotated[float, NUMBER] | Annotated[list[Any], LIST],
    BY_SHAPE,
    Named("Expr"),
]
"""One bare expression; booleans, numbers and lists of YAML are literals."""

Type: TypeAlias = Annotated[
    Any,
    Schema({"$ref": "#/$defs/Type"}),
]
"""A TYPE as plain data: ``spec/types.py`` reads it."""

Effect: TypeAlias = Literal["read", "idempotent", "write"]
Sandbox: TypeAlias = Literal["none", "preferred", "required"]


Env: TypeAlias = Annotated[
    Annotated[list[SecretName], LIST] | Annotated[dict[str, Any], MAP],
    BY_SHAPE,
    Named("Env"),
]
"""Names of variables to pass on, or a mapping of names to values."""

Names: TypeAlias = Annotated[
    Annotated[Name, TEXT] | Annotated[list[Name], LIST],
    BY_SHAPE,
]


class TextPart(Model):
    """A part of a text that is there or not."""

    text: Text
    if_: Expr | None = None


class EachPart(Model):
    """A part of a text that is repeated, joined by newlines."""

    each: Expr
    as_: Name | None = None
    text: Text


class FilePart(Model):
    """A file's text as it stands; with `${{ }}`, an attachment."""

    file: FullText
    if_: Expr | None = None


class TemplatePart(Model):
    """A file's text, interpolated and checked."""

    template: FixedText
    if_: Expr | None = None


PART_KINDS: Final = ("each", "file", "template", "text")


def part_shape(value: Any) -> str:
    """The tag of a text's part."""
    if isinstance(value, str):
        return "\0plain"
    if not isinstance(value, dict):
        return shape(value)
    return next(("\0" + kind for kind in PART_KINDS if kind in value), "\0part")


Part: TypeAlias = Annotated[
    Annotated[str, Tag("\0plain")]
    | Annotated[TextPart, TEXT]
    | Annotated[EachPart, Tag("\0each")]
    | Annotated[FilePart, Tag("\0file")]
    | Annotated[TemplatePart, Tag("\0template")],
    Told(part_shape),
    Named("Part"),
]

Prompt: TypeAlias = Annotated[
    Annotated[str, TEXT] | Annotated[list[Part], LIST],
    BY_SHAPE,
    Named("Prompt"),
]
"""Text, or parts of text that are joined by blank lines."""


class Budget(Model):
    """A bound on what may be spent. Budgets nest; a child's is a cap beside those around it."""

    usd: Amount | None = None
    """Dollars."""
    tokens: Count | None = None
    time: Duration | None = None
    """Active time: waiting does not count."""
    deadline: Duration | None = None
    """By the clock from the run's start, waits included."""
    model_calls: Count | None = None
    tool_calls: Count | None = None
    agents: Count | None = None
    depth: Count | None = None
    on_exceed: Literal["fail", "pause", "finish"] | None = None


class Hooks(Model):
    """Functions that see each call of a model or a tool: `module:function`."""

    before_model: Function | None = None
    after_model: Function | None = None
    before_tool: Function | None = None
    after_tool: Function | None = None
