"""The corpus of broken specs: each says in its first lines what is wrong with it, and where.

``# expect: E104 12:7`` for each diagnostic; ``# expect: E104 3:1 imported/x.yaml`` where it stands in another file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[2]
BROKEN = TESTS / "specs_broken"
VALID = TESTS / "specs_valid"

_EXPECT = re.compile(r"# expect: ([EW]\d{3}) (\d+):(\d+)(?: (\S+))?$")


@dataclass(frozen=True, order=True)
class Expected:
    code: str
    line: int
    column: int
    file: str


@dataclass(frozen=True)
class Broken:
    path: Path
    expected: tuple[Expected, ...]

    @property
    def codes(self) -> set[str]:
        return {one.code for one in self.expected}


def broken_specs() -> list[Broken]:
    """Every file of the corpus, in the order of names."""
    return [Broken(path, _expected(path)) for path in sorted(BROKEN.glob("*.yaml"))]


def _expected(path: Path) -> tuple[Expected, ...]:
    found = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        match = _EXPECT.match(line)
        if match is None:
            break
        code, row, column, file = match.groups()
        found.append(Expected(code, int(row), int(column), str(BROKEN / file) if file else str(path)))
    return tuple(sorted(found))
