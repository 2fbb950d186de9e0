"""Claude, and whatever speaks the Messages wire format at another URL, through the official SDK.

The SDK brings connections, headers and authentication. Retries are the run's own, each journaled (``max_retries=0``);
the reply is put together from the wire's events (``anthropic_reply``), as the SDK takes a broken stream for a good
one. No idempotency key reaches this API: a call is made at least once, and one whose end was lost may be billed
twice.
"""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from orchestrator.agents.messages import Usage
from orchestrator.providers.anthropic_body import build, cache_ttl, unsendable
from orchestrator.providers.anthropic_reply import Assembly, EventDecoder, from_status, invalid
from orchestrator.providers.protocol import ModelError

if TYPE_CHECKING:
    import anthropic
    import httpx2

    from orchestrator.agents.messages import ModelRequest, Reply
    from orchestrator.providers.protocol import ModelContext

KEY_VARIABLE = "ANTHROPIC_API_KEY"
PUBLIC_URL = "https://api.anthropic.com"
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 600.0
WHOLE_SECONDS = 3600.0
DRAIN_SECONDS = 0.5


class AnthropicProvider:
    """One object per process. It holds a pool of connections per URL and key."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str | None], anthropic.AsyncAnthropic] = {}
        self._importing = anyio.Lock()

    async def call(self, request: ModelRequest, context: ModelContext) -> Reply:
        """Send one request once and stream its reply. ``settings.timeout`` bounds the whole call."""
        body = build(request)
        settings = request.settings
        client = await self._client(settings, context)
        headers = _headers(settings, context, keyed=client.api_key != "")
        given = settings.get("timeout")
        seconds = given / 1_000_000 if given else WHOLE_SECONDS
        with anyio.move_on_after(seconds):
            return await self._stream(
                client, body, headers, context, ttl=cache_ttl(settings), idle=min(seconds, IDLE_SECONDS)
            )
        raise ModelError("timeout", f"the model did not finish its reply within {seconds:g} s")

    async def aclose(self) -> None:
        """Close every pool."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()

    async def _stream(
        self,
        client: anthropic.AsyncAnthropic,
        body: dict[str, Any],
        headers: dict[str, Any],
        context: ModelContext,
        *,
        ttl: str | None,
        idle: float,
    ) -> Reply:
        import anthropic
        import httpx2

        # As extra_body: the wire gets what was built, and the SDK has nothing to add to it or to warn of.
        extra = {key: value for key, value in body.items() if key not in ("model", "max_tokens", "messages")}
        create = cast("Any", client.messages.with_streaming_response.create)
        assembly = Assembly(ttl=ttl)
        try:
            async with create(
                model=body["model"],
                max_tokens=body["max_tokens"],
                messages=body["messages"],
                stream=True,
                extra_body=extra,
                extra_headers=headers,
                timeout=httpx2.Timeout(idle, connect=min(idle, CONNECT_SECONDS)),
            ) as answer:
                await _receive(answer.http_response, assembly, context)
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise _failure(error, assembly.usage, idle) from None
        return assembly.finish()

    async def _client(self, settings: dict[str, Any], context: ModelContext) -> anthropic.AsyncAnthropic:
        url, key = _target(settings, context)
        if (url, key) not in self._clients:
            async with self._importing:
                # The import takes most of a second: other runs of this process go on meanwhile.
                await anyio.to_thread.run_sync(_import_sdk)
            if (url, key) not in self._clients:
                self._clients[url, key] = _connect(url, key)
        return self._clients[url, key]


async def _receive(response: httpx2.Response, assembly: Assembly, context: ModelContext) -> None:
    """Feed the reply until it says that it is whole."""
    import httpx2

    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise invalid(f"the reply is {kind or 'of no type'}, not an event stream")
    assembly.request_id = response.headers.get("request-id", "")
    decoder = EventDecoder()
    chunks = response.aiter_bytes()
    async for chunk in chunks:
        for event in decoder.feed(chunk):
            if text := assembly.feed(event):
                context.emit(text)
        if assembly.done:
            break
    # A reply that ends soon leaves its connection to the next call. One that does not, or is cut now, was whole before.
    with anyio.move_on_after(DRAIN_SECONDS), suppress(httpx2.HTTPError):
        async for _ in chunks:
            pass


