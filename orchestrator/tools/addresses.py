"""Which hosts and addresses the http tool may reach.

Refused, unless ``allow_private`` names them, is every address that is not a public unicast one, in whatever form it
comes: judged is the very address that is then connected to. The lists follow the IANA special-purpose registries (RFC
6890).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from orchestrator.errors import OrchError
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Resolve: TypeAlias = "Callable[[str, int], Awaitable[Sequence[str]]]"

_CLOSED_4 = [
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public by its number, and yet the metadata service of a cloud
    )
]  # fmt: skip
_OPEN_6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_6 = [
    ipaddress.IPv6Network(net)
    for net in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")  # Teredo, 6to4, examples
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_QUAD = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}")
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)\.?")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


class Refused(OrchError):
    """A URL or an address that the http tool does not go to."""

    code = "E630"

    def __init__(self, what: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"{what} is refused: {why}", hint=hint)


def is_public(address: Address) -> bool:
    """Whether ``address`` is one of the open internet: unicast, global, and no way around to one that is not."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in net for net in _CLOSED_4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _OPEN_6 and not any(address in net for net in _CLOSED_6)


def literal(host: str) -> Address | None:
    """The address that ``host`` is, None for a name.

    Refused: an address that is not written in its usual form (decimal, octal, hexadecimal, fewer than four parts),
    which readers of the pipeline would not take for what it is; and names with signs that no name has.
    """
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            raise Refused(host, "it is no address") from None
        if address.scope_id is not None:
            raise Refused(host, "an address with a zone")
        return address
    if _QUAD.fullmatch(host):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError:
            raise Refused(host, "it is no address") from None
    if _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise Refused(host, "an address in an unusual form", hint="write it as four decimal numbers")
    if not _NAME.fullmatch(host) or ".." in host or len(host) > 254:
        raise Refused(host or "an empty host", "it is no name of a host")
    return None


@frozen
class Allowed:
    """``allow_private`` of a tool: all private addresses, none, or ``HOST``, ``HOST:PORT``, an address, a network."""

    everything: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def read(cls, value: Any) -> Allowed:
        """From the request: None, a boolean or a list of text."""
        if not isinstance(value, list):
            return cls(everything=value is True)
        hosts: set[str] = set()
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            text = str(item).strip().lower()
            try:
                networks.append(ipaddress.ip_network(text.strip("[]"), strict=False))
            except ValueError:
                hosts.add(text.rstrip("."))
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def permits(self, host: str, port: int, address: Address) -> bool:
        """Whether ``host``, as written in the URL, may stand for the private ``address``."""
        name = host.lower().rstrip(".")
        shown = f"[{name}]" if ":" in name else name
        if self.everything or name in self.hosts or f"{shown}:{port}" in self.hosts:
            return True
        return any(address in net for net in self.networks)


async def checked_addresses(host: str, port: int, allowed: Allowed, resolve: Resolve) -> list[str]:
    """The addresses of ``host``, each one checked. Raises Refused if one is not allowed, OSError if there is none."""
    known = literal(host)
    found = [known] if known is not None else [ipaddress.ip_address(text) for text in await resolve(host, port)]
    if not found:
        raise OSError(f"{host} has no address")
    for address in found:
        if not is_public(address) and not allowed.permits(host, port, address):
            shown = host if host == str(address) else f"{host} ({address})"
            raise Refused(shown, "not a public address", hint=f"list {host} under allow_private to reach it")
    return [str(address) for address in found]


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses of ``host`` by the system's resolver, in its order, each once. OSError where there are none."""
    entries = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))
