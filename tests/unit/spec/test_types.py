from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.types import (
    ANY,
    BOOLEAN,
    DURATION,
    FILE,
    FILE_FIELDS,
    INTEGER,
    NEVER,
    NO_DEFAULT,
    NULL,
    NUMBER,
    OPEN_OBJECT,
    STRING,
    TIMESTAMP,
    EnumType,
    Faceted,
    Facets,
    ListType,
    Nullable,
    ObjectType,
    SchemaType,
    Type,
    TypeProblem,
    assignable,
    bare,
    check_value,
    enum_base,
    facets_of,
    from_schema,
    is_closed,
    join,
    may_be_null,
    nullable,
    parse_type,
    parse_type_all,
    shape_value,
    to_schema,
    with_facets,
    without_null,
)

NAMES = {"brief": ObjectType({"title": STRING})}


def typed(form: Any) -> Type:
    return parse_type(form, names=NAMES)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("string", STRING),
        ("any", ANY),
        ("any?", ANY),
        ("string?", Nullable(STRING)),
        ("string??", Nullable(STRING)),
        (" string ", STRING),
        ("brief", NAMES["brief"]),
        ("brief?", Nullable(NAMES["brief"])),
        (["string"], ListType(STRING)),
        (["string?"], ListType(Nullable(STRING))),
        ("[string]?", Nullable(ListType(STRING))),
        ("[ [ integer ? ] ]", ListType(ListType(Nullable(INTEGER)))),
        ("{}", ObjectType({})),
        ("{a: string, b?: [integer]}", ObjectType({"a": STRING, "b": ListType(INTEGER)}, frozenset({"b"}))),
        ("{a: {b: file},}?", Nullable(ObjectType({"a": ObjectType({"b": FILE})}))),
        ({}, ObjectType({})),
        ({"a": "string", "b?": "integer?"}, ObjectType({"a": STRING, "b": INTEGER}, frozenset({"b"}))),
        ({"type?": "string"}, ObjectType({"type": STRING}, frozenset({"type"}))),
        ({"object": {"type": "string", "enum": "any"}}, ObjectType({"type": STRING, "enum": ANY})),
        ({"object": "string"}, ObjectType({"object": STRING})),
        ({"object": {"a": "string"}, "b": "string"}, ObjectType({"object": ObjectType({"a": STRING}), "b": STRING})),
        ({"type": "integer"}, INTEGER),
        ({"type": {"a": "string"}, "description": "d"}, Faceted(ObjectType({"a": STRING}), Facets(description="d"))),
        (
            {"type": "integer", "default": 5, "minimum": 1, "maximum": 20, "env": "N"},
            Faceted(INTEGER, Facets(default=5, minimum=1, maximum=20, env="N")),
        ),
        (
            {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^a"},
            Faceted(STRING, Facets(min_length=1, max_length=5, pattern="^a")),
        ),
        ({"type": ["any"], "minItems": 1, "maxItems": 2}, Faceted(ListType(ANY), Facets(min_items=1, max_items=2))),
        ({"type": "any", "minimum": 1}, Faceted(ANY, Facets(minimum=1))),
        ({"type": "number?", "minimum": 0.5}, Faceted(Nullable(NUMBER), Facets(minimum=0.5))),
        ({"type": "string?", "default": None}, Faceted(Nullable(STRING), Facets(default=None))),
        ({"type": "file", "default": "./a.txt"}, Faceted(FILE, Facets(default="./a.txt"))),
        ({"enum": ["x", "y"]}, EnumType(("x", "y"))),
        ({"enum": [1, 1.5, True, "1"]}, EnumType((1, 1.5, True, "1"))),
        ({"enum": ["x", None]}, Nullable(EnumType(("x",)))),
        ({"type": "string?", "enum": ["x"]}, Nullable(EnumType(("x",)))),
        ({"enum": ["x"], "default": "x"}, Faceted(EnumType(("x",)), Facets(default="x"))),
        ({"schema": {"type": "string"}}, SchemaType({"type": "string"})),
        ({"schema": True}, ANY),
        (
            {"schema": {"type": "integer"}, "default": 1},
            Faceted(SchemaType({"type": "integer"}), Facets(default=1)),
        ),
    ],
)
def test_parse_type(form: Any, wanted: Type) -> None:
    assert typed(form) == wanted


