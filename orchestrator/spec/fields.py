"""The kinds of values that fields of a pipeline file take, and the base of its models.

Every problem is raised with a code of ``spec/codes.py`` as pydantic's error type, so that ``spec/shape.py`` makes one
diagnostic out of each. Unions are told apart by the shape of the value (text, list, mapping, …) and never by trial, so
a value has one problem, not one per member. Large unions are named types, which pydantic builds once and not at each
use. Tags of unions start with NUL, which no YAML text holds: they are dropped from pydantic's locations without doubt.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

# pydantic would load every plug-in that is installed, named by no one, and take 15 ms for it.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

Path: TypeAlias = tuple[str | int, ...]

NAME: Final = r"[a-z][a-z0-9_]*"
_NAME: Final = re.compile(NAME)
_LONG_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TYPE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\??")
_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_REFERENCE: Final = re.compile(rf"{NAME}(?:\.[A-Za-z0-9_][A-Za-z0-9_./-]*)?")
_DURATION: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?",
    re.ASCII,
)
_UNITS: Final = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000)
_LONGEST: Final = 36_500 * _UNITS[0]
MAX_NAME: Final = 128
OPENING: Final = "${{"


def key_of(name: str) -> str:
    """The key in the file of a model's field."""
    return name.removesuffix("_")


def _forbid_nulls(schema: dict[str, Any]) -> None:
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    for entry in schema["fields"].values():
        default = entry["schema"]
        if default["type"] == "default" and default["schema"]["type"] == "nullable":
            default["schema"] = default["schema"]["schema"]


class Model(BaseModel):
    """A frozen mapping of the file, closed, whose ``at`` is its path in the file's data.

    Python words get a trailing underscore: ``step.if_`` is the field ``if``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        alias_generator=key_of,
    )
    _at: Path = PrivateAttr(default=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A field that may be left out may not be null: an empty field is a mistake, and not a field left out."""
        schema = handler(source)
        _forbid_nulls(cast("dict[str, Any]", schema))
        return schema

    @property
    def at(self) -> Path:
        """Where this mapping stands in the data: ``loaded.mark(model.at + ("field",))`` is the place of a field."""
        return self._at

    def place(self, path: Path) -> None:
        """Say where the mapping stands. For ``spec/shape.py``, once."""
        self._at = path


def refuse(code: str, message: str, field: str | None = None) -> PydanticCustomError:
    """A problem of a mapping as a whole, that stands at one of its fields."""
    return PydanticCustomError(cast("Any", code), "{message}", {"message": message, "field": field})


def either(*names: str) -> ConfigDict:
    """How the published schema says that exactly one of some fields is needed."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


def one_of(model: Model, *names: str) -> None:
    """Refuse a mapping that does not have exactly one of some fields."""
    given = [name for name in names if name in {key_of(each) for each in model.model_fields_set}]
    if len(given) == 1:
        return
    listed = " or ".join(f"`{name}`" for name in names)
    raise refuse("E109", f"exactly one of {listed} is needed", given[1] if given else None)


def _no_code(what: str) -> Any:
    """Refuse an expression where its value could become code: in a text, or in the first item of a list."""

    def check(value: Any) -> Any:
        text = value[0] if isinstance(value, list) and value else value
        if isinstance(text, str) and OPENING in text:
            context = {"what": what, "offset": text.index(OPENING), "item": isinstance(value, list)}
            raise PydanticCustomError("E126", "no `${{ }}` in {what}: a value must not become code", context)
        return value

    return AfterValidator(check)


def shape(value: Any) -> str:
    """The tag of a value's shape, for unions."""
    match value:
        case bool():
            return "\0flag"
        case str():
            return "\0text"
        case int() | float():
            return "\0number"
        case list():
            return "\0list"
        case dict() | BaseModel():
            # What was read is asked for its shape, too, when it is written out again.
            return "\0map"
        case _:
            return "\0nothing"


BY_SHAPE: Final = Discriminator(shape)
TEXT: Final = Tag("\0text")
NUMBER: Final = Tag("\0number")
FLAG: Final = Tag("\0flag")
LIST: Final = Tag("\0list")
MAP: Final = Tag("\0map")


def _named(pattern: re.Pattern[str], rule: str) -> Any:
    def check(text: str) -> str:
        if len(text) > MAX_NAME:
            longest = f"it has {len(text)} characters, and {MAX_NAME} is the most"
            raise PydanticCustomError("E108", "`{name}…` is not a name: {rule}", {"name": text[:40], "rule": longest})
        if not pattern.fullmatch(text):
            raise PydanticCustomError("E108", "`{name}` is not a name: {rule}", {"name": text[:80], "rule": rule})
        return text

    return AfterValidator(check)


Name: TypeAlias = Annotated[
    str,
    _named(_NAME, "small letters, digits and `_`, a letter first"),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME}$", "maxLength": MAX_NAME}),
]
LongName: TypeAlias = Annotated[
    str,
    _named(_LONG_NAME, "letters, digits, `_`, `-` and `.`"),
    WithJsonSchema({"type": "string", "pattern": f"^{_LONG_NAME.pattern}$", "maxLength": MAX_NAME}),
]
TypeName: TypeAlias = Annotated[
    str,
    _named(_TYPE_NAME, "letters, digits and `_`, a letter first"),
    WithJsonSchema({"type": "string", "pattern": f"^{_TYPE_NAME.pattern}$", "maxLength": MAX_NAME}),
]
SecretName: TypeAlias = Annotated[
    str,
    _named(_VARIABLE, "the name of a variable, with `?` behind it where it is optional"),
    WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$", "maxLength": MAX_NAME}),
]
Function: TypeAlias = Annotated[
    str,
    _named(_FUNCTION, "`module:function`"),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"}),
]
ToolName: TypeAlias = Annotated[
    str,
    _named(_REFERENCE, "the name of a tool, or `name.tool` for one tool of a server"),
    WithJsonSchema({"type": "string", "pattern": f"^{_REFERENCE.pattern}$"}),
]


