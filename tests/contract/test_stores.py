"""What every store does."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from orchestrator.ids import new_nonce
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Held,
    NoProgress,
    NoSuchRun,
    NotOffered,
    RunEnded,
    StoreError,
    UnknownBlob,
    UnknownDriver,
)
from orchestrator.journal.records import INLINE_BYTES, PART_BYTES
from orchestrator.journal.store import MAX_IDLE_CLAIMS, NO_PROGRESS, Driver, Projection, RunFilter
from orchestrator.stores import StoreSettings, open_store
from orchestrator.stores.texts import MAX_ID, MAX_VALUE
from tests.contract.build import LEASE, SECOND, after, driver, first, held, mail, new_run, piece

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.clock import ManualClock
    from orchestrator.journal.store import Store

pytestmark = pytest.mark.anyio


# --- commits ---


async def test_a_run_begins_with_its_first_records(store: Store) -> None:
    begun = first("r1", new=new_run("r1", labels={"team": "a"}))
    await store.commit([begun])
    run = await store.get_run("r1")
    assert (run.status, run.epoch, run.owner, run.head, run.head_sum) == ("queued", 0, None, 1, begun.head_sum)
    assert (run.labels, run.error, run.claims, run.stalled) == ({"team": "a"}, None, 0, False)
    assert [(record.seq, record.kind, record.body) for record in await store.load("r1")] == [
        (1, "run_started", {"n": 0})
    ]


async def test_a_run_made_by_its_driver_is_held(store: Store) -> None:
    await held(store, "r1")
    run = await store.get_run("r1")
    assert (run.status, run.epoch, run.owner, run.claims, run.stalled) == ("running", 1, "me", 1, False)


async def test_a_run_is_made_once(store: Store) -> None:
    await store.commit([first("r1")])
    with pytest.raises(Conflict):
        await store.commit([first("r1")])
    assert len(await store.rows("r1")) == 1


async def test_a_slice_sets_what_it_names_and_nothing_else(store: Store) -> None:
    begun = await held(store, "r1")
    wide = Projection(status="paused", reason="limit", wake_at=9, spend=12, tokens=3, labels={"a": "b"}, error={"c": 1})
    second = after(begun, ["done"], projection=wide, at=77)
    await store.commit([second])
    run = await store.get_run("r1")
    assert (run.status, run.reason, run.wake_at, run.spend, run.tokens) == ("paused", "limit", 9, 12, 3)
    assert (run.labels, run.error, run.updated_at, run.claims) == ({"a": "b"}, {"c": 1}, 77, 0)
    await store.commit([after(second, ["resumed"], projection=Projection(reason=None, error=None), at=78)])
    run = await store.get_run("r1")
    assert (run.status, run.reason, run.error, run.spend, run.updated_at) == ("paused", None, None, 12, 78)


async def test_a_slice_without_records_moves_nothing_but_the_row(store: Store) -> None:
    begun = await held(store, "r1")
    await store.commit([after(begun, [], projection=Projection(status="waiting"), release=True)])
    run = await store.get_run("r1")
    assert (run.head, run.head_sum, run.status, run.owner) == (1, begun.head_sum, "waiting", None)


@pytest.mark.parametrize("wrong", ["head", "epoch", "run"])
async def test_the_fence(store: Store, wrong: str) -> None:
    begun = await held(store, "r1")
    await store.commit([after(begun, ["started"])])
    stray = {
        "head": after(begun, ["done"]),
        "epoch": piece("r1", ["done"], epoch=2, head=2),
        "run": piece("r2", ["done"], epoch=1, head=2),
    }[wrong]
    with pytest.raises(Conflict):
        await store.commit([stray])
    assert [row.kind for row in await store.rows("r1")] == ["run_started", "started"]


async def test_a_batch_is_kept_whole_or_not_at_all(store: Store) -> None:
    one, two = await held(store, "r1"), await held(store, "r2")
    with pytest.raises(Conflict):
        await store.commit([after(two, ["done"]), piece("r1", ["done"], epoch=1, head=9), first("r3")])
    assert [len(await store.rows(run)) for run in ("r1", "r2")] == [1, 1]
    with pytest.raises(NoSuchRun):
        await store.get_run("r3")
    await store.commit([after(two, ["done"]), after(one, ["done"]), first("r3")])
    assert [len(await store.rows(run)) for run in ("r1", "r2", "r3")] == [2, 2, 1]


async def test_settling_tells_whose_row_stands_where(store: Store) -> None:
    begun = await held(store, "r1")
    assert await store.settle([("r1", 1), ("r2", 1)]) == {"r1": begun.nonce, "r2": None}
    assert await store.settle([("r1", 2)]) == {"r1": None}
    many = [(f"x{n}", 1) for n in range(250)]
    assert await store.settle([*many, ("r1", 1)]) == {**dict.fromkeys(dict(many)), "r1": begun.nonce}


async def test_long_batches(store: Store) -> None:
    begun = await held(store, "r1")
    await store.commit([after(begun, ["started"] * 4000)])
    assert (await store.get_run("r1")).head == 4001
    assert [record.seq for record in await store.load("r1", from_seq=3999)] == [3999, 4000, 4001]
    assert [record.seq for record in await store.load("r1", from_seq=2, upto=3)] == [2, 3]
    assert [row.seq for row in await store.rows("r1", from_seq=4000)] == [4000, 4001]
    assert await store.load("r1", from_seq=4002) == []


@pytest.mark.parametrize("size", [INLINE_BYTES - 8, INLINE_BYTES - 7, 3 * PART_BYTES])
async def test_bodies_of_any_size(store: Store, size: int) -> None:
    text = "".join(chr(33 + (n * n) % 90) for n in range(997))
    body = {"x": (text * (size // 997 + 1))[:size].replace("\\", "/").replace('"', "'")}
    begun = await held(store, "r1")
    await store.commit([after(begun, ["done"], bodies=[body])])
    row = (await store.rows("r1"))[1]
    assert (row.blob is None) == (size + len('{"x":""}') <= INLINE_BYTES)
    assert (await store.load("r1"))[1].body == body


async def test_blobs(store: Store) -> None:
    names = await store.put_blobs([b"", b"abc", b"x" * (2 * PART_BYTES)])
    assert [await store.get_blob(name) for name in names] == [b"", b"abc", b"x" * (2 * PART_BYTES)]
    assert await store.put_blobs([b"abc"]) == [names[1]]
    await store.touch(names)
    with pytest.raises(UnknownBlob):
        await store.get_blob("0" * 64)


# --- claims and leases ---


async def test_a_queued_run_is_claimed(store: Store, clock: ManualClock) -> None:
    begun = first("r1")
    await store.commit([begun])
    await store.register_driver(driver("me"), LEASE)
    claimed = await store.claim("r1", "me")
    assert (claimed.epoch, claimed.head, claimed.previous) == (1, 2, None)
    assert (claimed.run.status, claimed.run.owner, claimed.run.head) == ("running", "me", 2)
    last = (await store.load("r1"))[-1]
    assert (last.kind, last.epoch, last.at) == ("claimed", 1, clock.now())
    assert last.body["owner"] == "me"
    assert last.body["previous"] is None
    await store.commit([piece("r1", ["done"], epoch=1, head=2, base_sum=claimed.head_sum)])


async def test_a_live_run_is_held(store: Store, clock: ManualClock) -> None:
    await held(store, "r1")
    await store.register_driver(driver("you"), LEASE)
    clock.advance(LEASE - 1)
    with pytest.raises(Held) as caught:
        await store.claim("r1", "you")
    assert (caught.value.owner, caught.value.host, caught.value.pid) == ("me", "host of me", 1)
    assert caught.value.lease_until - caught.value.renewed_at == LEASE * SECOND
    with pytest.raises(Held):
        await store.claim("r1", "me")
    assert len(await store.rows("r1")) == 1


async def test_a_renewal_keeps_the_lease_and_its_end_gives_it_up(store: Store, clock: ManualClock) -> None:
    begun = await held(store, "r1")
    await store.register_driver(driver("you"), 100 * LEASE)
    clock.advance(LEASE - 1)
    await store.renew("me", LEASE)
    clock.advance(LEASE - 1)
    with pytest.raises(Held):
        await store.claim("r1", "you")
    assert not (await store.get_run("r1")).stalled
    clock.advance(2)
    assert (await store.get_run("r1")).stalled
    claimed = await store.claim("r1", "you")
    assert claimed.previous is not None
    assert claimed.previous.driver.owner == "me"
    assert (await store.load("r1"))[-1].body["previous"]["owner"] == "me"
    with pytest.raises(Conflict):
        await store.commit([after(begun, ["done"])])


async def test_force_takes_a_live_run(store: Store) -> None:
    await held(store, "r1")
    await store.register_driver(driver("you"), LEASE)
    claimed = await store.claim("r1", "you", force=True)
    assert (claimed.epoch, claimed.run.owner) == (2, "you")
    assert (await store.load("r1"))[-1].body["forced"] is True


async def test_a_dead_process_of_this_machine_holds_nothing(store: Store) -> None:
    me = Driver.of_this_process("me")
    dead = Driver(owner="dead", host=me.host, boot_id=me.boot_id, pid_ns=me.pid_ns, pid=me.pid, started=me.started - 1)
    await store.register_driver(dead, LEASE)
    await store.register_driver(me, LEASE)
    await store.commit([first("r1", owner="dead"), first("r2", owner="me")])
    assert (await store.claim("r1", "me")).run.owner == "me"
    await store.register_driver(Driver.of_this_process("also me"), LEASE)
    with pytest.raises(Held):
        await store.claim("r2", "also me")


async def test_a_released_run_is_free(store: Store) -> None:
    await held(store, "r1")
    await store.register_driver(driver("you"), LEASE)
    await store.release("me")
    assert await store.owner("me") is None
    run = await store.get_run("r1")
    assert (run.owner, run.stalled) == (None, True)
    assert (await store.claim("r1", "you")).epoch == 2
    with pytest.raises(UnknownDriver):
        await store.renew("me", LEASE)
    with pytest.raises(UnknownDriver):
        await store.claim("r1", "me")


async def test_a_claim_asked_for_again_is_made_once(store: Store) -> None:
    await store.commit([first("r1")])
    await store.register_driver(driver("me"), LEASE)
    nonce = new_nonce()
    made = await store.claim("r1", "me", nonce=nonce)
    again = await store.claim("r1", "me", nonce=nonce)
    assert (again.epoch, again.head, again.head_sum) == (made.epoch, made.head, made.head_sum)
    assert len(await store.rows("r1")) == 2


@pytest.mark.parametrize("status", ["done", "failed", "limited", "cancelled"])
async def test_an_ended_run_is_taken_by_an_explicit_resume_only(store: Store, status: str) -> None:
    begun = await held(store, "r1")
    end = Projection(status=status, finished_at=9, error={"code": "x"})  # pyright: ignore[reportArgumentType]
    await store.commit([after(begun, ["run_finished"], projection=end, release=True)])
    for force in (False, True):
        with pytest.raises(RunEnded):
            await store.claim("r1", "me", force=force)
    run = (await store.claim("r1", "me", explicit=True)).run
    assert (run.status, run.finished_at, run.error, run.head) == ("running", None, None, 3)


async def test_a_claim_is_of_the_run_as_it_was_seen(store: Store) -> None:
    await held(store, "r1")
    seen = await store.get_run("r1")
    for name in ("you", "they"):
        await store.register_driver(driver(name), LEASE)
    assert (await store.claim("r1", "you", force=True, seen=seen)).epoch == 2
    with pytest.raises(Held, match="you"):
        await store.claim("r1", "they", force=True, explicit=True, seen=seen)
    taken = await store.claim("r1", "they", force=True, explicit=True, seen=await store.get_run("r1"))
    assert (taken.epoch, taken.run.owner) == (3, "they")
    seen = taken.run
    end = Projection(status="done", finished_at=9)
    over = piece(
        "r1", ["run_finished"], epoch=3, head=taken.head, base_sum=taken.head_sum, projection=end, release=True
    )
    await store.commit([over])
    for force in (False, True):
        with pytest.raises(RunEnded):
            await store.claim("r1", "you", force=force, explicit=True, seen=seen)
    seen = await store.get_run("r1")
    assert (await store.claim("r1", "you", explicit=True, seen=seen)).epoch == 4
    with pytest.raises(Held, match="you"):
        await store.claim("r1", "they", force=True, explicit=True, seen=seen)


async def test_claims_without_progress_pause_a_run(store: Store, clock: ManualClock) -> None:
    begun = first("r1")
    await store.commit([begun])
    for n in range(MAX_IDLE_CLAIMS):
        await store.register_driver(driver(f"d{n}"), LEASE)
        claimed = await store.claim("r1", f"d{n}")
        assert claimed.run.claims == n + 1
        begun = piece("r1", ["started"], epoch=claimed.epoch, head=claimed.head, base_sum=claimed.head_sum)
        await store.commit([begun])
        clock.advance(LEASE + 1)
    await store.register_driver(driver("last"), LEASE)
    for _ in range(2):
        with pytest.raises(NoProgress):
            await store.claim("r1", "last", force=True)
    run = await store.get_run("r1")
    assert (run.status, run.reason, run.owner, run.epoch) == ("paused", NO_PROGRESS, None, MAX_IDLE_CLAIMS + 1)
    assert (await store.load("r1"))[-1].kind == "paused"
    assert await store.due() == []
    await store.send(mail("r1"))
    assert await store.due() == []
    claimed = await store.claim("r1", "last", explicit=True)
    assert (claimed.run.claims, claimed.run.status, claimed.run.reason) == (1, "running", None)
    with pytest.raises(Conflict):
        await store.commit([after(begun, ["done"])])


async def test_progress_starts_the_count_of_claims_again(store: Store, clock: ManualClock) -> None:
    begun = first("r1")
    await store.commit([begun])
    for n in range(2 * MAX_IDLE_CLAIMS):
        await store.register_driver(driver(f"d{n}"), LEASE)
        claimed = await store.claim("r1", f"d{n}")
        done = piece("r1", ["done"], epoch=claimed.epoch, head=claimed.head, base_sum=claimed.head_sum)
        await store.commit([done])
        assert (await store.get_run("r1")).claims == 0
        clock.advance(LEASE + 1)


async def test_two_claims_at_once_give_one_run(store: Store) -> None:
    await store.commit([first("r1")])
    taken: list[str] = []
    refused: list[str] = []

    async def take(owner: str) -> None:
        await store.register_driver(driver(owner), LEASE)
        try:
            await store.claim("r1", owner)
            taken.append(owner)
        except Held:
            refused.append(owner)

    async with anyio.create_task_group() as group:
        for n in range(8):
            group.start_soon(take, f"d{n}")
    assert (len(taken), len(refused)) == (1, 7)


# --- inbox ---


async def test_the_first_row_of_a_request_wins(store: Store, clock: ManualClock) -> None:
    await store.commit([first("r1")])
    assert await store.send(mail("r1", by="ada", choice="yes")) == mail("r1", by="ada", choice="yes")
    assert (await store.send(mail("r1", by="bob", choice="no"))).by == "ada"
    assert (await store.get_run("r1")).wake_at == clock.now()
    assert [row.body for row in await store.pending("r1")] == [{"choice": "yes"}]


async def test_the_inbox_is_read_oldest_first(store: Store) -> None:
    await held(store, "r1")
    for request, at in (("b", 2), ("a", 2), ("c", 1)):
        await store.send(mail("r1", request, at=at))
    await store.commit([first("r2")])
    await store.send(mail("r2", "z"))
    assert [row.request_id for row in await store.pending("r1")] == ["c", "a", "b"]
    assert [row.request_id for row in await store.pending_for("me")] == ["c", "a", "b"]


async def test_mail_is_for_runs_that_go_on(store: Store) -> None:
    begun = await held(store, "r1")
    await store.commit([after(begun, ["run_finished"], projection=Projection(status="done"))])
    with pytest.raises(RunEnded):
        await store.send(mail("r1"))
    with pytest.raises(NoSuchRun):
        await store.send(mail("r2"))
    assert await store.pending("r1") == []


async def test_mail_is_taken_up_once(store: Store) -> None:
    begun = await held(store, "r1")
    await store.send(mail("r1"))
    taken = after(begun, ["answered"], consumed=(("q1", 2),))
    await store.commit([taken])
    assert await store.pending("r1") == []
    assert (await store.send(mail("r1", by="late"))).consumed_seq == 2
    with pytest.raises(BadData):
        await store.commit([after(taken, ["answered"], consumed=(("q1", 3),))])
    with pytest.raises(BadData):
        await store.commit([after(taken, ["answered"], consumed=(("other", 3),))])
    assert (await store.get_run("r1")).head == 2


# --- what no store holds ---

UNHELD = ["a\0b", "\0", "\ud800", "x\udfff", "\ud83d \ude00"]


@pytest.mark.parametrize("text", UNHELD)
async def test_a_text_that_some_database_cannot_hold_is_refused_by_all(store: Store, text: str) -> None:
    begun = await held(store, "r1")
    refused = [
        first("r2", new=replace(new_run("r2"), run_id=text)),
        first("r2", new=new_run("r2", labels={"a": "\ud800"})),
        first("r2", new=replace(new_run("r2"), name=text)),
        first("r2", new=new_run("r2", parent_id=text)),
        after(begun, ["done"], projection=Projection(reason=text)),
        after(begun, ["done"], projection=Projection(error={"message": "\ud800"})),
        after(begun, ["done"], inbox=(mail("r1", text),)),
        replace(after(begun, ["done"]), rows=(begun.rows[0]._replace(seq=2, path=text),)),
    ]
    for part in refused:
        with pytest.raises(BadData, match="NUL character|lone surrogate"):
            await store.commit([part])
    with pytest.raises(BadData):
        await store.park(after(begun, ["waiting"], projection=Projection(reason=text), release=True))
    for row in (mail("r1", text), mail("r1", by=text), mail(text), mail("r1", answer="\udcff")):
        with pytest.raises(BadData):
            await store.send(row)
    with pytest.raises(BadData):
        await store.register_driver(driver(text), LEASE)
    with pytest.raises(NoSuchRun):
        await store.get_run(text)
    with pytest.raises(NoSuchRun):
        await store.claim(text, "me")
    assert await store.list_runs(RunFilter(name=text)) == []
    assert await store.list_runs(RunFilter(labels={text: text})) == []
    assert await store.find_runs(text) == []
    assert [run.head for run in await store.list_runs()] == [1]
    assert await store.pending("r1") == []


async def test_a_nul_inside_json_survives(store: Store) -> None:
    begun = first("r1", new=new_run("r1", labels={"a\0": "\0"}), bodies=[{"x": "a\0b"}])
    await store.commit([begun])
    await store.commit([after(begun, ["done"], projection=Projection(error={"\0": "\0"}))])
    await store.send(mail("r1", answer="a\0b"))
    run = await store.get_run("r1")
    assert (run.labels, run.error) == ({"a\0": "\0"}, {"\0": "\0"})
    assert (await store.load("r1"))[0].body == {"x": "a\0b"}
    assert (await store.pending("r1"))[0].body == {"answer": "a\0b"}


async def test_what_is_too_long_for_some_database_is_refused_by_all(store: Store) -> None:
    begun = await held(store, "r1")
    most = "é'" * (MAX_VALUE // 3 - 100)
    await store.send(mail("r1", "q" * MAX_ID, answer=most))
    path = begun.rows[0]._replace(seq=2, path=most)
    fits = replace(after(begun, ["done"], projection=Projection(reason=most, error={"message": most})), rows=(path,))
    await store.commit([fits])
    assert (await store.get_run("r1")).reason == most
    assert (await store.pending("r1"))[0].body == {"answer": most}
    long = "x" * (MAX_VALUE + 1)
    with pytest.raises(BadData, match=f"{MAX_ID + 1} characters is over {MAX_ID}"):
        await store.send(mail("r1", "q" * (MAX_ID + 1)))
    with pytest.raises(BadData, match=f"over {MAX_VALUE}"):
        await store.send(mail("r1", answer=long))
    for projection in (Projection(reason=long), Projection(error={"message": long}), Projection(labels={"a": long})):
        with pytest.raises(BadData, match=f"over {MAX_VALUE}"):
            await store.commit([after(fits, ["done"], projection=projection)])
    row = begun.rows[0]._replace(seq=3, path=long)
    with pytest.raises(BadData, match="a path of"):
        await store.commit([replace(after(fits, ["done"]), rows=(row,))])
    assert (await store.get_run("r1")).head == 2


@pytest.mark.timeout(120)
async def test_fifty_megabytes_survive(store: Store) -> None:
    begun = await held(store, "r1")
    content = random.Random(1).randbytes(25_000_000).hex()
    await store.commit([after(begun, ["done"], bodies=[{"x": content}])])
    assert (await store.load("r1"))[1].body == {"x": content}


async def test_a_late_duplicate_wakes_nobody(store: Store) -> None:
    begun = await held(store, "r1")
    await store.send(mail("r1"))
    asleep = Projection(status="waiting", wake_at=None)
    await store.commit([after(begun, ["answered"], consumed=(("q1", 2),), projection=asleep)])
    await store.send(mail("r1"))
    assert (await store.get_run("r1")).wake_at is None


async def test_a_slice_sends_to_other_runs(store: Store, clock: ManualClock) -> None:
    begun, other = await held(store, "r1"), await held(store, "r2")
    over = await held(store, "r3")
    await store.commit([after(over, ["run_finished"], projection=Projection(status="done"))])
    await store.send(mail("r2", "x", by="first"))
    rows = (mail("r2", "x", by="second"), mail("r2", "y"), mail("r3", "y"), mail("nobody", "y"))
    await store.commit([after(begun, ["run_finished"], inbox=rows), after(other, ["started"])])
    assert [(row.request_id, row.by) for row in await store.pending("r2")] == [("x", "first"), ("y", "ada")]
    assert await store.pending("r3") == []
    assert (await store.get_run("r2")).wake_at == clock.now()


async def test_parking_with_an_empty_inbox(store: Store) -> None:
    begun = await held(store, "r1")
    asleep = Projection(status="waiting", wake_at=5)
    assert await store.park(after(begun, ["paused"], projection=asleep, release=True))
    run = await store.get_run("r1")
    assert (run.status, run.wake_at, run.owner, run.head) == ("waiting", 5, None, 2)


async def test_nobody_parks_with_mail_waiting(store: Store) -> None:
    begun = await held(store, "r1")
    await store.send(mail("r1"))
    before = await store.get_run("r1")
    assert not await store.park(after(begun, ["paused"], projection=Projection(status="waiting"), release=True))
    assert await store.get_run("r1") == before
    taken = after(begun, ["answered"], consumed=(("q1", 2),), release=True)
    assert await store.park(taken)


async def test_a_parked_run_parks_no_second_time(store: Store) -> None:
    begun = await held(store, "r1")
    asleep = after(begun, [], projection=Projection(status="waiting", wake_at=None), release=True)
    assert await store.park(asleep)
    await store.send(mail("r1"))
    woken = await store.get_run("r1")
    assert await store.park(asleep), "asked again since the first answer was lost"
    assert await store.get_run("r1") == woken
    assert woken.wake_at is not None


async def test_a_fenced_driver_does_not_park(store: Store) -> None:
    begun = await held(store, "r1")
    await store.claim("r1", "me", force=True)
    with pytest.raises(Conflict):
        await store.park(after(begun, ["paused"], release=True))


# --- listing ---


async def test_lists(store: Store) -> None:
    for n, name in enumerate(["a1", "a2", "b1"]):
        run = new_run(name, at=n, labels={"n": str(n), "all": "yes"}, parent_id="p" if n else None)
        await store.commit([first(name, new=run)])
    await store.register_driver(driver("me"), LEASE)
    await store.claim("a2", "me")

    async def listed(**chosen: object) -> list[str]:
        return [run.run_id for run in await store.list_runs(RunFilter(**chosen))]  # pyright: ignore[reportArgumentType]

    assert await listed() == ["b1", "a2", "a1"]
    assert [run.run_id for run in await store.list_runs()] == ["b1", "a2", "a1"]
    assert await listed(limit=2) == ["b1", "a2"]
    assert await listed(limit=0) == []
    assert await listed(status=("running", "done")) == ["a2"]
    assert await listed(name="demo", since=1) == ["b1", "a2"]
    assert await listed(name="other") == []
    assert await listed(labels={"all": "yes", "n": "0"}) == ["a1"]
    assert await listed(labels={"n": "9"}) == []
    assert await listed(parent_id="p") == ["b1", "a2"]
    assert [run.run_id for run in await store.find_runs("a")] == ["a2", "a1"]
    assert [run.run_id for run in await store.find_runs("a", limit=1)] == ["a2"]
    assert await store.find_runs("%") == []
    assert [run.run_id for run in await store.find_runs("")] == ["b1", "a2", "a1"]


async def test_what_is_due(store: Store, clock: ManualClock) -> None:
    await store.register_driver(driver("me"), LEASE)
    waits = Projection(status="waiting", wake_at=clock.now() + SECOND)
    await store.commit([first("queued", new=new_run("queued", at=1))])
    await store.commit([first("later", new=new_run("later", at=2), projection=waits)])
    await store.commit([first("live", new=new_run("live", at=3, owner="me"))])
    await store.commit([first("over", new=new_run("over", at=4), projection=Projection(status="done"))])
    await store.commit([first("asleep", new=new_run("asleep", at=5), projection=Projection(status="waiting"))])
    assert await store.due() == ["queued"]
    clock.advance(1)
    assert await store.due() == ["queued", "later"]
    clock.advance(LEASE)
    assert await store.due() == ["queued", "later", "live"]
    assert await store.due(limit=1) == ["queued"]
    await store.send(mail("asleep"))
    assert await store.due() == ["queued", "later", "live", "asleep"]


async def test_what_is_not_there(store: Store) -> None:
    for call in (store.load, store.rows, store.get_run):
        with pytest.raises(NoSuchRun):
            await call("nobody")
    await store.register_driver(driver("me"), LEASE)
    with pytest.raises(NoSuchRun):
        await store.claim("nobody", "me")
    with pytest.raises(UnknownDriver):
        await store.claim("nobody", "stranger")
    assert await store.owner("stranger") is None
    assert await store.pending("nobody") == []


async def test_opening_and_migrating_again_change_nothing(store: Store) -> None:
    begun = await held(store, "r1")
    await store.open()
    assert await store.migrate() == []
    assert (await store.get_run("r1")).head_sum == begun.head_sum
    assert store.name


async def test_room_is_given_back_and_copies_are_whole(store: Store, tmp_path: Path) -> None:
    begun = await held(store, "r1")
    await store.vacuum()
    await store.commit([after(begun, ["done"])])
    target = tmp_path / "copy.db"
    if store.name.startswith("sqlite:"):
        await store.backup(target)
        with pytest.raises(StoreError):
            await store.backup(target)
        copy = open_store(f"sqlite:{target}?mode=ro", settings=StoreSettings(table_prefix=store._sql.prefix))  # pyright: ignore[reportAttributeAccessIssue]
        await copy.open(create=False)
        assert await copy.rows("r1") == await store.rows("r1")
        await copy.aclose()
    else:
        with pytest.raises(NotOffered):
            await store.backup(target)


async def test_what_waits_comes_with_the_run_that_is_made(store: Store) -> None:
    waits = (mail("r1", "q1"), mail("r1", "q2", by="someone else", text="a\0b"))
    asleep = Projection(status="paused", reason="imported")
    made = first("r1", projection=asleep, waiting=waits)
    await store.commit([made])
    assert await store.pending("r1") == list(waits)
    run = await store.get_run("r1")
    assert (run.status, run.wake_at) == ("paused", None)
    assert await store.due() == []
    with pytest.raises(Conflict):
        await store.commit([first("r1", waiting=(mail("r1", "q3"),))])
    assert await store.send(mail("r1", "q2")) == waits[1]
    with pytest.raises(BadData):
        await store.commit([first("r2", waiting=(mail("r2", "q\0"),))])
    with pytest.raises(NoSuchRun):
        await store.get_run("r2")
    assert await store.pending("r1") == list(waits)