@pytest.mark.parametrize(
    ("form", "path", "says", "hint"),
    [
        ("strng", (), "unknown type 'strng'", "'string'"),
        ("brif", (), "unknown type 'brif'", "'brief'"),
        ("zzz", (), "unknown type 'zzz'", "known types: string"),
        ("int", (), "unknown type 'int'", "write integer"),
        ("object", (), "unknown type", "any"),
        ("Array", (), "unknown type", "[TYPE]"),
        ("", (), "a type is missing", "string integer"),
        ("?", (), "a type is missing", None),
        ("[" * 65 + "]" * 65, (), "a type nests at most 64 deep", "name the inner types"),
        ("[string", (), "']' is missing", None),
        ("string]", (), "too much", None),
        ("{a string}", (), "name: TYPE", None),
        ("{a: string b: string}", (), "'}' is missing", None),
        ("{a: zzz}", (), "unknown type 'zzz'", None),
        ("{a: string, a?: string}", (), "stands twice", None),
        ("[zzz]", (), "unknown type", None),
        (5, (), "5 is not a type", "string integer"),
        (None, (), "null is not a type", None),
        ([], (), "exactly one type", "[string]"),
        (["a", "b"], (), "exactly one type", "[string]"),
        ([["zzz"]], (0, 0), "unknown type", None),
        ({"a": {"b": "zzz"}}, ("a", "b"), "unknown type", None),
        ({"object": {"a": "zzz"}}, ("object", "a"), "unknown type", None),
        ({"?": "string"}, ("?",), "a field needs a name", None),
        ({"a": "string", "a?": "string"}, ("a?",), "stands twice", None),
        ({"type": "zzz"}, ("type",), "unknown type", None),
        ({"type": "string", "minimun": 1}, ("minimun",), "unknown facet", "'minimum'"),
        ({"type": "string", "name": "string"}, ("name",), "unknown facet", "object"),
        ({"type": "string", "schema": {}}, (), "not both", None),
        ({"type": "string", "description": 1}, ("description",), "is text", None),
        ({"type": "string", "env": "A-B"}, ("env",), "environment variable", None),
        ({"type": "string", "env": 1}, ("env",), "environment variable", None),
        ({"type": "integer", "minimum": "1"}, ("minimum",), "is a number", None),
        ({"type": "integer", "minimum": True}, ("minimum",), "is a number", None),
        ({"type": "string", "minLength": -1}, ("minLength",), "not below 0", None),
        ({"type": "string", "maxLength": 1.5}, ("maxLength",), "whole number", None),
        ({"type": ["any"], "minItems": "1"}, ("minItems",), "whole number", None),
        ({"type": "string", "minimum": 1}, ("minimum",), "for numbers, not for string", None),
        ({"type": "integer", "pattern": "a"}, ("pattern",), "for text", None),
        ({"type": "integer", "maxItems": 1}, ("maxItems",), "for lists", None),
        ({"type": "string", "pattern": ""}, ("pattern",), "not empty", None),
        ({"type": "string", "pattern": 1}, ("pattern",), "regular expression", None),
        ({"type": "string", "pattern": "("}, ("pattern",), "not valid", "RE2"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, ("minimum",), "over maximum", None),
        ({"type": ["any"], "minItems": 5, "maxItems": 1}, ("minItems",), "over maxItems", None),
        ({"type": "string", "minLength": 5, "maxLength": 1}, ("minLength",), "over maxLength", None),
        ({"type": "integer", "default": "x"}, ("default",), "the default does not fit `integer`", None),
        ({"type": "integer", "default": None}, ("default",), "the default does not fit", None),
        ({"type": "integer", "minimum": 5, "default": 1}, ("default",), "the default does not fit", None),
        ({"type": "string", "default": "${{ x }}"}, ("default",), "literal", None),
        ({"type": ["string"], "default": ["a ${{ x }}"]}, ("default",), "literal", None),
        ({"type": "file", "default": 1}, ("default",), "the default does not fit", None),
        ({"enum": []}, ("enum",), "list of the allowed values", "object"),
        ({"enum": "string"}, ("enum",), "list of the allowed values", "object"),
        ({"enum": [["x"]]}, ("enum", 0), "text, a number", None),
        ({"enum": [1, "1", 1.0]}, ("enum", 2), "stands twice", None),
        ({"type": "integer", "enum": ["x"]}, ("enum",), "not all of type integer", None),
        ({"type": "zzz", "enum": ["x"]}, ("type",), "unknown type", None),
        ({"schema": 5}, ("schema",), "JSON Schema: a mapping", None),
        ({"schema": {"type": "foo"}}, ("schema",), "not a JSON Schema", None),
        ({"schema": {"$ref": "https://example.com/x"}}, ("schema",), "not a JSON Schema", None),
        ({"schema": {"pattern": "(?=a)"}}, ("schema",), "not a JSON Schema", None),
    ],
)
def test_type_problems(form: Any, path: tuple[Any, ...], says: str, hint: str | None) -> None:
    with pytest.raises(TypeProblem) as caught:
        typed(form)
    problem = caught.value
    assert problem.path == path
    assert says in problem.message
    if hint is not None:
        assert problem.hint is not None
        assert hint in problem.hint


