"""What each function takes, for the checker, the evaluator and the reference alike.

A parameter lists the kinds that it takes, ``|`` between them: ``text integer number boolean list object timestamp
duration value`` (``value`` is anything but null, ``any`` is null as well).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Signature:
    """One function. ``least`` counts the arguments that must be given; the last parameter repeats if ``repeats``."""

    name: str
    params: tuple[frozenset[str], ...]
    least: int
    repeats: bool
    usage: str
    summary: str
    example: str

    def accepts(self, count: int) -> bool:
        """Whether so many arguments are right."""
        return self.least <= count and (self.repeats or count <= len(self.params))

    def param(self, index: int) -> frozenset[str]:
        """The kinds of one argument."""
        return self.params[min(index, len(self.params) - 1)]


def _signature(usage: str, params: str, summary: str, example: str, *, least: int | None = None) -> Signature:
    words = params.split()
    repeats = bool(words) and words[-1] == "*"
    kinds = tuple(frozenset(word.split("|")) for word in words if word != "*")
    name = usage.partition("(")[0]
    return Signature(name, kinds, len(kinds) if least is None else least, repeats, usage, summary, example)


_SCALAR: Final = "text|integer|number|boolean"
_ORDERED: Final = "text|integer|number|boolean|timestamp|duration"

FUNCTIONS: Final[Mapping[str, Signature]] = {
    signature.name: signature
    for signature in (
        _signature("size(x)", "text|list|object", "Characters of a text, items of a list, fields of an object.",
                   "size('héllo') == 5"),
        _signature("has(x)", "any", "Whether there is a value: false for null, for absent, and for a field of either.",
                   "has({'a': null}.a) == false"),
        _signature("default(a, b, ...)", "any any *", "The first that is neither null nor absent; else the last.",
                   "default(null, 'none') == 'none'", least=2),
        _signature("compact(list)", "list", "The list without its nulls.", "compact([1, null, 2]) == [1, 2]"),
        _signature("string(x)", "value", "As text: a whole number has no fraction, lists and objects are JSON.",
                   "string(2.0) == '2'"),
        _signature("int(x)", "integer|number|text|timestamp",
                   "A whole number: of a number without its fraction, of text in decimal digits, of a moment in "
                   "seconds since 1970.",
                   "int('-7') == -7"),
        _signature("double(x)", "integer|number|text|duration", "A number; of a duration, its seconds.",
                   "double(duration('1m30s')) == 90.0"),
        _signature("bool(x)", "boolean|text", "true of 'true', 't' and '1', false of 'false', 'f' and '0'.",
                   "bool('true') == true"),
        _signature("contains(text, part)", "text text", "Whether the part stands anywhere in the text.",
                   "'haystack'.contains('st') == true"),
        _signature("startsWith(text, part)", "text text", "Whether the text begins with the part.",
                   "'haystack'.startsWith('hay') == true"),
        _signature("endsWith(text, part)", "text text", "Whether the text ends with the part.",
                   "'haystack'.endsWith('stack') == true"),
        _signature("matches(text, pattern)", "text text",
                   "Whether the pattern (RE2) matches anywhere in the text; ^ and $ bind it to the ends.",
                   "'v1.2'.matches('^v[0-9]') == true"),
        _signature("split(text, separator, limit)", "text text integer",
                   "The pieces of a text; an empty separator gives its characters; at most `limit` pieces, if "
                   "that is not negative.",
                   "'a,b,c'.split(',') == ['a', 'b', 'c']", least=2),
        _signature("join(list, separator)", "list text", "The items, which are scalars, as one text.",
                   "['a', 'b'].join('-') == 'a-b'", least=1),
        _signature("trim(text)", "text", "The text without white space at its ends.", "trim('  a ') == 'a'"),
        _signature("lower(text)", "text", "The text in lower case.", "lower('ÀB') == 'àb'"),
        _signature("upper(text)", "text", "The text in upper case.", "upper('àb') == 'ÀB'"),
        _signature("replace(text, old, new, limit)", "text text text integer",
                   "The text with `old` replaced by `new`, at most `limit` times, if that is not negative.",
                   "'a.b.c'.replace('.', '-') == 'a-b-c'", least=3),
        _signature("json(x)", "any",
                   "Canonical JSON: keys sorted, no white space.", "json({'a': [1]}) == '{\"a\":[1]}'"),
        _signature("parse_json(text)", "text", "The value of a JSON text, of type any.", "parse_json('[1]')[0] == 1"),
        _signature("base64(text)", "text", "Base64 of the text in UTF-8.", "base64('hi') == 'aGk='"),
        _signature("unbase64(text)", "text", "The UTF-8 text of some base64.", "unbase64('aGk=') == 'hi'"),
        _signature("url_encode(text)", "text", "Percent-encoded, `/` too.", "url_encode('a b/c') == 'a%20b%2Fc'"),
        _signature("min(a, b, ...)", f"list|{_ORDERED} {_ORDERED} *", "The least of some values, or of one list.",
                   "min([3, 1, 2]) == 1", least=1),
        _signature("max(a, b, ...)", f"list|{_ORDERED} {_ORDERED} *", "The greatest of some values, or of one list.",
                   "max(1, 2.5) == 2.5", least=1),
        _signature("sum(list)", "list", "The sum of a list of numbers; 0 of an empty one.", "sum([1, 2, 3]) == 6"),
        _signature("range(from, to)", "integer integer",
                   "The integers from `from` (0 if it is left out) to before `to`.",
                   "range(2, 5) == [2, 3, 4]", least=1),
        _signature("slice(x, from, to)", "text|list integer integer",
                   "The part of a text or a list from index `from` to before `to` (its end if left out), both cut "
                   "to what there is.",
                   "slice('abcdef', 1, 3) == 'bc'", least=2),
        _signature("flatten(list)", "list", "One list of the items of the lists in a list.",
                   "flatten([[1], [2, 3]]) == [1, 2, 3]"),
        _signature("distinct(list)", "list", "The list without repetitions, in the order of first appearance.",
                   "distinct([1, 2, 1]) == [1, 2]"),
        _signature("keys(object)", "object",
                   "The names of the fields, sorted.", "keys({'b': 1, 'a': 2}) == ['a', 'b']"),
        _signature("values(object)", "object", "The values of the fields, sorted by their names.",
                   "values({'b': 1, 'a': 2}) == [2, 1]"),
        _signature("object(pairs)", "list", "An object of a list of [key, value]; the last of equal keys wins.",
                   "object([['a', 1]]) == {'a': 1}"),
        _signature("sort(list)", "list", "The list in ascending order: numbers, texts, booleans, moments or durations.",
                   "sort([3, 1, 2]) == [1, 2, 3]"),
        _signature("timestamp(x)", "text|timestamp", "The moment of an RFC 3339 text.",
                   "timestamp('2026-01-31T12:00:00Z') > timestamp('2026-01-31T12:00:00+01:00')"),
        _signature("duration(x)", "text|duration", "The length of a text such as 1h30m (units: ms s m h d).",
                   "duration('90m') == duration('1h30m')"),
        _signature("now()", "", "The recorded moment at which the step became ready, as RFC 3339 text.",
                   "timestamp(now()) >= timestamp('1970-01-01T00:00:00Z')"),
        _signature("uuid()", "", "A UUID that is the same after a resume.", "size(uuid()) == 36"),
        _signature("hash(x)", "any", "SHA-256 of the canonical JSON, as 64 hex digits.",
                   "hash({'a': 1}).startsWith('015abd')"),
    )
}  # fmt: skip
"""All functions by name, in the order of the reference; macros stand in ``nodes.MACROS``."""

ALIASES: Final[Mapping[str, str]] = {
    "len": "size", "length": "size", "count": "size", "str": "string", "toString": "string", "float": "double",
    "number": "double", "boolean": "bool", "coalesce": "default", "format": "string", "toLower": "lower",
    "toUpper": "upper", "lowerAscii": "lower", "upperAscii": "upper", "strip": "trim", "toJSON": "json",
    "toJson": "json", "to_json": "json", "fromJSON": "parse_json", "fromJson": "parse_json", "from_json": "parse_json",
    "from_json_string": "parse_json", "jsonencode": "json", "jsondecode": "parse_json", "base64encode": "base64",
    "base64decode": "unbase64", "unique": "distinct", "uniq": "distinct", "starts_with": "startsWith",
    "ends_with": "endsWith", "regex": "matches", "match": "matches", "test": "matches", "includes": "contains",
    "any": "exists", "some": "exists", "every": "all", "select": "filter", "where": "filter", "sorted": "sort",
    "sortBy": "sort_by", "substring": "slice", "urlencode": "url_encode", "encodeURIComponent": "url_encode",
    "sha256": "hash", "merge": "object", "exist": "exists", "concat": "join",
}  # fmt: skip
"""What other languages call a function, for hints."""
