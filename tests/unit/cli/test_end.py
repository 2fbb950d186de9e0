from __future__ import annotations

import pytest

from orchestrator.cli.render.end import describe_wait, exit_of, next_command
from orchestrator.engine.ends import RunEnd
from orchestrator.errors import Exit


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


def test_what_a_run_waits_for_is_harmless_text() -> None:
    assert describe_wait({"step": "a", "reason": "doubt", "message": "cut\x1b[2J"}) == (
        "a is in doubt: whether its effect happened is not known cut"
    )
