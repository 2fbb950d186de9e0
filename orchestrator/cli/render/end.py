"""What stands at the end of a run: status, time, tokens, cost, id, and the command to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.cli.render.text import json_text, one_line, plain
from orchestrator.cli.render.values import MARKS, count, elapsed, money
from orchestrator.clock import rfc3339
from orchestrator.errors import Exit

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen

EXITS = {
    "done": Exit.DONE,
    "failed": Exit.FAILED,
    "cancelled": Exit.FAILED,
    "limited": Exit.LIMITED,
    "waiting": Exit.WAITING,
    "paused": Exit.WAITING,
}
"""The exit code of ``run`` and ``resume`` by the status that a run got to."""


def exit_of(end: Any) -> Exit:
    """The exit code of ``run`` and ``resume``: a key that was refused is no mere failure."""
    if end.status == "paused" and end.reason == "limit":
        return Exit.LIMITED
    if end.status == "failed" and (end.error or {}).get("code") == "auth":
        return Exit.NO_KEY
    return EXITS.get(end.status, Exit.FAILED)


def next_command(
    run_id: str, status: str, reason: str | None = None, *, step: str | None = None, add: str = "usd=1"
) -> str | None:
    """What to type next about a run; None where it is done. ``add`` is what a budget lacks."""
    match status:
        case "failed":
            return f"orch show {run_id} --tree, or orch resume {run_id} --retry-failed"
        case "limited":
            return f"orch budget {run_id} --add {add}, then orch resume {run_id}"
        case "paused" if reason == "limit":
            return f"orch budget {run_id} --add {add}, then orch resume {run_id}"
        case "paused" if reason == "doubt":
            return f"orch resolve {run_id} {step or 'STEP'} --result JSON | --retry | --fail"
        case "waiting" if reason == "approval":
            named = f" {step}" if step else ""
            return f"orch answer {run_id}{named} --choice approve|deny, then orch resume {run_id}"
        case "waiting" | "paused" | "stopped" | "stalled" | "queued":
            return f"orch resume {run_id}"
        case "running":
            return f"orch logs {run_id} -f"
        case _:
            return None


def say_end(screen: Screen, end: Any) -> None:
    """The last lines of a run, for people. ``end`` is the engine's ``RunEnd``."""
    mark, color = MARKS.get(end.status, ("?", "dim"))
    reason = f" ({one_line(str(end.reason), 120)})" if end.reason else ""
    error = end.error
    if error:
        where = f" at {one_line(str(error['step']))}" if error.get("step") else ""
        text = f"{error.get('code', 'failed')}{where}: {plain(str(error.get('message', '')))}"
        screen.err(screen.style(text, "red") + "\n")
    for wait in end.waits:
        screen.say(screen.style(f"waits: {describe_wait(wait)}", "yellow"))
    for message in end.unread:
        screen.say(screen.style(describe_unread(message), "yellow"))
    took = elapsed((end.ended_at or end.started_at) - end.started_at)
    status = screen.style(f"{mark} {end.status}", "bold", color)
    screen.say(f"{status}{reason}  {took}  {count(end.tokens)} tokens  {money(end.spend)}")
    screen.say(f"run {one_line(end.run_id)}")
    asked = [one_line(str(wait["step"])) for wait in end.waits if wait.get("reason") == "approval"]
    doubtful = next((str(wait["step"]) for wait in end.waits if wait.get("reason") == "doubt"), None)
    limit = next((wait for wait in end.waits if wait.get("reason") == "limit"), (error or {}).get("detail"))
    reason = "doubt" if doubtful else end.reason
    # The path of an agent's call may be long: it is named only where it has to be.
    step = doubtful or (asked[0] if len(asked) > 1 else None)
    run = with_store(end.run_id, screen.flags.store)
    command = next_command(run, end.status, reason, step=step, add=lacking(limit))
    if command:
        screen.say(f"next: {command}")


def describe_held(held: list[dict[str, str]]) -> list[str]:
    """What may start and waits for a place, a line for each thing that is waited for."""
    steps: dict[str, list[str]] = {}
    for one in held:
        steps.setdefault(one["for"], []).append(one_line(one["step"], 60))
    return [
        f"{', '.join(paths[:3])}{f' and {count(len(paths) - 3)} more' if len(paths) > 3 else ''}"
        f" wait{'s' if len(paths) == 1 else ''} for {one_line(place, 100)}"
        for place, paths in steps.items()
    ]


def describe_unread(message: dict[str, str]) -> str:
    """A message that no agent has read, on one line."""
    step = one_line(message["step"], 80)
    return f"not read: a message to `{step}`, which had no turn left: {one_line(message['text'], 120)}"


def with_store(run_id: str, store: str | None) -> str:
    """The run as a command must name it: with its store, where ``--store`` held a password and nothing was noted."""
    from orchestrator.app.notes import has_password

    return run_id if store is None or not has_password(store) else f"{run_id} --store …"


def lacking(limit: Any) -> str:
    """What to add to a budget that was reached, ten times what it lacked: ``usd=0.5``."""
    said: dict[str, Any] = cast("dict[str, Any]", limit) if isinstance(limit, dict) else {}
    dimension = said.get("dimension", "usd")
    lacks = max((said.get("needed") or 0) - max(said.get("left") or 0, 0), 1) * 10
    match dimension:
        case "usd":
            return f"usd={-(-lacks // 10_000) / 100:g}"
        case "tokens":
            return f"tokens={-(-lacks // 1_000) * 1_000}"
        case "time" | "deadline":
            return f"{dimension}=10m"
        case _:
            return f"{dimension}={lacks}"


def describe_wait(wait: dict[str, Any]) -> str:
    """What a run waits for, on one line."""
    doubt = wait.get("reason") == "doubt"
    if wait.get("reason") == "limit":
        return one_line(str(wait.get("message")), 300)
    if wait.get("reason") == "approval":
        return one_line(f"{wait.get('step')} needs an approval: {told_call(wait)}", 300)
    reason = "is in doubt: whether its effect happened is not known" if doubt else wait.get("reason")
    subject = " ".join(str(text) for text in (wait.get("step"), reason) if text)
    told = "; ".join(str(text) for text in (subject, wait.get("message")) if text)
    return one_line(f"{told} {_old_driver(wait.get('driver'))}".strip(), 300)


def told_call(wait: dict[str, Any], width: int = 200) -> str:
    """The call that an approval is asked for, on one line: its tool, its arguments, and what would be performed."""
    args, call = wait.get("args"), wait.get("call")
    told = [] if call and not args else [one_line(json_text(args), width // 2 if call else width)]
    if isinstance(call, dict):
        shown = cast("dict[str, Any]", call)
        keys = sorted(shown, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
        told += [f"{key}={json_text(shown[key])}" for key in keys]
    elif call:
        told.append(json_text(call))
    return one_line(" ".join([str(wait.get("tool")), *told]), width)


_FIRST = ("method", "url", "launcher", "argv", "script", "args", "ref")
"""What of a call is told first; a line is soon full."""


def _old_driver(driver: dict[str, Any] | None) -> str:
    """Who had the effect under way, and may still have."""
    if driver is None:
        return ""
    return f"(process {driver['pid']} on {driver['host']} had it; last seen {rfc3339(driver['renewed_at'])})"