def test_all_problems_at_once() -> None:
    type_, problems = parse_type_all({"a": "x", "b": ["y"], "c": {"type": "z", "foo": 1}}, {})
    assert type_ is None
    assert [problem.path for problem in problems] == [("a",), ("b", 0), ("c", "foo"), ("c", "type")]
    assert parse_type_all("string", {}) == (STRING, [])


@pytest.mark.parametrize(
    "form",
    [
        "string",
        "integer?",
        "[string]?",
        "{a: string, b?: [integer?], c: {d: file}}",
        "any",
        "[[boolean]]",
        "{}",
    ],
)
def test_what_is_printed_reads_back(form: str) -> None:
    assert str(typed(form)) == form
    assert str(typed(str(typed(form)))) == form


@pytest.mark.parametrize(
    ("type_", "shown"),
    [
        (EnumType(("x", 1)), 'enum("x", 1)'),
        (OPEN_OBJECT, "{...}"),
        (ObjectType({"a": STRING}, closed=False), "{a: string, ...}"),
        (Faceted(STRING, Facets(description="d")), "string"),
        (SchemaType({"type": "string"}), "string"),
        (SchemaType({"not": {}}), "schema"),
        (TIMESTAMP, "timestamp"),
        (DURATION, "duration"),
        (NULL, "null"),
        (NEVER, "any"),
    ],
)
def test_str(type_: Type, shown: str) -> None:
    assert str(type_) == shown


FACETED = Faceted(INTEGER, Facets(description="d", minimum=1, maximum=5, default=3))


@pytest.mark.parametrize(
    ("type_", "schema"),
    [
        (ANY, {}),
        (STRING, {"type": "string"}),
        (INTEGER, {"type": "integer"}),
        (NUMBER, {"type": "number"}),
        (BOOLEAN, {"type": "boolean"}),
        (NULL, {"type": "null"}),
        (Nullable(STRING), {"type": ["string", "null"]}),
        (Nullable(ListType(STRING)), {"type": ["array", "null"], "items": {"type": "string"}}),
        (Nullable(EnumType(("a",))), {"enum": ["a", None]}),
        (EnumType(("a", 1)), {"enum": ["a", 1]}),
        (FACETED, {"type": "integer", "description": "d", "minimum": 1, "maximum": 5, "default": 3}),
        (
            Nullable(ObjectType({"a": STRING})),
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"a": {"type": "string"}},
                        "required": ["a"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            },
        ),
        (
            ObjectType({"a": STRING, "b": INTEGER}, frozenset({"b"})),
            {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}},
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (OPEN_OBJECT, {"type": "object", "properties": {}}),
    ],
)
def test_schemas(type_: Type, schema: dict[str, Any]) -> None:
    assert to_schema(type_) == schema
    assert from_schema(schema) == type_


