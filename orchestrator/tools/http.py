"""HTTP requests as tools and steps.

Request, all keys but ``url`` optional::

    {"url": TEXT    "method": GET, or POST with a body    "query": {NAME: value or list}    "headers": {NAME: value}
     "auth": {"basic": [USER, PASSWORD]} or {"bearer": TOKEN}    "json": any JSON, or "body": text (else as JSON)
     "expect": [200, "4xx", …] (2xx)    "allow_private": true or [HOST, HOST:PORT, ADDRESS, NETWORK, …]
     "follow": true, false or how many redirects (10 for GET and HEAD, else none)
     "output_json": true, where the output is the body as JSON    "timeout": seconds}

Secrets in ``url`` are percent-encoded as they are revealed, unless the URL begins with one. The output is
``{"status", "headers", "body"}``: names of headers in lower case, the body as JSON where its type says so, else as
text.

One connection per call, straight to the address that was checked; certificates are checked against the name. Proxies of
the environment are not used: they would connect to what was never checked.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import anyio

from orchestrator.expr.values import DOTS
from orchestrator.frozen import frozen
from orchestrator.jsonish import dumps
from orchestrator.tools import wire
from orchestrator.tools.addresses import Allowed, Refused, Resolve, system_resolve
from orchestrator.tools.policy import as_text, failed, finish, head
from orchestrator.tools.protocol import Failed, Lost

if TYPE_CHECKING:
    from orchestrator.tools.protocol import CallContext, Outcome
    from orchestrator.tools.wire import Answer, Message

FOLLOWED = 10
"""Redirects that are followed by default."""

UNBOUNDED = 300.0
"""Seconds after which a call ends that has no timeout of its own: a server may accept and hang."""

_MARKER = re.compile("\0secret:[^\0]*\0")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_PERSONAL = frozenset({"authorization", "cookie", "proxy-authorization"})
_UNAVAILABLE = frozenset({502, 503, 504, 529})


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Make the request once. See the module for its shape."""
    return await exchange(request, context, resolve=system_resolve)


async def exchange(request: dict[str, Any], context: CallContext, *, resolve: Resolve) -> Outcome:
    """``perform`` with a resolver of names of the caller's."""
    try:
        message = prepare(request, context)
    except ValueError as error:
        return failed(context, "tool_error", str(error), no_effect=True)
    plan = _Plan(
        Allowed.read(request.get("allow_private")),
        _redirects(request.get("follow"), message.method),
        resolve,
        wire.Progress(safe=message.method in ("GET", "HEAD")),
    )
    import_module("httpx2")  # once, and not in the time that the other side has
    limit = request.get("timeout")
    if limit is None and context.deadline is None:
        limit = UNBOUNDED
    try:
        with anyio.fail_after(limit):
            answer = await _follow(message, plan)
    except TimeoutError:
        return _unknown("timeout", f"no answer within {limit:g} s", plan.progress, context)
    except Refused as error:
        why = error.message + (f" ({error.hint})" if error.hint else "")
        return failed(context, "tool_error", why, no_effect=plan.progress.harmless)
    except wire.Broken as error:
        return _unknown(error.code, str(error), plan.progress, context)
    return _judge(answer, request, context)


def _unknown(code: str, why: str, progress: wire.Progress, context: CallContext) -> Failed | Lost:
    """The end of a call without an answer: bad but known before anything was sent, else lost."""
    if progress.harmless:
        return failed(context, code, why, no_effect=True)
    if code == "tool_error":
        return failed(context, code, why)
    return Lost(code, head(context.redact(why), 1000))


# --- the request


def prepare(request: dict[str, Any], context: CallContext) -> Message:
    """The message that goes out first, secrets revealed. ValueError where it cannot be one."""
    url = _reveal_url(str(request["url"]), context)
    query = _query(request.get("query") or {}, context)
    if query:
        url, mark, fragment = url.partition("#")
        url += ("&" if "?" in url else "?") + query + mark + fragment
    headers, secret = _headers(request, context)
    body: bytes | None = None
    if "json" in request:
        body = dumps(context.reveal(request["json"])).encode()
        headers.setdefault("content-type", "application/json")
    elif request.get("body") is not None:
        body = as_text(context.reveal(request["body"])).encode("utf-8", "surrogateescape")
        kind = "text/plain; charset=utf-8" if isinstance(request["body"], str) else "application/json"
        headers.setdefault("content-type", kind)
    method = str(request.get("method") or ("GET" if body is None else "POST")).upper()
    if not _TOKEN.fullmatch(method) or method in ("CONNECT", "TRACE"):
        raise ValueError(f"method {method} is not supported")
    return wire.Message(method, url, headers, body, secret)


