from __future__ import annotations

import pytest

from orchestrator.journal.errors import BadTablePrefix
from orchestrator.stores import StoreSettings, open_store
from orchestrator.stores.migrations import LATEST, all_migrations
from orchestrator.stores.schema import expected_columns
from orchestrator.stores.statements import SQLITE, TABLES, Statements, checked_prefix

SEEDS = ["'", '"', ";", "--", "/*", ")", "(", " ", "\t", "\n", "\0", ".", "-", "é", "A", "Z", "$", "%", "{p}", "\\"]
HOSTILE = [
    *SEEDS,
    *(f"a{seed}" for seed in SEEDS),
    *(f"a_{seed}b" for seed in SEEDS),
    *(f"{seed}a" for seed in SEEDS),
    *(f"x{seed}; DROP TABLE runs; --" for seed in SEEDS),
    *("_a", "1a", "9", "_", "a" * 32, "ａ", "ß" * 4, "a\u0301", "é_"),
]


def test_there_are_enough_hostile_prefixes() -> None:
    assert len(set(HOSTILE)) >= 100


@pytest.mark.parametrize("prefix", HOSTILE)
def test_hostile_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(BadTablePrefix):
        open_store("sqlite:x.db", settings=StoreSettings(table_prefix=prefix))


@pytest.mark.parametrize("prefix", ["", "a", "orch_", "a1_b2", "a" * 31])
def test_prefixes(prefix: str) -> None:
    assert checked_prefix(prefix) == prefix
    sql = Statements(SQLITE, prefix)
    assert f"UPDATE {prefix}runs SET head = ?, a = ? WHERE run_id = ? AND head = ? AND epoch = ?" == sql.advance(
        ("head", "a")
    )
    assert set(expected_columns(sql)) == {prefix + name for name in TABLES}


def test_nothing_is_left_to_fill_in() -> None:
    sql = Statements(SQLITE, "p_")
    texts = [value for value in vars(sql).values() if isinstance(value, str)]
    texts += [sql.insert_rows(3), sql.settle(2), sql.advance(("x",))]
    assert len(texts) > 20
    for text in texts:
        assert "{" not in text


def test_nothing_merges_into_the_journal() -> None:
    sql = Statements(SQLITE)
    for text in [value for value in vars(sql).values() if isinstance(value, str)] + [sql.insert_rows(2)]:
        assert "IGNORE" not in text.upper()
        assert "CONFLICT" not in text.upper()
        assert "REPLACE" not in text.upper()
        assert not text.startswith("UPDATE journal")
        # Rows go with their run alone.
        assert not text.startswith("DELETE FROM journal") or text == sql.delete_rows


def test_migrations_are_numbered_and_released_ones_do_not_change() -> None:
    found = all_migrations()
    assert [migration.version for migration in found] == list(range(1, LATEST + 1))
    assert [migration.checksum[:16] for migration in found] == ["6ad2f50d7d42a7d0", "8c1efbbedbd22e7b"]