def test_schemas_of_what_reads_back_otherwise() -> None:
    assert to_schema(TIMESTAMP) == to_schema(DURATION) == {"type": "string"}
    raw = {"type": "string", "format": "email"}
    assert to_schema(SchemaType(raw)) == raw
    assert from_schema(to_schema(FILE)) == FILE
    assert set(to_schema(FILE)["required"]) == set(FILE_FIELDS)
    with pytest.raises(TypeError, match="Type is no type"):
        to_schema(Type())


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (True, "any"),
        (False, "any"),
        ({"not": {"type": "string"}}, "any"),
        ({"type": ["string", "integer"]}, "any"),
        ({"type": ["integer", "number", "null"]}, "number?"),
        ({"type": []}, "any"),
        ({"type": "odd"}, "any"),
        ({"type": 5}, "any"),
        ({"type": [5]}, "any"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string?"),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, 'enum("a", "b")'),
        ({"anyOf": []}, "any"),
        ({"enum": [None]}, "null"),
        ({"enum": [[1], "a"]}, "any"),
        ({"enum": []}, "any"),
        ({"enum": "a"}, "any"),
        ({"const": None}, "null"),
        ({"type": "array"}, "[any]"),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, "[any]"),
        ({"type": "object"}, "{...}"),
        ({"type": "object", "properties": 5}, "{...}"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}, "{a?: string}"),
        (
            {
                "type": "object",
                "properties": {"a": {}},
                "patternProperties": {"x": {}},
                "additionalProperties": False,
                "required": "a",
            },
            "{a?: any, ...}",
        ),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "string"),
        ({"$ref": "#/$defs/a~1b~0", "$defs": {"a/b~": {"type": "string"}}}, "string"),
        ({"$ref": "#/$defs/zzz", "$defs": {}}, "any"),
        ({"$ref": "https://example.com"}, "any"),
        ({"$ref": 5}, "any"),
        (
            {
                "type": "array",
                "items": {"$ref": "#/$defs/n"},
                "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
            },
            "[[any]]",
        ),
    ],
)
def test_from_schema_never_says_too_much(schema: Any, shown: str) -> None:
    assert str(from_schema(schema)) == shown


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("string", "string", "string"),
        ("integer", "number", "number"),
        ("string", "integer", "any"),
        ("string?", "string", "string?"),
        ("[integer]", "[number]", "[number]"),
        ("[integer]", "string", "any"),
        ("{a: string}", "{a: string, b: integer}", "{a: string, b?: integer}"),
        ("{a: integer}", "{a: number}", "{a: number}"),
        ("{a?: integer}", "{a: integer}", "{a?: integer}"),
        ("any", "string", "any"),
        ("file", "file", "file"),
        ("file", "string", "any"),
    ],
)
def test_join(a: str, b: str, wanted: str) -> None:
    assert str(join(typed(a), typed(b))) == wanted
    assert assignable(typed(a), join(typed(a), typed(b)))
    assert assignable(typed(b), join(typed(a), typed(b)))


def test_join_of_what_has_no_shorthand() -> None:
    assert join(NULL, STRING) == join(STRING, NULL) == Nullable(STRING)
    assert join(NEVER, STRING) == join(STRING, NEVER) == STRING
    assert join(EnumType(("a",)), EnumType(("b", "a"))) == EnumType(("a", "b"))
    assert join(EnumType(("a",)), STRING) == join(STRING, EnumType(("a",))) == STRING
    assert join(EnumType((1,)), NUMBER) == NUMBER
    assert join(FACETED, INTEGER) == INTEGER
    open_a = ObjectType({"a": INTEGER, "c": STRING}, closed=False)
    assert join(open_a, ObjectType({"a": NUMBER, "b": STRING})) == ObjectType({"a": NUMBER}, closed=False)


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("string", "string", True),
        ("string", "any", True),
        ("any", "string", True),
        ("integer", "number", True),
        ("number", "integer", False),
        ("string", "string?", True),
        ("string?", "string", False),
        ("integer?", "number?", True),
        ("[integer]", "[number]", True),
        ("[number]", "[integer]", False),
        ("[string]", "string", False),
        ("{a: string}", "{a: string, b?: integer}", True),
        ("{a: string}", "{a: string, b: integer}", False),
        ("{a: string, b: integer}", "{a: string}", False),
        ("{a?: string}", "{a: string}", False),
        ("{a?: string}", "{a: string?}", True),
        ("{a: string?}", "{a?: string}", True),
        ("{a: integer}", "{a: string}", False),
        ("file", "string", False),
    ],
)
def test_assignable(a: str, b: str, wanted: bool) -> None:
    assert assignable(typed(a), typed(b)) is wanted


