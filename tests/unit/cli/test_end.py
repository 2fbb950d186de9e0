from __future__ import annotations

import sys

import pytest

from orchestrator.cli.flags import Flags
from orchestrator.cli.render.end import describe_held, describe_wait, exit_of, next_command, say_end
from orchestrator.cli.render.live import LiveTree
from orchestrator.cli.render.records import record_line
from orchestrator.cli.screen import Screen
from orchestrator.engine.ends import RunEnd
from orchestrator.errors import Exit
from orchestrator.journal.records import Record


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("done", Exit.DONE),
        ("failed", Exit.FAILED),
        ("cancelled", Exit.FAILED),
        ("limited", Exit.LIMITED),
        ("waiting", Exit.WAITING),
        ("paused", Exit.WAITING),
    ],
)
def test_each_end_has_its_exit(status: str, code: Exit) -> None:
    assert exit_of(RunEnd(run_id="x", status=status)) is code


def test_a_key_that_was_refused_is_exit_4() -> None:
    assert exit_of(RunEnd(run_id="x", status="failed", error={"code": "auth", "message": "no"})) is Exit.NO_KEY


@pytest.mark.parametrize(
    ("status", "reason", "command"),
    [
        ("done", None, None),
        ("cancelled", None, None),
        ("failed", None, "orch show x --tree, or orch resume x --retry-failed"),
        ("paused", "doubt", "orch resolve x step --result JSON | --retry | --fail"),
        ("paused", "no progress", "orch resume x"),
        ("stopped", None, "orch resume x"),
        ("stalled", None, "orch resume x"),
        ("running", None, "orch logs x -f"),
    ],
)
def test_what_to_type_next(status: str, reason: str | None, command: str | None) -> None:
    assert next_command("x", status, reason, step="step") == command


@pytest.mark.parametrize(
    ("store", "named"),
    [
        (None, "orch resume x"),
        ("sqlite:///runs.db", "orch resume x"),
        ("mysql://me:${{ secrets.PW }}@h/d", "orch resume x"),
        ("mysql://me:sesame@h/d", "orch resume x --store …"),
    ],
)
def test_a_store_that_was_not_noted_has_to_be_named_again(
    store: str | None, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_end(Screen(Flags(store=store)), RunEnd(run_id="x", status="paused", reason="no progress"))
    said = capsys.readouterr().err
    assert f"next: {named}\n" in said
    assert "sesame" not in said


def test_what_a_run_waits_for_is_harmless_text() -> None:
    assert describe_wait({"step": "a", "reason": "doubt", "message": "cut\x1b[2J"}) == (
        "a is in doubt: whether its effect happened is not known; cut"
    )


def test_a_wait_names_the_driver_that_had_the_effect() -> None:
    driver = {"pid": 7, "host": "here", "renewed_at": 0}
    told = describe_wait({"step": "a", "reason": "doubt", "message": "no result within 0.3 s", "driver": driver})
    assert told == (
        "a is in doubt: whether its effect happened is not known; no result within 0.3 s "
        "(process 7 on here had it; last seen 1970-01-01T00:00:00Z)"
    )
    assert describe_wait({"step": "a", "reason": "doubt", "driver": driver}).startswith(
        "a is in doubt: whether its effect happened is not known (process 7"
    )


def test_messages_that_nobody_read_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    end = RunEnd(run_id="x", status="done", unread=[{"step": "a", "text": "stop\x1b[2J\nnow"}])
    say_end(Screen(Flags(color="never")), end)
    assert "not read: a message to `a`, which had no turn left: stop now\n" in capsys.readouterr().err


def test_what_waits_for_a_place_is_told_by_what_it_waits_for() -> None:
    held = [{"step": f"m[{n}]", "for": "the limits of the model `slow`"} for n in range(1_203)]
    assert describe_held([]) == []
    assert describe_held([{"step": "a", "for": "a child process to end"}, *held]) == [
        "a waits for a child process to end",
        "m[0], m[1], m[2] and 1,200 more wait for the limits of the model `slow`",
    ]


def test_a_live_tree_says_what_waits_for_a_place() -> None:
    tree = LiveTree(Screen(Flags(color="never")), "name")
    assert len(tree._drawing()) == 1
    tree.held = lambda: [{"step": "a/turn1", "for": "the limits of the model `slow`"}]
    assert tree._drawing()[0].plain == "a/turn1 waits for the limits of the model `slow`"


def test_a_timer_that_went_off_is_told_in_words() -> None:
    record = Record(1, 1, "fired", "dly", {"timer": "timeout"}, 0)
    assert record_line(Screen(Flags(color="never")), record, stream=sys.stderr, clock=False) == "· dly timed out"
