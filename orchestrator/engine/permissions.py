"""Whether a call may be made: ``deny``, then ``allow``, then ``approve``; pure, on what is recorded.

Policy is that of the graph the run started with, and of ``--approve``, which is recorded too. Nothing that a model, a
tool or a hook says is part of it: they bring arguments, and these are what it is applied to, at every attempt and after
every resume. An approval holds for the hash of the exact call that a person was shown, and for no other one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.engine.steps.common import Wrong
from orchestrator.expr.rules import Rule, all_below, is_literally, matches, read_rule, some_below
from orchestrator.frozen import frozen
from orchestrator.jsonish import dumps, hash_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.engine.activation import Act, Intent
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import CallConfig, ToolDef
    from orchestrator.journal.state import StepState

CHOICES = ("approve", "deny")
"""What may be answered."""

TEXT = 4_000
"""Characters of one text among the arguments that a question shows."""

WHOLE = 24_000
"""Characters of all that it shows: a question fits a record."""

CALL_TEXT = 1_000
"""Characters of one text of what would be performed, a script among them."""

CALL_WHOLE = 8_000
"""Characters of all of it."""

_PERFORMED = {
    "shell": ("launcher", "argv", "script", "shell", "args", "stdin", "env", "dir"),
    "http": ("method", "url", "query", "headers", "json", "body"),
    "python": ("ref", "dir"),
    "files": ("root",),
}
"""What of a request a question shows, by the kind of the tool; arguments have a place of their own."""

_MARKER = re.compile("\0secret:([^\0]*)\0")

_PATHS = frozenset({"path"})

_SEARCHES = frozenset({"list", "glob", "grep"})
"""Operations that look below a folder: rules over ``path`` are of what they find, too."""


@frozen
class Verdict:
    """What the policy says of a call; ``why`` is for the model or the person who made it."""

    kind: Literal["allow", "deny", "ask"]
    why: str = ""


_ALLOW = Verdict("allow")


def guarded(tool: ToolDef) -> bool:
    """Whether there is anything to judge."""
    return tool.approve not in (None, "false") or bool(tool.allow or tool.deny)


def name_of(config: CallConfig) -> str:
    """A call's tool, as rules name it."""
    return config.tool.name if config.operation is None else f"{config.tool.name}.{config.operation}"


def judge(decider: Decider, act: Act, config: CallConfig, args: Mapping[str, Any]) -> Verdict:
    """What the tool's own policy says. Raises Wrong where ``approve`` gives neither true nor false, EvalError."""
    tool, name, said = config.tool, name_of(config), _said(config, args)
    for text in tool.deny:
        rule = read_rule(text)
        if rule.meets(name, said) or (_searches(config) and _closes(rule, name, said)):
            return Verdict("deny", f"`{name}` is denied by the rule `{text}`")
    if _searches(config):
        if _let_out(tool, name, said):
            return _ALLOW
    elif any(read_rule(text).meets(name, said) for text in tool.allow):
        return _ALLOW
    if tool.approve is None:
        # With `allow` alone, it is the whole of what may be called.
        return Verdict("deny", f"no rule of `allow` permits this call of `{name}`") if tool.allow else _ALLOW
    asks = decider.evaluate(act, tool.approve, "approve", env={**act.scope.env, "args": said})
    if not isinstance(asks, bool):
        raise Wrong("expression", "`approve` gives neither true nor false")
    return Verdict("ask") if asks else _ALLOW


def bounds(config: CallConfig, args: Mapping[str, Any]) -> dict[str, list[str]]:
    """Patterns of the paths that may come out of a search: none of ``deny``, and one of ``allow`` where that is given.

    What may not be read is not found either. Empty where nothing is forbidden.
    """
    if not _searches(config):
        return {}
    tool, name, said = config.tool, name_of(config), _said(config, args)
    as_read = f"{tool.name}.read"
    denied = [
        rule.path
        for rule in map(read_rule, tool.deny)
        if rule.path is not None and (rule.meets_but_path(name, said) or rule.meets_but_path(as_read, {}))
    ]
    allowed = [] if (let_out := _let_out(tool, name, said)) == ["*"] else let_out
    return {key: found for key, found in (("deny", denied), ("allow", allowed)) if found}


