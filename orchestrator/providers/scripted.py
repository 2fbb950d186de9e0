"""A model that answers from rules in the file: for trying a pipeline, and for testing it, with no key and no cost.

``settings.replies`` is a list of rules ``{when, text, calls: [{tool, with}], output, thinking, usage: {input,
output}, delay, stop, error}``, each key only where given. ``when`` is the source of an expression; ``delay`` is in
microseconds; wherever a compiled value (``orchestrator.expr.values``, as JSON) stands, it is rendered. All see
``agent turn prompt last results inputs``. The answer is a function of these alone: the same at every attempt and
after every resume, down to the ids of its calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

import anyio

from orchestrator.agents.messages import Reply, Stop, Usage
from orchestrator.expr import ABSENT, EvalError
from orchestrator.expr.times import parse_duration
from orchestrator.expr.values import Expression, render, value_from_json
from orchestrator.ids import digest_text
from orchestrator.jsonish import clean, dumps
from orchestrator.providers.protocol import ModelError

if TYPE_CHECKING:
    from orchestrator.agents.messages import ModelRequest
    from orchestrator.providers.protocol import ModelContext

# What a reply may fail with, and the HTTP status that goes with it.
ERRORS: dict[str, int | None] = {
    "timeout": None,
    "rate_limit": 429,
    "unavailable": 503,
    "refusal": None,
    "invalid_reply": None,
    "context": 400,
    "auth": 401,
    "bad_request": 400,
}
STOPS: tuple[Stop, ...] = get_args(Stop)


class ScriptedProvider:
    """The first rule that fits answers. It holds nothing."""

    async def call(self, request: ModelRequest, context: ModelContext) -> Reply:
        """Answer by the rules. ModelError: what a rule's ``error`` says, or ``bad_request`` where no rule fits or one
        is wrong.
        """
        scope = _Scope(request)
        try:
            rule = _first_that_fits(request.settings.get("replies") or [], scope)
            if wait := _delay(rule, scope):
                await anyio.sleep(wait / 1_000_000)
            reply, shown = _answer(rule, scope)
        except EvalError as error:
            raise _wrong(f"a rule of the scripted model cannot be evaluated: {error}") from None
        if shown:
            context.emit(shown)
        return reply

    async def aclose(self) -> None:
        """Nothing to close."""


class _Scope:
    """What the rules see, and the ids that follow from it."""

    def __init__(self, request: ModelRequest) -> None:
        self.names = request.scope
        self.model = str(request.settings.get("model") or "scripted")
        self._seed = f"{self.names.get('agent')}\0{self.names.get('turn')}\0{self.names.get('prompt')}"

    def holds(self, source: str) -> bool:
        value = render(Expression(source), self.names, now=0, seed=self._seed)
        if value is not ABSENT and not isinstance(value, bool):
            raise _wrong(f"`when: {source}` of a scripted reply is not true or false")
        return value is True

    def value(self, data: Any, what: str) -> Any:
        """A compiled value, rendered; anything else as it is."""
        if isinstance(data, dict):
            return {key: self.value(item, what) for key, item in cast("dict[str, Any]", data).items()}
        if not isinstance(data, list):
            return data
        value = render(value_from_json(data), self.names, now=0, seed=f"{self._seed}\0{what}")
        if value is ABSENT:
            raise _wrong(f"`{what}` of a scripted reply is absent")
        return value

    def text(self, data: Any, what: str) -> str:
        value = self.value(data, what)
        return value if isinstance(value, str) else dumps(value)

    def call_id(self, index: int) -> str:
        digest = digest_text(f"{self._seed}\0{index}")
        return f"toolu_{digest[:24]}"


def _first_that_fits(rules: list[dict[str, Any]], scope: _Scope) -> dict[str, Any]:
    for rule in rules:
        if rule.get("when") is None or scope.holds(rule["when"]):
            return rule
    names = scope.names
    raise _wrong(f"no rule of the scripted model fits turn {names.get('turn')} of agent {names.get('agent')}")


def _delay(rule: dict[str, Any], scope: _Scope) -> int:
    """Microseconds."""
    value = scope.value(rule.get("delay", 0), "delay")
    if isinstance(value, str):
        try:
            value = parse_duration(value).micros
        except ValueError as error:
            raise _wrong(f"`delay` of a scripted reply: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong("`delay` of a scripted reply is not a duration")
    return value


def _answer(rule: dict[str, Any], scope: _Scope) -> tuple[Reply, str]:
    """The reply, and the text that it shows."""
    usage = _usage(rule, scope)
    if rule.get("error") is not None:
        raise _failure(scope.text(rule["error"], "error"), usage)
    content: list[dict[str, Any]] = []
    if rule.get("thinking") is not None:
        thought = scope.text(rule["thinking"], "thinking")
        content.append({"type": "thinking", "thinking": thought, "signature": "scripted"})
    said = ""
    if rule.get("output") is not None:
        if rule.get("text") is not None:
            raise _wrong("a scripted reply has `text` or `output`, not both")
        said = dumps(clean(scope.value(rule["output"], "output")))
    elif rule.get("text") is not None:
        said = scope.text(rule["text"], "text")
    if said:
        content.append({"type": "text", "text": said})
    calls = [_call(call, index, scope) for index, call in enumerate(rule.get("calls") or [])]
    stop = scope.value(rule["stop"], "stop") if rule.get("stop") is not None else "tool_use" if calls else "end_turn"
    if stop not in STOPS:
        raise ModelError("invalid_reply", f"the reply stopped for a reason that is not known: {stop!r}", usage=usage)
    content = cast("list[dict[str, Any]]", clean(content + calls))
    reply = Reply(content=content, stop=stop, usage=usage, model=scope.model, raw_stop=stop)
    return reply, said


def _call(call: dict[str, Any], index: int, scope: _Scope) -> dict[str, Any]:
    given = scope.value(call["with"], f"calls\0{index}") if call.get("with") is not None else {}
    name = scope.text(call["tool"], f"calls\0{index}\0tool").replace(".", "__")
    return {"type": "tool_use", "id": scope.call_id(index), "name": name, "input": given}


def _usage(rule: dict[str, Any], scope: _Scope) -> Usage:
    counts: Any = scope.value(rule.get("usage") or {}, "usage")
    said = [counts.get(key) or 0 for key in ("input", "output")]
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 0 for count in said):
        raise _wrong("`usage` of a scripted reply is not a count of tokens")
    return Usage(input=said[0], output=said[1])


def _failure(code: str, usage: Usage) -> ModelError:
    if code not in ERRORS:
        return _wrong(f"a scripted reply cannot fail with {code!r}: known are {', '.join(ERRORS)}")
    return ModelError(code, f"the scripted model says: {code}", status=ERRORS[code], usage=usage)


def _wrong(message: str) -> ModelError:
    return ModelError("bad_request", message, sent=False, usage=Usage())