def _target(settings: dict[str, Any], context: ModelContext) -> tuple[str, str | None]:
    """The URL and the key. The key of the environment goes to the URL of the environment or the public one, never to
    a file's.
    """
    url: Any = context.reveal(settings["base_url"]) if settings.get("base_url") else None
    key: Any = context.reveal(settings["api_key"]) if settings.get("api_key") else None
    if url is not None:
        if not _is_web_url(url):
            raise unsendable("`base_url` is not an http or https URL")
        return url, key
    if key is not None:
        return PUBLIC_URL, key
    found = os.environ.get(KEY_VARIABLE)
    if not found:
        raise ModelError("auth", f"there is no key: set {KEY_VARIABLE}", sent=False, usage=Usage())
    return os.environ.get("ANTHROPIC_BASE_URL") or PUBLIC_URL, found


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _import_sdk() -> None:
    import anthropic  # noqa: F401  # pyright: ignore[reportUnusedImport]  # loaded here for its side effect on sys.modules


def _connect(url: str, key: str | None) -> anthropic.AsyncAnthropic:
    """A client that takes nothing from profiles, and no proxy to this machine itself. "" as the key: send none."""
    import anthropic
    import httpx2

    own: dict[str, Any] = {}
    if _loopback(url):
        # The SDK reads the proxies of the environment whenever it makes the transport, whatever trust_env says.
        # Without TLS there is no certificate to check, and loading the known authorities takes 30 ms.
        own["transport"] = httpx2.AsyncHTTPTransport(trust_env=False, verify=url.startswith("https:"))
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise unsendable("`base_url` is not an http or https URL") from None
    try:
        http = anthropic.DefaultAsyncHttpxClient(trust_env=not own, follow_redirects=False, **own)
    except (ValueError, ImportError) as error:
        raise unsendable(f"the proxy of the environment cannot be used: {_name(error)}") from None
    return anthropic.AsyncAnthropic(
        api_key=key or "", base_url=base, max_retries=0, open_telemetry=False, http_client=http
    )


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _headers(settings: dict[str, Any], context: ModelContext, *, keyed: bool) -> dict[str, Any]:
    """The entry's own headers. Those of ANTHROPIC_CUSTOM_HEADERS, which the SDK would add, are no part of the run:
    dropped.
    """
    from anthropic import Omit

    lines = os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").split("\n")
    out: dict[str, Any] = {line.partition(":")[0].strip(): Omit() for line in lines if ":" in line}
    if not keyed:
        out["Authorization"] = Omit()
    given: dict[str, Any] = context.reveal(settings.get("headers") or {})
    return {**out, **given}


def _failure(error: anthropic.APIError | httpx2.HTTPError, used: Usage | None, idle: float) -> ModelError:
    """What an exception of the SDK, or of the connection under it, means. ``used`` is what the stream said so far."""
    import anthropic
    import httpx2

    match error:
        case anthropic.APIStatusError():
            return from_status(error.status_code, error.body, error.response.headers)
        case anthropic.APIError():
            return _unreached(error.__cause__ or error)
        case httpx2.TimeoutException():
            return ModelError("timeout", f"the stream said nothing for {idle:g} s", usage=used)
        case httpx2.DecodingError():
            return invalid("the reply is not encoded as it says")
        case _:
            return ModelError("unavailable", f"the stream was cut: {_name(error)}", usage=used)


def _unreached(cause: BaseException) -> ModelError:
    """The request failed before any answer. Only a connection that never stood proves that nothing arrived."""
    import httpx2

    match cause:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout() | httpx2.ProxyError():
            return ModelError(
                "unavailable", f"the model API cannot be reached: {_name(cause)}", sent=False, usage=Usage()
            )
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | httpx2.InvalidURL() | ValueError():
            return unsendable(f"the request cannot be sent: {_name(cause)}")
        case httpx2.TimeoutException():
            return ModelError("timeout", "the model API did not answer in time")
        case _:
            return ModelError("unavailable", f"the connection was lost before an answer came: {_name(cause)}")


def _name(error: BaseException) -> str:
    """The kind of a failure. Its text may quote headers, so it is not repeated."""
    return type(error).__name__
