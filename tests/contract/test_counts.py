"""The contract is one: what one store is asked, every store is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import STORES

HERE = Path(__file__).parent
ALL_AT_ONCE = {"test_machine.py", Path(__file__).name}
"""Files whose tests ask all stores at once, or none."""


@pytest.mark.timeout(60)
def test_every_store_is_asked_the_same() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", str(HERE)]
    found = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True, check=True)
    asked: dict[str, list[str]] = {name: [] for name in STORES}
    for line in found.stdout.splitlines():
        if "::" not in line or line.partition("::")[0].rpartition("/")[2] in ALL_AT_ONCE:
            continue
        of = [name for name in STORES if re.search(rf"[\[-]{name}[\]-]", line)]
        assert len(of) == 1, f"it asks {of or 'no store'}: {line}"
        asked[of[0]].append(re.sub(rf"([\[-]){of[0]}([\]-])", r"\1STORE\2", line))
    first, *others = (sorted(lines) for lines in asked.values())
    assert len(first) >= 74
    assert all(other == first for other in others)
