"""What agents remember over runs: every store keeps it, and gives it in one order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from orchestrator.journal.errors import BadData, SchemaOlder
from orchestrator.journal.store import Fact, Projection
from orchestrator.stores import StoreSettings, open_store
from orchestrator.stores.migrations import all_migrations
from orchestrator.stores.statements import TABLES
from orchestrator.stores.texts import MAX_ID, MAX_VALUE
from tests.contract.build import SECOND, after, held

if TYPE_CHECKING:
    from orchestrator.clock import ManualClock
    from orchestrator.journal.store import Store

pytestmark = pytest.mark.anyio

TEXTS = [
    "plain",
    "",
    "it's \"quoted\" `so` \\ and \\' -- ; DROP TABLE memory",
    "%_*?[a-z] ${{ x }} :name ? $1 {p}",
    "ünï¢ode ﷽ 漢字 👩‍👩‍👧‍👦 e\u0301 é",
    " leading and trailing \t\r\n",
    "\u0001\u001b[31m\u007f\u0085\u2028\ufeff\ufffd\U0010ffff",
    "x" * 100_000,
]


def fact(key: str, text: str = "t", *, scope: str = "s", at: int = 5, run: str = "r1") -> Fact:
    return Fact(scope, key, text, at, run)


async def test_a_fact_is_kept_and_replaced(store: Store) -> None:
    await store.remember(fact("k", "one", at=1))
    await store.remember(fact("k", "two", at=3, run="r2"))
    assert await store.facts("s") == [fact("k", "two", at=3, run="r2")]
    await store.remember(fact("k", "three", at=2, run="r3"))
    assert await store.facts("s") == [fact("k", "three", at=2, run="r3")]
    await store.remember(fact("k", "three", at=2, run="r3"))
    assert await store.facts("s") == [fact("k", "three", at=2, run="r3")]


async def test_scopes_are_apart(store: Store) -> None:
    for scope in ("s", "S", "s ", "ß", "ss"):
        await store.remember(fact("k", f"of {scope}", scope=scope))
    for scope in ("s", "S", "s ", "ß", "ss"):
        assert await store.facts(scope) == [fact("k", f"of {scope}", scope=scope)]
    assert await store.facts("none") == []


async def test_any_text_comes_back_as_it_was(store: Store) -> None:
    for number, text in enumerate(TEXTS):
        await store.remember(fact(f"k{number}", text))
        if text:
            await store.remember(fact(text[:MAX_ID], "key", scope="keys"))
    assert [one.text for one in await store.facts("s")] == TEXTS
    assert {one.key for one in await store.facts("keys")} == {text[:MAX_ID] for text in TEXTS if text}


async def test_keys_that_some_order_holds_to_be_the_same_are_not(store: Store) -> None:
    keys = ["a", "A", "a ", "á", "a\u0301", "ａ", "ä", "ae", "z", "Z", "10", "9", "\u00ff", "\U0001f600", "\uffff"]
    for key in keys:
        await store.remember(fact(key))
    assert [one.key for one in await store.facts("s")] == sorted(keys)


async def test_facts_come_in_pages(store: Store) -> None:
    keys = sorted(f"k{number}" for number in range(25))
    for key in reversed(keys):
        await store.remember(fact(key))
    found: list[str] = []
    while page := await store.facts("s", after=found[-1] if found else "", limit=10):
        assert len(page) <= 10
        found += [one.key for one in page]
    assert found == keys
    assert await store.facts("s", after="k9") == []
    assert len(await store.facts("s", after="k", limit=3)) == 3


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (fact("k\0"), "NUL"),
        (fact("k", "a\0b"), "NUL"),
        (fact("k", scope="\0"), "NUL"),
        (fact("k\ud800"), "surrogate"),
        (fact("k", "\udfff"), "surrogate"),
        (fact("k", run="\ud800"), "surrogate"),
        (fact("k" * (MAX_ID + 1)), "characters"),
        (fact("k", scope="s" * (MAX_ID + 1)), "characters"),
        (fact("k", "x" * (MAX_VALUE + 1)), "bytes"),
        (fact(""), "empty"),
    ],
)
async def test_what_one_database_could_not_hold_none_takes(store: Store, bad: Fact, problem: str) -> None:
    with pytest.raises(BadData, match=problem):
        await store.remember(bad)
    assert await store.facts("s") == []


async def test_nothing_is_found_under_a_name_that_none_can_have(store: Store) -> None:
    assert await store.facts("\0") == []
    assert await store.facts("s", after="\ud800") == []


async def test_the_largest_fact(store: Store) -> None:
    large = fact("k" * MAX_ID, "x" * MAX_VALUE, scope="s" * MAX_ID)
    await store.remember(large)
    assert await store.facts(large.scope) == [large]


async def test_many_write_at_once_and_one_of_them_stays(store: Store) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(store.remember, fact("same", f"text {number}", at=number))
            group.start_soon(store.remember, fact(f"own{number:02}", at=number))
    found = await store.facts("s")
    assert len(found) == 21
    assert found[-1].key == "same"
    assert found[-1].text == f"text {found[-1].at}"


async def test_facts_outlive_their_runs(store: Store, clock: ManualClock) -> None:
    begun = await held(store, "r1")
    await store.remember(fact("k"))
    ended = Projection(status="done", finished_at=clock.now())
    await store.commit([after(begun, ["run_finished"], projection=ended, release=True)])
    clock.advance(100)
    assert await store.delete_runs(["r1"], ended_before=clock.now() - SECOND) == ["r1"]
    await store.sweep_blobs(age=0.0)
    assert await store.facts("s") == [fact("k")]


async def test_tables_of_the_first_version_get_their_memory(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if store_url == "memory:":
        assert await open_store(store_url).migrate() == []
        return
    settings = StoreSettings(table_prefix=f"v{os.getpid()}_")
    old = open_store(store_url, settings=settings)
    for module in ("schema", "server_schema", "postgres", "mysql"):
        monkeypatch.setattr(f"orchestrator.stores.{module}.all_migrations", lambda: all_migrations()[:1])
        monkeypatch.setattr(f"orchestrator.stores.{module}.LATEST", 1)
    for module in ("schema", "server_base"):
        monkeypatch.setattr(f"orchestrator.stores.{module}.TABLES", TABLES[:-1])
    await old.open()
    await held(old, "r1")
    await old.aclose()
    monkeypatch.undo()

    new = open_store(store_url, settings=settings)
    with pytest.raises(SchemaOlder):
        await new.open()
    await new.open(older=True)
    assert await new.migrate() == [2]
    await new.remember(fact("k"))
    assert await new.facts("s") == [fact("k")]
    assert (await new.get_run("r1")).head == 1
    assert await new.check() == []
    await new.aclose()
