"""Claude, and whatever speaks the Messages wire format at another URL, through the official SDK.

The SDK brings connections, headers and authentication. Retries are the run's own, each journaled (``max_retries=0``);
the reply is put together from the wire's events (``anthropic_reply``), as the SDK takes a broken stream for a good
one. No idempotency key reaches this API: a call is made at least once, and one whose end was lost may be billed
twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from orchestrator.providers.anthropic_body import build, cache_ttl
from orchestrator.providers.anthropic_reply import Assembly, from_status, typed_event
from orchestrator.providers.connect import (
    CONNECT_SECONDS,
    bearer,
    client_for,
    cut,
    entry_headers,
    environment_headers,
    longest,
    receive,
    target,
    unreached,
)
from orchestrator.providers.protocol import ModelError

if TYPE_CHECKING:
    import anthropic
    import httpx2

    from orchestrator.agents.messages import ModelRequest, Reply, Usage
    from orchestrator.providers.protocol import ModelContext

KEY_VARIABLE = "ANTHROPIC_API_KEY"
PUBLIC_URL = "https://api.anthropic.com"
IDLE_SECONDS = 600.0


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
        seconds = longest(settings)
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
                await receive(answer.http_response, assembly, context, read=typed_event, id_header="request-id")
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise _failure(error, assembly.usage, idle) from None
        return assembly.finish()

    async def _client(self, settings: dict[str, Any], context: ModelContext) -> anthropic.AsyncAnthropic:
        url, key = target(
            settings, context, key_variable=KEY_VARIABLE, url_variable="ANTHROPIC_BASE_URL", public=PUBLIC_URL
        )
        if (url, key) not in self._clients:
            async with self._importing:
                # The import takes most of a second: other runs of this process go on meanwhile.
                await anyio.to_thread.run_sync(_import_sdk)
            if (url, key) not in self._clients:
                self._clients[url, key] = _connect(url, key)
        return self._clients[url, key]


def _import_sdk() -> None:
    import anthropic  # noqa: F401  # pyright: ignore[reportUnusedImport]  # loaded here for its side effect on sys.modules


def _connect(url: str, key: str | None) -> anthropic.AsyncAnthropic:
    """A client that takes nothing from profiles. "" as the key: send none."""
    import anthropic

    base, http = client_for(url, anthropic.DefaultAsyncHttpxClient)
    return anthropic.AsyncAnthropic(
        api_key=key or "",
        base_url=base,
        default_headers=bearer(key),
        max_retries=0,
        open_telemetry=False,
        http_client=http,
    )


def _headers(settings: dict[str, Any], context: ModelContext, *, keyed: bool) -> dict[str, Any]:
    from anthropic import Omit

    ambient = environment_headers("ANTHROPIC_CUSTOM_HEADERS")
    return entry_headers(settings, context, keyed=keyed, ambient=ambient, omit=Omit)


def _failure(error: anthropic.APIError | httpx2.HTTPError, used: Usage | None, idle: float) -> ModelError:
    """What an exception of the SDK, or of the connection under it, means. ``used`` is what the stream said so far."""
    import anthropic
    import httpx2

    match error:
        case anthropic.APIStatusError():
            return from_status(error.status_code, error.body, error.response.headers)
        case anthropic.APIError():
            return unreached(error.__cause__ or error)
        case httpx2.HTTPError():
            return cut(error, used, idle)