def _searches(config: CallConfig) -> bool:
    return config.tool.kind == "files" and config.operation in _SEARCHES


def _closes(rule: Rule, name: str, said: Mapping[str, Any]) -> bool:
    """Whether a rule is of all that stands below the folder of a search."""
    return rule.path is not None and rule.meets_but_path(name, said) and all_below(rule.path, _folder(said))


def _let_out(tool: ToolDef, name: str, said: Mapping[str, Any]) -> list[str]:
    """Patterns of the paths that ``allow`` lets out of a search; none where it does not permit the call.

    Where ``approve`` decides about the rest, a person is asked about a search that would find any of it.
    """
    rules = [rule for rule in map(read_rule, tool.allow) if rule.meets_but_path(name, said)]
    folder = _folder(said)
    patterns = [rule.path for rule in rules if rule.path is not None]
    if len(patterns) < len(rules) or any(is_literally(pattern, folder) for pattern in patterns):
        return ["*"]
    below = some_below if tool.approve is None else all_below
    return patterns if any(matches(pattern, folder) or below(pattern, folder) for pattern in patterns) else []


def _folder(said: Mapping[str, Any]) -> str:
    path = said.get("path")
    return path if isinstance(path, str) else "."


def _said(config: CallConfig, args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call as rules see them."""
    operation = FILE_OPERATIONS.get(config.operation or "") if config.tool.kind == "files" else None
    return args if operation is None else _plain_paths(dict.fromkeys(operation.input["properties"]) | dict(args))


def _plain_paths(args: Mapping[str, Any]) -> dict[str, Any]:
    """Paths as the files tool takes them: no other way of writing one leads around a rule."""
    return {
        key: "/".join(part for part in value.split("/") if part not in ("", ".")) or "."
        if key in _PATHS and isinstance(value, str) and not value.startswith("/")
        else value
        for key, value in args.items()
    }


def request_of(config: CallConfig, intent: Intent, args: Mapping[str, Any]) -> str:
    """The hash of the exact call: what an approval is bound to."""
    return hash_of({"tool": name_of(config), "args": dict(args), "input": intent.hash})


def question(config: CallConfig, intent: Intent, args: Mapping[str, Any], request: str) -> dict[str, Any]:
    """The body of ``waiting``; ``call`` is what would be performed, as far as the arguments do not tell."""
    call = _performed(config.tool, intent)
    return {
        "reason": "approval",
        "tool": name_of(config),
        "args": shown(dict(args)),
        **({"call": call} if call else {}),
        "request": request,
        "attempt": intent.attempt,
    }


def pending(step: StepState | None) -> bool:
    """Whether a step's last word is a question for approval, answered or not."""
    return step is not None and step.status == "waiting" and step.asked is not None


def refusal(name: str, answer: Mapping[str, Any]) -> str:
    """What whoever made the call is told of a person's no."""
    comment = f": {answer['comment']}" if answer.get("comment") else ""
    return f"{answer.get('by') or 'a person'} did not approve `{name}`{comment}"


def _performed(tool: ToolDef, intent: Intent) -> Any:
    request = intent.request
    if tool.kind == "http":
        request = {"method": "GET" if request.keys().isdisjoint(("json", "body")) else "POST", **request}
    keys = [key for key in _PERFORMED.get(tool.kind, ()) if request.get(key) not in (None, [], {})]
    return shown(_named({key: request[key] for key in keys}), text=CALL_TEXT, whole=CALL_WHOLE)


def _named(value: Any) -> Any:
    """A value with the names of its secrets instead of their markers."""
    if isinstance(value, str):
        return _MARKER.sub(r"***\1***", value)
    if isinstance(value, list):
        return [_named(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def shown(value: Any, *, text: int = TEXT, whole: int = WHOLE) -> Any:
    """Arguments for a person to read: long texts are cut, and say by how much."""
    cut = _cut(value, text)
    all_of_it = dumps(cut)
    if len(all_of_it) <= whole:
        return cut
    return f"{all_of_it[:whole]}… ({len(dumps(value)) - whole} more characters)"


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}… ({len(value) - most} more characters)"
    if isinstance(value, list):
        return [_cut(item, most) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _cut(item, most) for key, item in cast("dict[str, Any]", value).items()}
    return value
