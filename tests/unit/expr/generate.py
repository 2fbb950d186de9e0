"""Random expressions, most of them well typed, over a fixed scope; and values for the names of that scope."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from orchestrator.spec.types import Type, parse_type

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

WORDS = [
    "",
    "a",
    "b",
    "ab",
    "abc",
    "a,b,c",
    "Hello World",
    " x ",
    "12",
    "-7",
    "1.5",
    "true",
    "héé",
    "ß",
    "日本",
    "/a b?",
    "{}",
]
MOMENTS = ["2026-01-31T12:00:00Z", "2024-02-29T23:59:59.5Z", "1969-12-31T23:00:00-01:00", "2026-01-31T13:00:00+01:00"]
LENGTHS = ["1h", "1h30m", "90m", "250ms", "0s", "-5m", "1.5h", "36h"]
PATTERNS = ["^a", "b+", "[0-9]+", "c$", "^$", "a|b", "(?i)HELLO", r"\\s", ".", "x{2,3}"]
JSON_TEXTS = ["[1,2]", '{"a":[true,null]}', "1.5", '"t"', "null", "-3"]

SCOPE_FORMS: dict[str, Any] = {
    "i": "integer",
    "j": "integer",
    "x": "number",
    "y": "number",
    "s": "string",
    "t": "string",
    "b": "boolean",
    "n": "integer?",
    "m": "string?",
    "li": ["integer"],
    "ln": ["number"],
    "ls": ["string"],
    "lni": ["integer?"],
    "lli": [["integer"]],
    "o": {"a": "integer", "s": "string", "q?": "integer"},
    "lo": [{"a": "integer", "s": "string", "q?": "integer"}],
    "e": {"enum": ["ship", "stop"]},
    "when": "string",
}
SCOPE: dict[str, Type] = {name: parse_type(form, names={}) for name, form in SCOPE_FORMS.items()}

KINDS = ("int", "num", "str", "bool", "ts", "dur", "li", "ln", "ls", "lli", "lo", "o")


def environment(rng: random.Random) -> dict[str, Any]:
    """Values for the scope."""

    def integer() -> int:
        return rng.choice([0, 1, 2, 3, -1, 7, -13, 100, rng.randint(-50, 50), 2**63 - 1, -(2**63)])

    def small() -> int:
        return rng.randint(-5, 9)

    def number() -> float:
        return rng.choice([0.0, 0.5, -1.5, 2.0, 3.25, 1e9, rng.randint(-99, 99) / 4])

    def text() -> str:
        return rng.choice(WORDS)

    def record() -> dict[str, Any]:
        made = {"a": small(), "s": text()}
        return made | rng.choice([{}, {"q": None}, {"q": small()}])

    return {
        "i": integer(),
        "j": small(),
        "x": number(),
        "y": number(),
        "s": text(),
        "t": text(),
        "b": rng.random() < 0.5,
        "n": rng.choice([None, small()]),
        "m": rng.choice([None, text()]),
        "li": [small() for _ in range(rng.randint(0, 4))],
        "ln": [number() for _ in range(rng.randint(0, 3))],
        "ls": [text() for _ in range(rng.randint(0, 4))],
        "lni": [rng.choice([None, small()]) for _ in range(rng.randint(0, 4))],
        "lli": [[small() for _ in range(rng.randint(0, 2))] for _ in range(rng.randint(0, 3))],
        "o": record(),
        "lo": [record() for _ in range(rng.randint(0, 3))],
        "e": rng.choice(["ship", "stop"]),
        "when": rng.choice(MOMENTS),
    }


_PLAIN = re.compile(r"[a-z_][a-z0-9_.]*|'[^']*'|\"[^\"]*\"")


def operand(text: str) -> str:
    """``text``, in parentheses unless it is a path, a constant text, or one pair of brackets."""
    if _PLAIN.fullmatch(text) or (text[0] in "[{(" and _closes(text, 0)):
        return text
    name = re.match(r"[a-zA-Z_0-9]+\(", text)
    return text if name and _closes(text, name.end() - 1) else f"({text})"


def _closes(text: str, start: int) -> bool:
    """Whether the bracket at ``start`` is closed by the last character."""
    depth, quote = 0, ""
    for at in range(start, len(text)):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return at == len(text) - 1
    return False


class Generator:
    """``expression(index)`` gives source; the index picks what stands at its root, so that nothing is left out.

    ``wrong`` is the chance, per place, that something of another type than is wanted stands there.
    """

    def __init__(self, rng: random.Random, wrong: float = 0.02) -> None:
        self.rng = rng
        self.wrong = wrong
        self.bound: dict[str, list[str]] = {}
        self.names = 0
        self.mistaken = False
        self.table: dict[str, list[Callable[[int], str]]] = {kind: [] for kind in KINDS}
        self._fill()
        self.roots = [(kind, make) for kind in KINDS for make in self.table[kind]]

    def expression(self, index: int) -> str:
        self.bound, self.names, self.mistaken = {}, 0, False
        kind, make = self.roots[index % len(self.roots)]
        del kind
        return make(self.rng.randint(1, 3))

    def of(self, kind: str, depth: int) -> str:
        """An operand: in parentheses unless it is plain."""
        return operand(self.bare(kind, depth))

    def bare(self, kind: str, depth: int) -> str:
        if self.rng.random() < self.wrong:
            self.mistaken = True
            kind = self.rng.choice(KINDS)
        if depth <= 0 or self.rng.random() < 0.2:
            return self.leaf(kind)
        return self.rng.choice(self.table[kind])(depth - 1)

    def leaf(self, kind: str) -> str:
        rng = self.rng
        mine = self.bound.get(kind, [])
        if mine and rng.random() < 0.7:
            return rng.choice(mine)
        named = {
            "int": ["i", "j", "j", "o.a", "size(s)"], "num": ["x", "y"], "str": ["s", "t", "o.s", "e"], "bool": ["b", "!b"],
            "ts": ["timestamp(when)"], "dur": [f"duration('{rng.choice(LENGTHS)}')"], "li": ["li"], "ln": ["ln"],
            "ls": ["ls"], "lli": ["lli"], "lo": ["lo"], "o": ["o"],
        }[kind]  # fmt: skip
        literal = {
            "int": lambda: str(rng.choice([0, 1, 2, 3, -1, -4, 10, 63, 9223372036854775807, "0x1F"])),
            "num": lambda: rng.choice(["0.5", "2.0", "-1.25", "1e3", ".5", "3.75", "0.0"]),
            "str": lambda: self.quoted(rng.choice(WORDS)),
            "bool": lambda: rng.choice(["true", "false"]),
            "ts": lambda: f"timestamp('{rng.choice(MOMENTS)}')",
            "dur": lambda: f"duration('{rng.choice(LENGTHS)}')",
            "li": lambda: rng.choice(["[1, 2]", "[3, -1, 3]", "[]"]),
            "ln": lambda: "[0.5, 2.0]",
            "ls": lambda: rng.choice(["['a', 'b']", "['b', 'a', 'b']", "['']"]),
            "lli": lambda: "[[1], [2, 3]]",
            "lo": lambda: "[{'a': 1, 's': 'x'}]",
            "o": lambda: "{'a': 2, 's': 'k'}",
        }[kind]
        return rng.choice(named) if rng.random() < 0.6 else literal()

    def quoted(self, text: str) -> str:
        quote = self.rng.choice(["'", '"'])
        return quote + text + quote

    def over(self, item: str, make: Callable[[str], str]) -> str:
        """A macro's variable and body: ``make`` gives the body for the variable."""
        name = f"v{self.names}"
        self.names += 1
        self.bound.setdefault(item, []).append(name)
        body = make(name)
        self.bound[item].remove(name)
        return f"{name}, {body}"

    def call(self, name: str, *args: str) -> str:
        first = args[0] if args else ""
        if args and self.rng.random() < 0.5:
            return f"{operand(first)}.{name}({', '.join(args[1:])})"
        return f"{name}({', '.join(args)})"

    def _fill(self) -> None:
        of, bare, call, over, rng = self.of, self.bare, self.call, self.over, self.rng

        def add(kind: str, *makes: Callable[[int], str]) -> None:
            self.table[kind].extend(makes)

        def binary(kind: str, operator: str, left: str, right: str) -> None:
            add(kind, lambda d: f"{of(left, d)} {operator} {of(right, d)}")

        def conditional(kind: str) -> None:
            add(kind, lambda d: f"{of('bool', d)} ? {of(kind, d)} : {of(kind, d)}")

        for kind in ("int", "num", "str", "bool", "li", "ls", "ts", "dur"):
            conditional(kind)
        for operator in "+-*/%%%":
            binary("int", operator, "int", "int")
        for operator in "+-*/":
            binary("num", operator, "num", "num")
        binary("num", "+", "int", "num")
        binary("num", "*", "num", "int")
        binary("str", "+", "str", "str")
        binary("li", "+", "li", "li")
        for left, right in (("ts", "dur"), ("dur", "ts")):
            binary("ts", "+", left, right)
        binary("ts", "-", "ts", "dur")
        binary("dur", "-", "ts", "ts")
        binary("dur", "-", "dur", "dur")
        binary("dur", "+", "dur", "dur")
        for operator in ("<", "<=", ">", ">="):
            for one, other in (
                ("int", "int"),
                ("num", "int"),
                ("str", "str"),
                ("ts", "ts"),
                ("dur", "dur"),
                ("bool", "bool"),
            ):
                binary("bool", operator, one, other)
        for operator in ("==", "!="):
            for kind in ("int", "num", "str", "bool", "li", "lli", "o", "ts", "dur"):
                binary("bool", operator, kind, kind)
            add("bool", lambda d, operator=operator: f"{rng.choice(['n', 'm', 'o.q', 'i', 'ls'])} {operator} null")
            add("bool", lambda d, operator=operator: f"e {operator} 'ship'")
        for operator in ("&&", "||"):
            for _ in range(4):
                binary("bool", operator, "bool", "bool")
        add("bool", lambda d: f"!{of('bool', d)}", lambda d: f"n != null && n > {of('int', d)}")
        for _ in range(2):
            add("bool", lambda d: f"{of('int', d)} in {of('li', d)}")
        add("bool", lambda d: f"{of('int', d)} in {of('li', d)}", lambda d: f"{of('str', d)} in {of('ls', d)}")
        add("bool", lambda d: f"{rng.choice(['a', 's', 'q', 'zz'])!r} in {of('o', d)}")
        for name in ("contains", "startsWith", "endsWith"):
            for _ in range(5):
                add("bool", lambda d, name=name: call(name, bare("str", d), bare("str", d)))
        for _ in range(5):
            add("bool", lambda d: call("matches", bare("str", d), f"'{rng.choice(PATTERNS)}'"))
            add("bool", lambda d: call("bool", rng.choice(["'true'", "'0'", "'no'", bare("bool", d)])))
            add("bool", lambda d: f"has({rng.choice(['o.q', 'n', 'm', 'o.a', 'o.s'])})")
            add("bool", lambda d: rng.choice(["size(uuid()) == 36", "uuid() == uuid()", "size(uuid() + s) > 36"]))
        for name in ("all", "exists", "exists_one"):
            for items, item in (("li", "int"), ("ls", "str"), ("lo", "o")):
                add("bool", lambda d, n=name, s=items, t=item: call(n, bare(s, d), over(t, lambda _: bare("bool", d))))
            add("bool", lambda d, n=name: f"o.{n}(k, size(k) {rng.choice(['<', '==', '>'])} 1)")

        add(
            "int",
            lambda d: f"-{of('int', d)}",
            lambda d: f"{of('li', d)}[{bare('int', 0)}]",
            lambda d: f"{of('o', d)}.a",
        )
        add("int", lambda d: f"{of('o', d)}['a']", lambda d: f"default(o.q, {bare('int', d)})")
        for kind in ("str", "li", "ls", "o"):
            add("int", lambda d, kind=kind: call("size", bare(kind, d)))
        for kind in ("num", "str", "ts", "int"):
            add("int", lambda d, kind=kind: call("int", bare(kind, d)))
        for name in ("min", "max"):
            add(
                "int",
                lambda d, n=name: call(n, bare("li", d)),
                lambda d, n=name: call(n, bare("int", d), bare("int", d)),
            )
            add(
                "num",
                lambda d, n=name: call(n, bare("int", d), bare("num", d)),
                lambda d, n=name: call(n, bare("ln", d)),
            )
        add(
            "int",
            lambda d: call("sum", bare("li", d)),
            lambda d: "sum(compact(lni))",
            lambda d: f"default(n, {bare('int', d)})",
        )
        add("num", lambda d: f"-{of('num', d)}", lambda d: call("sum", bare("ln", d)))
        for kind in ("int", "str", "dur", "num"):
            add("num", lambda d, kind=kind: call("double", bare(kind, d)))
            add("num", lambda d, kind=kind: call("double", bare("dur", d)))

        for kind in ("int", "num", "bool", "str", "ts", "dur", "li", "o"):
            add("str", lambda d, kind=kind: call("string", bare(kind, d)))
        for name in ("trim", "lower", "upper", "base64", "url_encode"):
            for _ in range(4):
                add("str", lambda d, name=name: call(name, bare("str", d)))
        for _ in range(4):
            add("str", lambda d: call("join", bare("ls", d), bare("str", 0)), lambda d: call("join", bare("ls", d)))
            add("str", lambda d: call("replace", bare("str", d), self.quoted(rng.choice("ab,")), bare("str", d)))
            add("str", lambda d: call("replace", bare("str", d), "'a'", "'-'", str(rng.randint(-1, 2))))
            add("str", lambda d: call("slice", bare("str", d), str(rng.randint(-1, 2)), str(rng.randint(0, 4))))
            add("str", lambda d: call("json", bare(rng.choice(KINDS[:4] + KINDS[6:]), d)))
            add("str", lambda d: call("hash", bare(rng.choice(KINDS[:4] + KINDS[6:]), d)))
            add("str", lambda d: f"unbase64({rng.choice([bare('str', 0), 'base64(s)', 'base64(t)'])})")
            add("str", lambda d: "now()", lambda d: call("default", "m", bare("str", d)))
            add("str", lambda d: f"json(parse_json('{rng.choice(JSON_TEXTS)}'))")
        add(
            "str",
            lambda d: f"{of('ls', d)}[0]",
            lambda d: f"{of('o', d)}.s",
            lambda d: f"json(parse_json({bare('str', d)}))",
        )
        add("str", lambda d: f"m == null ? {bare('str', d)} : m", lambda d: f"has(m) ? m : {bare('str', d)}")

        add("ts", lambda d: f"timestamp({rng.choice(['when', 'now()', 's'])})", lambda d: f"timestamp({bare('ts', d)})")
        add(
            "dur",
            lambda d: f"duration({rng.choice([repr(rng.choice(LENGTHS)), 's'])})",
            lambda d: f"duration({bare('dur', d)})",
        )

        for kind, item in (("li", "int"), ("ls", "str")):
            add(kind, lambda d, item=item: f"[{bare(item, d)}, {bare(item, d)}]")
            for source, inner in (("li", "int"), ("ls", "str"), ("lo", "o")):
                add(kind, lambda d, i=item, s=source, n=inner: call("map", bare(s, d), over(n, lambda _: bare(i, d))))
            add(kind, lambda d, i=item: call("map", bare("li", d), over("int", lambda v: f"{v} > 0, {bare(i, d)}")))
            add(kind, lambda d, k=kind, i=item: call("filter", bare(k, d), over(i, lambda _: bare("bool", d))))
            for _ in range(3):
                add(kind, lambda d, k=kind: call("distinct", bare(k, d)), lambda d, k=kind: call("sort", bare(k, d)))
                add(kind, lambda d, k=kind, i=item: call("sort_by", bare(k, d), over(i, lambda _: bare("int", d))))
                add(kind, lambda d, k=kind: call("slice", bare(k, d), str(rng.randint(-1, 2)), str(rng.randint(0, 4))))
            add(
                kind,
                lambda d, k=kind, i=item: (
                    f"default({rng.choice(['n', 'o.q'])} == null ? {of(k, d)} : null, {of(k, d)})"
                ),
            )
        for _ in range(4):
            add(
                "li",
                lambda d: call("range", str(rng.randint(-1, 5))),
                lambda d: call("range", str(rng.randint(-2, 2)), "j"),
            )
            add(
                "li",
                lambda d: call("flatten", bare("lli", d)),
                lambda d: "compact(lni)",
                lambda d: f"compact({bare('li', d)})",
            )
            add("ls", lambda d: call("split", bare("str", d), self.quoted(rng.choice([",", "", "a", " "]))))
            add("ls", lambda d: call("split", bare("str", d), "','", str(rng.randint(-1, 3))))
            add("ls", lambda d: call("keys", bare("o", d)), lambda d: f"keys({{'z': {bare('int', d)}, 'y': 1}})")
            add("li", lambda d: f"values({{'z': {bare('int', d)}, 'y': {bare('int', d)}}})")
        add("li", lambda d: f"filter(lni, v, v != null).map(w, w + {of('int', 0)})")
        add("ln", lambda d: f"[{bare('num', d)}, {bare('num', d)}]", lambda d: f"{of('ln', d)} + {of('ln', d)}")
        add(
            "lli",
            lambda d: f"[{bare('li', d)}, {bare('li', d)}]",
            lambda d: call("map", bare("li", d), over("int", lambda _: bare("li", d))),
        )
        add(
            "lo",
            lambda d: f"[{bare('o', d)}]",
            lambda d: call("filter", bare("lo", d), over("o", lambda _: bare("bool", d))),
        )
        add("lo", lambda d: call("sort_by", bare("lo", d), over("o", lambda v: f"{v}.a")))
        add("o", lambda d: f"{{'a': {bare('int', d)}, 's': {bare('str', d)}}}", lambda d: f"{of('lo', d)}[0]")
        for _ in range(4):
            add(
                "bool",
                lambda d: f"object({of('ls', d)}.map(k, [k, {bare('int', 0)}])) == object([['a', {bare('int', 0)}]])",
            )
            add("int", lambda d: f"size(object([[{bare('str', d)}, 1], [{bare('str', d)}, 2]]))")
