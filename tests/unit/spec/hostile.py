"""Texts that are made to cost much, by name; and, run as a program, what each of them costs to read.

``python hostile.py NAME…`` prints a line of JSON for each: seconds of CPU, codes, and the peak of memory in MiB.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1_048_576


def _bomb() -> bytes:
    """Ten levels of nine aliases each: 590 bytes that stand for three thousand million nodes."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(9)]
    return "\n".join(lines).encode()


def _steps(form: str, count: int, *, following: bool = False) -> bytes:
    lines = (form % ((n, (n + 1) % count) if following else n) for n in range(count))
    return b"version: 1\nsteps:\n" + "".join(lines).encode()


TEXTS: dict[str, Callable[[], bytes]] = {
    "alias_bomb": _bomb,
    "brackets": lambda: b"[" * 20_000,
    "keys": lambda: b"".join(b"k%d: 1\n" % n for n in range(100_000))[:MIB],
    "digits": lambda: b"version: " + b"1" * 100_000,
    "braces": lambda: b"{" * 20_000,
    "brackets_on_lines": lambda: b"[\n" * 20_000,
    "keys_in_flow": lambda: b"{" + b",".join(b"k%d: 1" % n for n in range(80_000)),
    "plain_words": lambda: b"a: " + b"x " * 500_000,
    "plain_lines": lambda: b"a: " + b"x\n  " * 260_000,
    "quoted_lines": lambda: b'a: "' + b"x\n  " * 260_000 + b'"',
    "quoted_escapes": lambda: b'a: "' + b"\\x41" * 260_000 + b'"',
    "single_quotes": lambda: b"a: '" + b"''" * 520_000 + b"'",
    "literal_lines": lambda: b"a: |\n" + b" x\n" * 340_000,
    "literal_empty_lines": lambda: b"a: |\n" + b"\n" * 1_040_000,
    "folded_lines": lambda: b"a: >\n" + b"  x\n x\n" * 140_000,
    "comments": lambda: b"# c\n" * 260_000,
    "blank_lines": lambda: b"\n" * (MIB - 1),
    "carriage_returns": lambda: b"\r" * (MIB - 1),
    "colons": lambda: b": " * 520_000,
    "dashes": lambda: b"- " * 520_000,
    "questions": lambda: b"? " * 520_000,
    "commas": lambda: b"[" + b"a," * 520_000,
    "no_values": lambda: b"{" + b"[]," * 340_000,
    "long_tag": lambda: b"!" + b"a" * (MIB - 1),
    "escaped_tag": lambda: b"!<" + b"%41" * 340_000 + b">",
    "tags": lambda: b"- !a x\n" * 40_000,
    "long_anchor": lambda: b"&" + b"a" * (MIB - 1),
    "long_alias": lambda: b"*" + b"a" * (MIB - 1),
    "long_directive": lambda: b"%" + b"a" * (MIB - 1),
    "version_directive": lambda: b"%YAML " + b"1" * 100_000 + b".1\n---\na",
    "documents": lambda: b"---\n" * 50_000,
    "long_key": lambda: b"? " + b"a" * 900_000 + b"\n: 1",
    "duplicates": lambda: b"a: 1\n" * 9_000,
    "unknown_fields": lambda: b"".join(b"k%d: 1\n" % n for n in range(9_000)),
    "steps_without_kind": lambda: _steps("  s%d: {agnet: x, promt: y}\n", 3_000),
    "steps_with_unknown_fields": lambda: _steps("  s%d: {run: x, r: y, s: z}\n", 2_300),
    "steps_that_are_fine": lambda: _steps("  s%d:\n    agent: {}\n    prompt: hi\n", 3_200),
    "steps_with_bad_names": lambda: _steps("  S%d: {run: x}\n", 4_900),
    "deep_steps": lambda: b"version: 1\nsteps: " + b"{a: {steps: " * 30 + b"x" + b"}}" * 30,
    "cut_texts": lambda: b"a:\n" + b"- x y #z\n" * 9_000,
    "spaces_in_a_text": lambda: b"version: 1\nsteps: {a: {run: 'x" + b" " * 900_000 + b"${{ y }}'}}",
    "chain_of_steps": lambda: _steps(
        "  s%d: {set: {x: '${{ default(steps.s%d.output.x, 1) }}'}}\n", 2_000, following=True
    ),
    "chain_of_types": lambda: (
        b"version: 1\ntypes:\n"
        + b"".join(b"  t%d: [t%d]\n" % (n, n + 1) for n in range(3_000))
        + b"  t3000: string\nsteps: {a: {run: x, output: t0}}\n"
    ),
    "chain_of_tools": lambda: (
        b"version: 1\ntools:\n"
        + b"".join(b"  t%d: {python: 'a:b', on_doubt: {reconcile: {tool: t%d}}}\n" % (n, n + 1) for n in range(1_500))
        + b"  t1500: {python: 'a:b'}\nsteps: {a: {tool: t0}}\n"
    ),
    "brackets_in_a_type": lambda: b"version: 1\nsteps: {a: {run: x, output: '" + b"[" * 100_000 + b"'}}",
    "brackets_in_an_expression": lambda: b"version: 1\nsteps: {a: {run: x, if: '" + b"(" * 16_000 + b"'}}",
    "nul": lambda: b"\0" * MIB,
    "not_utf8": lambda: b"a" * (MIB - 1) + b"\xff",
    "random_bytes": lambda: random.Random(1).randbytes(MIB),
    "random_ascii": lambda: bytes(random.Random(2).choices(range(32, 127), k=MIB)),
    "random_yaml": lambda: bytes(random.Random(3).choices(b"[]{}:,-?*&!|>'\"%@` \n#ab01", k=MIB)),
    "wide_characters": lambda: "\U0001f600".encode() * 262_000,
    "too_large": lambda: b"a" * (MIB + 1),
}

ALWAYS = (
    "alias_bomb", "brackets", "keys", "digits", "long_tag", "literal_empty_lines", "spaces_in_a_text", "random_yaml",
    "chain_of_types", "chain_of_tools", "brackets_in_a_type",
)  # fmt: skip
"""The ones that are read in every test run."""


def peak_mib() -> int:
    """Peak memory of this program alone: ru_maxrss would count that of the process which forked it."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def main(names: list[str]) -> None:
    from orchestrator.compiler import compile as compile_
    from orchestrator.spec.diagnostics import SpecErrors, render
    from orchestrator.spec.load import load

    resource.setrlimit(resource.RLIMIT_AS, (1024 * MIB, 1024 * MIB))
    compile_(load(b"version: 1\nsteps: {a: {run: x}}"))
    for name in names:
        text = TEXTS[name]()
        began = time.process_time()
        try:
            loaded = load(text)
            diagnostics, texts = compile_(loaded).diagnostics, loaded.texts
        except SpecErrors as error:
            diagnostics, texts = error.diagnostics, error.texts
        render(diagnostics, texts=texts)
        seconds = time.process_time() - began
        peak = peak_mib()
        codes = sorted({one.code for one in diagnostics})
        print(json.dumps({"name": name, "seconds": seconds, "mib": peak, "codes": codes}))


if __name__ == "__main__":
    main(sys.argv[1:])