def test_assignable_of_what_has_no_shorthand() -> None:
    ship = EnumType(("ship",))
    both = EnumType(("ship", "stop"))
    assert assignable(ship, both)
    assert not assignable(both, ship)
    assert assignable(both, STRING)
    assert not assignable(both, INTEGER)
    assert not assignable(STRING, both)
    assert assignable(NULL, Nullable(STRING))
    assert not assignable(NULL, STRING)
    assert assignable(FACETED, INTEGER)
    assert assignable(INTEGER, FACETED)
    assert assignable(OPEN_OBJECT, ObjectType({"a": STRING}))
    assert assignable(ObjectType({"a": STRING}), OPEN_OBJECT)
    assert assignable(SchemaType({"type": "string"}), STRING)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("string", True),
        ("any", False),
        ("[any]", False),
        ("{a: any}", False),
        ("{a: [file]}?", True),
        ({"schema": {"type": "object"}}, False),
        ({"enum": ["x"]}, True),
    ],
)
def test_is_closed(form: Any, wanted: bool) -> None:
    assert is_closed(typed(form)) is wanted


def test_facets() -> None:
    assert facets_of(FACETED).minimum == 1
    assert facets_of(STRING) == Facets()
    assert facets_of(STRING).default is NO_DEFAULT
    assert repr(NO_DEFAULT) == "NO_DEFAULT"
    assert with_facets(STRING, Facets()) == STRING
    assert with_facets(FACETED, Facets(maximum=9)) == Faceted(
        INTEGER, Facets(description="d", minimum=1, maximum=9, default=3)
    )
    assert nullable(FACETED) == Faceted(Nullable(INTEGER), FACETED.facets)
    assert bare(FACETED) == INTEGER
    assert hash(FACETED) == hash(Faceted(INTEGER, FACETED.facets))


def test_null() -> None:
    assert may_be_null(NULL)
    assert may_be_null(Nullable(STRING))
    assert not may_be_null(ANY)
    assert without_null(Nullable(STRING)) == STRING
    assert without_null(STRING) == STRING
    assert enum_base(()) == ANY
    assert enum_base((True, None)) == Nullable(BOOLEAN)


@pytest.mark.parametrize(
    ("form", "value", "problems"),
    [
        ({"a": "integer"}, {"a": 1}, []),
        ({"a": "integer"}, {"a": "x"}, ['/a: "x" is not of type "integer"']),
        ("string", 1, ['1 is not of type "string"']),
        ({"a/b": ["string"]}, {"a/b": ["x", 1]}, ['/a~1b/1: 1 is not of type "string"']),
        ({"type": "string", "pattern": "^a"}, "b", ['"b" does not match "^a"']),
    ],
)
def test_check_value(form: Any, value: Any, problems: list[str]) -> None:
    assert check_value(to_schema(typed(form)), value) == problems


def test_patterns_of_schemas_are_linear_in_time() -> None:
    begun = time.perf_counter()
    assert check_value({"pattern": "(a+)+$"}, "a" * 100_000 + "b")
    assert time.perf_counter() - begun < 10


def test_many_schemas_can_be_used() -> None:
    for number in range(600):
        assert not check_value({"const": number}, number)
    assert not check_value({"const": 0}, 0)


