from __future__ import annotations

import re

from orchestrator.spec.codes import CODES
from tests.unit.spec.corpus import TESTS, broken_specs


def test_every_code_has_an_entry_in_the_documentation() -> None:
    page = (TESTS.parent / "docs" / "errors.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## ([EW]\d{3})$", page, re.MULTILINE)
    assert set(CODES) - set(entries) == set()
    assert len(entries) == len(set(entries))
    assert entries == sorted(entries)


def test_codes_have_one_form_and_one_line() -> None:
    for code, title in CODES.items():
        assert re.fullmatch(r"E[1-49]\d\d|W5\d\d", code)
        assert title
        assert "\n" not in title


def test_the_corpus_knows_no_other_codes() -> None:
    assert {code for spec in broken_specs() for code in spec.codes} <= set(CODES)
