"""One HTTP exchange with one address that was checked: what lies between the http tool and its library."""

from __future__ import annotations

import functools
import os
import re
import ssl
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SystemClock
from orchestrator.frozen import field, frozen, slotted
from orchestrator.tools.addresses import Allowed, Refused, Resolve, checked_addresses
from orchestrator.tools.policy import KEPT

if TYPE_CHECKING:
    import httpx2

CONNECT = 10.0
"""Seconds that one address has to accept a connection."""

_ADDRESSES = 4
_UNCLEAN = re.compile(r"[\x00-\x20\x7f\\]")


class Broken(Exception):
    """No answer came. ``code`` is the class of the failure."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@frozen
class Message:
    """A request as it goes out; ``secret`` names the headers that stay within their origin."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    secret: frozenset[str]


@slotted
class Progress:
    """What is known of the effect so far: whether anything was sent, and whether the method can have one."""

    safe: bool
    sent: bool = False

    @property
    def harmless(self) -> bool:
        """True where it is proven that the other side never got a request."""
        return not self.sent


@frozen
class Target:
    """A URL that may be asked for, taken apart once."""

    url: httpx2.URL
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs share where headers with secrets may go from one to the other."""
        return (self.scheme, self.host, self.port)


@frozen
class Answer:
    """A response: ``body`` is decoded and holds at most ``KEPT`` bytes; ``dropped`` says that there were more."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    dropped: bool = False

    @property
    def is_json(self) -> bool:
        """Whether the content's type says JSON."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")

    def text(self) -> str:
        """The body as text, by the charset that the headers name, else UTF-8."""
        named = re.search(r"charset\s*=\s*\"?([\w.:-]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        try:
            text = self.body.decode(named[1] if named else "utf-8", "replace")
        except (LookupError, ValueError):
            text = self.body.decode("utf-8", "replace")
        return f"{text}\n[more bytes were dropped]\n" if self.dropped else text

    def retry_after(self) -> float | None:
        """Seconds that the other side asked to wait, None where it did not, or not in a form that is known."""
        text = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}(?:\.\d+)?", text):
            return float(text)
        try:
            moment = parsedate_to_datetime(text).timestamp()
        except (TypeError, ValueError, OverflowError):
            return None
        return max(moment - SystemClock().now() / 1_000_000, 0.0)


def target(url: str) -> Target:
    """``url`` taken apart. Raises Refused for what is no plain http or https URL."""
    import httpx2

    shown = url.partition("?")[0]
    if _UNCLEAN.search(url):
        raise Refused(repr(shown), "a space, a backslash or a control character in a URL")
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Refused(shown, str(error)) from None
    if parsed.scheme not in ("http", "https"):
        raise Refused(shown, "only http and https are supported")
    if parsed.userinfo:
        raise Refused(f"a URL of {parsed.host}", "a user's name in it", hint="use auth")
    host = parsed.raw_host.decode("ascii").lower()
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    if not 0 < port < 65_536:
        raise Refused(shown, "it has no such port")
    return Target(parsed, parsed.scheme, host, port)


def join(base: Target, location: str) -> str:
    """Where ``location``, sent by ``base``, points to. Raises Refused where that is no URL."""
    import httpx2

    if _UNCLEAN.search(location):
        raise Refused("a redirect", "a space, a backslash or a control character in its URL")
    try:
        return str(base.url.join(location))
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Refused("a redirect", str(error)) from None


async def send(message: Message, to: Target, allowed: Allowed, resolve: Resolve, progress: Progress) -> Answer:
    """Resolve, check, connect to what was checked, send and read. Raises Refused, or Broken where no answer comes."""
    try:
        addresses = await checked_addresses(to.host, to.port, allowed, resolve)
    except (OSError, UnicodeError) as error:
        raise Broken("unavailable", f"{to.host}: {error}") from None
    problem: Broken | None = None
    for address in addresses[:_ADDRESSES]:
        try:
            return await _send_to(address, message, to, progress)
        except _NotConnected as error:
            problem = Broken(error.code, f"{to.host}:{to.port}: {error}")
    assert problem is not None
    raise problem


class _NotConnected(Broken):
    """This address did not take the connection; another one may."""


async def _send_to(address: str, message: Message, to: Target, progress: Progress) -> Answer:
    import httpx2

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            progress.sent = True

    default = (to.scheme, to.port) in (("http", 80), ("https", 443))
    host = f"[{to.host}]" if ":" in to.host else to.host
    headers = {"host": host if default else f"{host}:{to.port}", **message.headers}
    request = httpx2.Request(
        message.method,
        to.url.copy_with(host=address, fragment=None),
        headers=[(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()],
        content=message.body,
        extensions={
            "timeout": {"connect": CONNECT, "read": None, "write": None, "pool": None},
            "sni_hostname": to.host,  # the certificate is checked against the name, not the address
            "trace": trace,
        },
    )
    context = _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    verify = context if to.scheme == "https" else _unused()
    try:
        async with httpx2.AsyncHTTPTransport(verify=verify, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                return await _read(response)
            finally:
                await response.aclose()
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise _NotConnected(*_why_not_connected(error)) from None
    except httpx2.LocalProtocolError as error:
        raise Broken("tool_error", str(error)) from None
    except httpx2.TimeoutException as error:
        raise Broken("timeout", f"{to.host}: {error or type(error).__name__}") from None
    except httpx2.TransportError as error:
        raise Broken("unavailable", f"{to.host}: {error or type(error).__name__}") from None


def _why_not_connected(error: BaseException) -> tuple[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tool_error", f"no TLS connection: {cause.reason or cause}"
        cause = cause.__cause__ or cause.__context__
    return "unavailable", str(error) or "the connection was not accepted in time"


@functools.cache
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """The trusted roots, loaded once for each setting of the environment."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=bool(file or folder))


@functools.cache
def _unused() -> ssl.SSLContext:
    """For plain http, where loading the roots would be for nothing; it trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(response: httpx2.Response) -> Answer:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    inflate = _Inflate(headers.get("content-encoding", "identity"))
    async for chunk in response.aiter_raw():
        if not inflate.feed(chunk):
            break
    inflate.close()
    reason = response.extensions.get("reason_phrase", b"").decode("latin-1")
    return Answer(response.status_code, reason, headers, bytes(inflate.body), inflate.full)


@slotted
class _Inflate:
    """Collects a body and undoes its encoding, never holding more than ``KEPT`` bytes of it."""

    encoding: str
    body: bytearray = field(default_factory=bytearray)
    full: bool = False
    _engine: Any = None

    def __post_init__(self) -> None:
        match self.encoding.strip().lower():
            case "identity" | "":
                pass
            case "gzip" | "x-gzip":
                self._engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
            case other:
                raise Broken("tool_error", f"the body is encoded as {other}, which is not supported")

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; False where the rest need not be read."""
        room = KEPT - len(self.body)
        if self._engine is not None:
            try:
                chunk = self._engine.decompress(chunk, room + 1)
            except zlib.error as error:
                raise Broken("tool_error", f"the body is not what its encoding says: {error}") from None
        self.full = len(chunk) > room
        self.body += chunk[:room]
        return not self.full

    def close(self) -> None:
        """The end of what came. Raises Broken where it is not the end of what was encoded."""
        if self._engine is not None and self.body and not self.full and not self._engine.eof:
            raise Broken("tool_error", "the body ends before what its encoding says")