@pytest.mark.parametrize(
    ("schema", "value", "wanted"),
    [
        (to_schema(typed({"a": "string", "b?": "integer"})), {"a": "x", "b": None, "c": 1}, {"a": "x"}),
        (to_schema(typed({"a": "string?"})), {"a": None}, {"a": None}),
        (to_schema(typed([{"a": "integer"}])), [{"a": 1.0, "z": 1}], [{"a": 1}]),
        (to_schema(typed("integer?")), 2.0, 2),
        (to_schema(typed("number")), 2.0, 2.0),
        (to_schema(typed("integer")), 2.5, 2.5),
        (to_schema(typed("{a: {b: string}?}?")), {"a": {"b": "x", "c": 1}, "d": 2}, {"a": {"b": "x"}}),
        (to_schema(typed("any")), {"a": {"b": None}}, {"a": {"b": None}}),
        ({"type": "object", "properties": {"a": {}}}, {"a": 1, "b": None}, {"a": 1, "b": None}),
        ({"type": ["integer", "number"]}, 2.0, 2.0),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 2.0, 2.0),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),
        ({"items": {"$ref": "#/$defs/i"}, "$defs": {"i": {"type": "integer"}}}, [1.0], [1]),
        ({"$ref": "#/$defs/none", "$defs": {}}, 1.0, 1.0),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"a": 1.0}, {"a": 1.0}),
        ({"prefixItems": [{"type": "integer"}]}, [1.0], [1.0]),
        (to_schema(typed({"a": "integer"})), "no object", "no object"),
    ],
)
def test_shape_value(schema: dict[str, Any], value: Any, wanted: Any) -> None:
    found = shape_value(schema, value)
    assert found == wanted
    assert repr(found) == repr(wanted)


def test_a_schema_inside_a_type_keeps_its_own_references() -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    schema = to_schema(typed({"a": {"schema": tree}, "b": [{"schema": tree}]}))
    assert not check_value(schema, {"a": {"next": {}}, "b": [{"next": {"next": {}}}]})
    assert check_value(schema, {"a": {"next": 1}, "b": []})
    assert check_value(schema, {"a": {}, "b": [{"next": {"next": 1}}]})
    whole = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}
    schema = to_schema(typed({"a": {"type": {"b": {"schema": whole}}}, "c?": {"schema": whole, "description": "d"}}))
    assert shape_value(schema, {"a": {"b": 1.0}, "c": 2.0}) == {"a": {"b": 1}, "c": 2}
    assert repr(shape_value(schema, {"a": {"b": 1.0}, "c": 2.0})) == "{'a': {'b': 1}, 'c': 2}"
    assert str(from_schema(schema)) == "{a: {b: integer}, c?: integer}"


SIMPLE = st.sampled_from([STRING, INTEGER, NUMBER, BOOLEAN, ANY, FILE, EnumType(("x", "y"))])


def _nest(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    fields = st.dictionaries(st.sampled_from("abc"), inner.map(without_null), max_size=3)
    return st.one_of(
        inner.map(nullable),
        inner.map(ListType),
        fields.map(ObjectType),
        fields.map(lambda found: ObjectType(found, frozenset(found))),
        fields.map(lambda found: ObjectType(found, closed=False)),
    )


TYPES = st.recursive(SIMPLE, _nest, max_leaves=6)


@given(TYPES)
def test_schemas_read_back(type_: Type) -> None:
    assert from_schema(to_schema(type_)) == type_


@given(TYPES, TYPES)
def test_join_has_the_values_of_both(a: Type, b: Type) -> None:
    joined = join(a, b)
    assert assignable(a, joined)
    assert assignable(b, joined)
    assert join(a, a) == a


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "enum", "schema", "object", "default", "minimum", "a?", "pattern"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_data_is_a_type_or_has_problems(data: Any) -> None:
    type_, problems = parse_type_all(data, {})
    assert (type_ is None) == bool(problems)


def test_a_schema_that_is_no_plain_object_is_used_as_one() -> None:
    class Own(dict[str, object]):
        """As readers of files make them."""

    assert check_value(Own(type="string"), "a") == []
    assert check_value(Own(type="string"), 1) == ['1 is not of type "string"']
