"""Where a key stands in a TOML text: the standard library's parser keeps no places."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec.diagnostics import Mark


def key_mark(file: str, text: str, key: str) -> Mark:
    """The first line on which the top-level ``key`` is set or opens a table; else the file's beginning."""
    from orchestrator.spec.diagnostics import Mark

    name = re.escape(key)
    pattern = re.compile(rf"[ \t]*\[{{0,2}}[ \t]*(\"{name}\"|'{name}'|{name})[ \t]*[=.\]]")
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        found = pattern.match(line)
        if found and (not inside or line.lstrip().startswith("[")):
            start = found.start(1) + 1
            return Mark(file, number, start, number, start + len(found[1]))
        inside = inside or bool(re.match(r"[ \t]*\[", line))
    return Mark(file, 1, 1, 1, 2)
