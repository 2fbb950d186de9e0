"""Which blobs a body may name."""

from __future__ import annotations

import re

_NAME = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def names_in(body: bytes) -> set[str]:
    """All that may be the name of a blob in canonical JSON: 64 hex digits that stand alone."""
    return {name.decode() for name in _NAME.findall(body)}
