"""Regular expressions that are compiled when they are first used: a command imports forty, and uses a few."""

from __future__ import annotations

import re
from typing import Any, cast


class _Later:
    """A pattern to be, which becomes one method by method."""

    def __init__(self, text: str, flags: int) -> None:
        self._given = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)
        return found


def regex(text: str, flags: int = 0) -> re.Pattern[str]:
    """As ``re.compile``, and what is wrong with the text is said at the first use."""
    return cast("re.Pattern[str]", _Later(text, flags))
