"""What clients of model APIs share: where a call goes and with which key, connections, and what their failures mean.

The SDKs bring headers and authentication; they all send through httpx2.
"""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio

from orchestrator.agents.messages import Usage
from orchestrator.providers.protocol import ModelError
from orchestrator.providers.sse import EventLines, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import httpx2

    from orchestrator.agents.messages import Reply
    from orchestrator.providers.protocol import ModelContext

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 600.0
WHOLE_SECONDS = 3600.0
DRAIN_SECONDS = 0.5


class Assembly(Protocol):
    """A reply in the making."""

    request_id: str
    done: bool

    @property
    def usage(self) -> Usage | None:
        """What the call used, once that is known finally."""
        ...

    def feed(self, event: dict[str, Any]) -> str:
        """Take one event; the text that it shows. Raises ModelError."""
        ...

    def finish(self) -> Reply:
        """The reply, checked. Raises ModelError."""
        ...


def unsendable(message: str) -> ModelError:
    """A request that was refused here: nothing went out, nothing was used."""
    return ModelError("bad_request", message, sent=False, usage=Usage())


def target(
    settings: dict[str, Any], context: ModelContext, *, key_variable: str, url_variable: str, public: str
) -> tuple[str, str | None]:
    """The URL and the key. The key of the environment goes to the URL of the environment or the public one, never to
    a file's.
    """
    url: Any = context.reveal(settings["base_url"]) if settings.get("base_url") else None
    key: Any = context.reveal(settings["api_key"]) if settings.get("api_key") else None
    if url is not None:
        if not is_web_url(url):
            raise unsendable("`base_url` is not an http or https URL")
        return url, key
    if key is not None:
        return public, key
    found = os.environ.get(key_variable)
    if not found:
        raise ModelError("auth", f"there is no key: set {key_variable}", sent=False, usage=Usage())
    return os.environ.get(url_variable) or public, found


def is_web_url(url: str) -> bool:
    """Whether text is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def client_for(url: str, make: Callable[..., httpx2.AsyncClient]) -> tuple[httpx2.URL, httpx2.AsyncClient]:
    """The parsed URL and an HTTP client for it, made by the SDK's own class: no redirects, no proxy to this machine."""
    import httpx2

    own: dict[str, Any] = {}
    if is_loopback(url):
        # The SDK reads the proxies of the environment whenever it makes the transport, whatever trust_env says.
        # Without TLS there is no certificate to check, and loading the known authorities takes 30 ms.
        own["transport"] = httpx2.AsyncHTTPTransport(trust_env=False, verify=url.startswith("https:"))
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise unsendable("`base_url` is not an http or https URL") from None
    try:
        return base, make(trust_env=not own, follow_redirects=False, **own)
    except (ValueError, ImportError) as error:
        raise unsendable(f"the proxy of the environment cannot be used: {name_of(error)}") from None


def environment_headers(variable: str) -> list[str]:
    """The names of the headers that an SDK would add of its own from a variable: they are no part of the run."""
    lines = os.environ.get(variable, "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def entry_headers(
    settings: dict[str, Any], context: ModelContext, *, keyed: bool, ambient: Iterable[str], omit: Callable[[], Any]
) -> dict[str, Any]:
    """The entry's own headers. ``ambient`` are those that the SDK would add from the environment, and that are no part
    of the run: ``omit`` makes what has it leave one out.
    """
    out: dict[str, Any] = {name: omit() for name in ambient}
    if keyed:
        out = {name: value for name, value in out.items() if name.lower() != "authorization"}
    else:
        out["Authorization"] = omit()
    given: dict[str, Any] = context.reveal(settings.get("headers") or {})
    return {**out, **given}


def bearer(key: str | None) -> dict[str, str]:
    """The key as a header of the client's own: it wins over one that the environment would have stand in for it."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def longest(settings: dict[str, Any]) -> float:
    """Seconds that a whole call may take."""
    given = settings.get("timeout")
    return given / 1_000_000 if given else WHOLE_SECONDS


async def receive(
    response: httpx2.Response,
    assembly: Assembly,
    context: ModelContext,
    *,
    read: Callable[[bytes], dict[str, Any]],
    id_header: str,
) -> None:
    """Feed a stream of events, each ``read`` from its data, until the reply says that it is whole."""
    import httpx2

    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise invalid(f"the reply is {kind or 'of no type'}, not an event stream")
    assembly.request_id = response.headers.get(id_header, "")
    lines = EventLines()
    chunks = response.aiter_bytes()
    async for chunk in chunks:
        for data in lines.feed(chunk):
            if text := assembly.feed(read(data)):
                context.emit(text)
        if assembly.done:
            break
    # A reply that ends soon leaves its connection to the next call. One that does not, or is cut now, was whole before.
    with anyio.move_on_after(DRAIN_SECONDS), suppress(httpx2.HTTPError):
        async for _ in chunks:
            pass


def cut(error: httpx2.HTTPError, used: Usage | None, idle: float) -> ModelError:
    """What a failure of the connection within a reply means. ``used`` is what the stream said so far."""
    import httpx2

    match error:
        case httpx2.TimeoutException():
            return ModelError("timeout", f"the stream said nothing for {idle:g} s", usage=used)
        case httpx2.DecodingError():
            return invalid("the reply is not encoded as it says")
        case _:
            return ModelError("unavailable", f"the stream was cut: {name_of(error)}", usage=used)


def unreached(cause: BaseException) -> ModelError:
    """The request failed before any answer. Only a connection that never stood proves that nothing arrived."""
    import httpx2

    match cause:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout() | httpx2.ProxyError():
            return ModelError(
                "unavailable", f"the model API cannot be reached: {name_of(cause)}", sent=False, usage=Usage()
            )
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | httpx2.InvalidURL() | ValueError():
            return unsendable(f"the request cannot be sent: {name_of(cause)}")
        case httpx2.TimeoutException():
            return ModelError("timeout", "the model API did not answer in time")
        case _:
            return ModelError("unavailable", f"the connection was lost before an answer came: {name_of(cause)}")


def name_of(error: BaseException) -> str:
    """The kind of a failure. Its text may quote headers, so it is not repeated."""
    return type(error).__name__