def _no_expression(text: str) -> str:
    if OPENING in text:
        raise PydanticCustomError("E126", "no `${{ }}` here: names and source paths are fixed")
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise PydanticCustomError("E107", "the text is empty")
    return text


def _with_expression(text: str) -> str:
    if OPENING not in text:
        raise PydanticCustomError("E106", "expected a number, or `${{ … }}` over `inputs`; found text")
    return text


def parse_duration(value: Any) -> int:
    """Microseconds of ``1h30m``: units ``d h m s ms`` in this order, each at most once. PydanticCustomError else."""
    if not isinstance(value, str):
        hint = f": write `{value}s`, with a unit" if isinstance(value, int | float) else ""
        raise PydanticCustomError("E120", "not a duration{hint}", {"hint": hint})
    match = _DURATION.fullmatch(value) if len(value) <= MAX_NAME else None
    if match is None or not value:
        raise PydanticCustomError("E120", "`{text}` is not a duration, as `1h30m` is", {"text": value[:80]})
    total = sum(Decimal(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part is not None)
    if total > _LONGEST:
        raise PydanticCustomError("E120", "`{text}` is longer than 100 years", {"text": value[:80]})
    return int(total)


def _duration_or_text(value: Any) -> int | str:
    return value if isinstance(value, str) and OPENING in value else parse_duration(value)


_DURATION_SCHEMA: Final = {
    "type": "string",
    "pattern": r"^(?=.)(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?$",
    "description": "A duration: `1h30m`, with units d h m s ms",
}
_EXPRESSION_SCHEMA: Final = {"type": "string", "pattern": r"\$\{\{"}

Duration: TypeAlias = Annotated[int, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
"""Microseconds."""

DurationOrText = TypeAliasType(
    "DurationOrText",
    Annotated[
        int | str,
        BeforeValidator(_duration_or_text),
        WithJsonSchema({"anyOf": [_DURATION_SCHEMA, _EXPRESSION_SCHEMA]}),
    ],
)
"""Microseconds, or text that holds ``${{ … }}``."""

Text: TypeAlias = str
"""Text that may hold ``${{ … }}``."""

FixedText: TypeAlias = Annotated[
    str,
    AfterValidator(_not_empty),
    AfterValidator(_no_expression),
    WithJsonSchema({"type": "string", "minLength": 1, "not": _EXPRESSION_SCHEMA}),
]
"""Text without ``${{ … }}``: names, keys, source paths."""

FullText: TypeAlias = Annotated[str, AfterValidator(_not_empty), WithJsonSchema({"type": "string", "minLength": 1})]
"""Text that may hold ``${{ … }}``, not empty."""

_CODE_SCHEMA: Final = {"type": "string", "minLength": 1, "not": _EXPRESSION_SCHEMA}
Script: TypeAlias = Annotated[FullText, _no_code("a script"), WithJsonSchema(_CODE_SCHEMA)]
Statement: TypeAlias = Annotated[FullText, _no_code("a statement"), WithJsonSchema(_CODE_SCHEMA)]
Command: TypeAlias = Annotated[list[Any], Field(min_length=1), _no_code("the name of a command")]
"""A command and its arguments, which may hold ``${{ … }}``."""

Launcher: TypeAlias = Annotated[list[Text], Field(min_length=1), _no_code("the name of a command")]

Count: TypeAlias = Annotated[int, Field(ge=0)]
Positive: TypeAlias = Annotated[int, Field(ge=1)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Limit = TypeAliasType(
    "Limit",
    Annotated[
        Annotated[Positive, NUMBER]
        | Annotated[str, AfterValidator(_with_expression), WithJsonSchema(_EXPRESSION_SCHEMA), TEXT],
        BY_SHAPE,
    ],
)
"""A whole number from 1, or text with ``${{ … }}`` over ``inputs``."""

Expr = TypeAliasType(
    "Expr",
    Annotated[
        Annotated[FullText, TEXT] | Annotated[bool, FLAG] | Annotated[float, NUMBER] | Annotated[list[Any], LIST],
        BY_SHAPE,
    ],
)
"""One bare expression; booleans, numbers and lists of YAML are literals."""

Type: TypeAlias = Annotated[
    Any,
    WithJsonSchema({"x-type": True}),
]
"""A TYPE as plain data: ``spec/types.py`` reads it."""

Effect: TypeAlias = Literal["read", "idempotent", "write"]
Sandbox: TypeAlias = Literal["none", "preferred", "required"]


Env = TypeAliasType(
    "Env",
    Annotated[
        Annotated[list[SecretName], LIST] | Annotated[dict[str, Any], MAP],
        BY_SHAPE,
    ],
)
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


Part = TypeAliasType(
    "Part",
    Annotated[
        Annotated[str, Tag("\0plain")]
        | Annotated[TextPart, TEXT]
        | Annotated[EachPart, Tag("\0each")]
        | Annotated[FilePart, Tag("\0file")]
        | Annotated[TemplatePart, Tag("\0template")],
        Discriminator(part_shape),
    ],
)

Prompt = TypeAliasType(
    "Prompt",
    Annotated[
        Annotated[str, TEXT] | Annotated[list[Part], LIST],
        BY_SHAPE,
    ],
)
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
