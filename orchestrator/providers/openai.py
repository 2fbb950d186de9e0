"""OpenAI, and whatever speaks Chat Completions or Responses at another URL (Ollama, vLLM …), through the official SDK.

As with the other client, the SDK brings connections and headers, retries are the run's own (``max_retries=0``), and
the reply is put together from the wire's events (``openai_reply``). A call is made at least once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

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
    unsendable,
)
from orchestrator.providers.openai_body import api_of, build
from orchestrator.providers.openai_reply import ChatAssembly, ResponsesAssembly, event_or_end, from_status
from orchestrator.providers.protocol import ModelError

if TYPE_CHECKING:
    import httpx2
    import openai

    from orchestrator.agents.messages import ModelRequest, Reply, Usage
    from orchestrator.providers.protocol import ModelContext

KEY_VARIABLE = "OPENAI_API_KEY"
PUBLIC_URL = "https://api.openai.com/v1"
IDLE_SECONDS = 600.0
# What the SDK would add of its own: these belong to whoever runs it, and are no part of the run.
_AMBIENT = ("OpenAI-Organization", "OpenAI-Project")


class OpenAIProvider:
    """One object per process. It holds a pool of connections per URL and key."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str | None], openai.AsyncOpenAI] = {}
        self._importing = anyio.Lock()

    async def call(self, request: ModelRequest, context: ModelContext) -> Reply:
        """Send one request once and stream its reply. ``settings.timeout`` bounds the whole call."""
        body = build(request)
        settings = request.settings
        client = await self._client(settings, context)
        headers = _headers(settings, context, keyed=client.api_key != "")
        assembly = ChatAssembly(seed=str(len(request.messages))) if api_of(settings) == "chat" else ResponsesAssembly()
        seconds = longest(settings)
        with anyio.move_on_after(seconds):
            return await self._stream(client, body, headers, context, assembly, idle=min(seconds, IDLE_SECONDS))
        raise ModelError("timeout", f"the model did not finish its reply within {seconds:g} s")

    async def aclose(self) -> None:
        """Close every pool."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()

    async def _stream(
        self,
        client: openai.AsyncOpenAI,
        body: dict[str, Any],
        headers: dict[str, Any],
        context: ModelContext,
        assembly: ChatAssembly | ResponsesAssembly,
        *,
        idle: float,
    ) -> Reply:
        import httpx2
        import openai

        api = client.chat.completions if isinstance(assembly, ChatAssembly) else client.responses
        create = cast("Any", api.with_streaming_response.create)
        # As extra_body: the wire gets what was built, and the SDK has nothing to add to it or to warn of.
        first: dict[str, Any] = {"model": body["model"], "stream": True}
        if isinstance(assembly, ChatAssembly):
            first["messages"] = []
        timeout = httpx2.Timeout(idle, connect=min(idle, CONNECT_SECONDS))
        try:
            async with create(**first, extra_body=body, extra_headers=headers, timeout=timeout) as answer:
                await receive(answer.http_response, assembly, context, read=event_or_end, id_header="x-request-id")
        except (openai.APIError, httpx2.HTTPError) as error:
            raise _failure(error, assembly.usage, idle) from None
        return assembly.finish()

    async def _client(self, settings: dict[str, Any], context: ModelContext) -> openai.AsyncOpenAI:
        url, key = target(
            settings, context, key_variable=KEY_VARIABLE, url_variable="OPENAI_BASE_URL", public=PUBLIC_URL
        )
        if (url, key) not in self._clients:
            async with self._importing:
                # The import takes half a second: other runs of this process go on meanwhile.
                await anyio.to_thread.run_sync(_import_sdk)
            if (url, key) not in self._clients:
                self._clients[url, key] = _connect(url, key)
        return self._clients[url, key]


def _import_sdk() -> None:
    try:
        import openai  # noqa: F401  # pyright: ignore[reportUnusedImport]  # loaded here for its side effect on sys.modules
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise unsendable("provider openai needs the package openai: pip install 'orchestrator[openai]'") from None


def _connect(url: str, key: str | None) -> openai.AsyncOpenAI:
    """A client that asks nothing of the environment. "" as the key: send none."""
    import openai

    base, http = client_for(url, openai.DefaultAsyncHttpxClient)
    client = openai.AsyncOpenAI(
        api_key=key or "",
        admin_api_key="",
        base_url=base,
        default_headers=bearer(key),
        max_retries=0,
        http_client=http,
        _enforce_credentials=False,
    )
    client.organization = client.project = None
    return client


def _headers(settings: dict[str, Any], context: ModelContext, *, keyed: bool) -> dict[str, Any]:
    from openai import Omit

    ambient = (*environment_headers("OPENAI_CUSTOM_HEADERS"), *_AMBIENT)
    return entry_headers(settings, context, keyed=keyed, ambient=ambient, omit=Omit)


def _failure(error: openai.APIError | httpx2.HTTPError, used: Usage | None, idle: float) -> ModelError:
    """What an exception of the SDK, or of the connection under it, means. ``used`` is what the stream said so far."""
    import httpx2
    import openai

    match error:
        case openai.APIStatusError():
            return from_status(error.status_code, error.body, error.response.headers)
        case openai.APIError():
            return unreached(error.__cause__ or error)
        case httpx2.HTTPError():
            return cut(error, used, idle)