def _reveal_url(url: str, context: CallContext) -> str:
    def value(match: re.Match[str]) -> str:
        return quote(str(context.reveal(match[0])), safe="")

    begin = _MARKER.match(url)
    rest = url if begin is None else url[begin.end() :]
    for segment in re.split("[?#]", rest, maxsplit=1)[0].split("/"):
        if "\0" in segment and DOTS.fullmatch(_MARKER.sub(value, segment)):
            raise ValueError("the path of the URL would have '.' or '..' for a segment, by the value of a secret")
    return ("" if begin is None else str(context.reveal(begin[0]))) + _MARKER.sub(value, rest)


def _query(query: dict[str, Any], context: CallContext) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        pairs += [(name, as_text(context.reveal(item))) for item in values if item is not None]
    return urlencode(pairs, quote_via=quote)


def _headers(request: dict[str, Any], context: CallContext) -> tuple[dict[str, str], frozenset[str]]:
    """Headers by lower-case name, and the names of those that hold secrets and must not reach another origin."""
    headers: dict[str, str] = {}
    secret = set(_PERSONAL)
    for given, value in (request.get("headers") or {}).items():
        name = given.lower()
        if not _TOKEN.fullmatch(name) or name in _OURS:
            raise ValueError(f"header {given!r} cannot be set")
        if value is None:
            continue
        text = as_text(context.reveal(value))
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
            raise ValueError(f"header {given} has a control character in its value")
        if "\0" in as_text(value):
            secret.add(name)
        headers[name] = text.strip(" \t")
    match request.get("auth"):
        case {"basic": [user, password]}:
            pair = f"{as_text(context.reveal(user))}:{as_text(context.reveal(password))}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        case {"bearer": token}:
            text = as_text(context.reveal(token))
            if not text.isprintable():
                raise ValueError("the bearer token has a control character")
            headers["authorization"] = f"Bearer {text}"
        case _:
            pass
    if context.effect != "read":
        headers.setdefault("idempotency-key", context.idempotency_key)
    headers.setdefault("accept", "*/*")
    headers.setdefault("accept-encoding", "gzip")
    headers.setdefault("user-agent", "orchestrator")
    return headers, frozenset(secret)


# --- redirects


@frozen
class _Plan:
    allowed: Allowed
    redirects: int
    resolve: Resolve
    progress: wire.Progress


def _redirects(follow: Any, method: str) -> int:
    if follow is None:
        return FOLLOWED if method in ("GET", "HEAD") else 0
    return (FOLLOWED if follow else 0) if isinstance(follow, bool) else int(follow)


async def _follow(message: Message, plan: _Plan) -> Answer:
    """Send, and go where redirects lead; each hop is checked as the first one was."""
    for left in range(plan.redirects, -1, -1):
        target = wire.target(message.url)
        answer = await wire.send(message, target, plan.allowed, plan.resolve, plan.progress)
        location = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or location is None or plan.redirects == 0:
            return answer
        if left:
            message = _redirected(message, answer.status, target, location)
    raise wire.Broken("tool_error", f"more than {plan.redirects} redirects")


def _redirected(message: Message, status: int, target: wire.Target, location: str) -> Message:
    moved = wire.join(target, location)
    method, body, headers = message.method, message.body, dict(message.headers)
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
    if body is None:
        headers.pop("content-type", None)
    if wire.target(moved).origin != target.origin:
        headers = {name: value for name, value in headers.items() if name not in message.secret}
    return replace(message, method=method, url=moved, headers=headers, body=body)


# --- the answer


def _judge(answer: Answer, request: dict[str, Any], context: CallContext) -> Outcome:
    status = answer.status
    text = answer.text()
    if not _expected(status, request.get("expect")):
        detail = {"status": status, "body": head(context.redact(text), 4000)}
        sentence = f"status {status}" + (f": {answer.reason}" if answer.reason else "")
        wait = answer.retry_after()
        if status == 429:
            return failed(
                context, "rate_limit", sentence, status=status, detail=detail, no_effect=True, retry_after=wait
            )
        code = "unavailable" if status in _UNAVAILABLE else "tool_error"
        return failed(context, code, sentence, status=status, detail=detail, retry_after=wait)
    wanted = bool(request.get("output_json"))
    body: Any = text
    if wanted or (answer.is_json and not answer.dropped):
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            if wanted:
                detail = {"status": status, "body": head(context.redact(text), 4000)}
                return failed(context, "invalid_output", f"the body is not JSON: {error}", status=status, detail=detail)
    if wanted:
        return finish(body, context)
    return finish({"status": status, "headers": answer.headers, "body": body}, context)


def _expected(status: int, expect: Any) -> bool:
    if expect is None:
        return 200 <= status < 300
    wanted = cast("list[Any]", expect) if isinstance(expect, list) else [expect]
    return any(str(item).lower() in (str(status), f"{status // 100}xx") for item in wanted)


# The library's own debug log shows headers and URLs, secrets among them.
logging.getLogger("httpcore2").setLevel(logging.WARNING)
logging.getLogger("httpx2").setLevel(logging.WARNING)
