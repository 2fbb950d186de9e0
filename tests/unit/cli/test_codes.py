from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


PACKAGES = ("app", "cli", "journal", "stores")


def test_every_code_of_these_packages_has_an_entry_in_the_documentation() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^## ([EW]\d{3})$", page, re.MULTILINE))
    used = {
        code
        for package in PACKAGES
        for module in (ROOT / "orchestrator" / package).rglob("*.py")
        for code in re.findall(r'"([EW]\d{3})"', module.read_text(encoding="utf-8"))
    }
    assert len(used) > 40
    assert used - entries == set()


def test_no_two_situations_share_a_code() -> None:
    said: dict[str, set[str]] = {}
    for module in (ROOT / "orchestrator").rglob("*.py"):
        text = module.read_text(encoding="utf-8")
        for name, code in re.findall(
            r'class (\w+)\([^)]*\):(?:(?!\nclass ).)*?\n    code[^=\n]*= "([EW]\d{3})"', text, re.DOTALL
        ):
            said.setdefault(code, set()).add(name)
    assert {code: names for code, names in said.items() if len(names) > 1} == {}
