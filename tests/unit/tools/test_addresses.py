from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from orchestrator.tools.addresses import Allowed, Refused, checked_addresses, is_public, literal, system_resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::2", "::7f00:1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1", "2001:0:7f00:1::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:1::1", "2002:808:808::1",
    "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::a9fe:a9fe",
    "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
OPEN = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "93.184.216.34", "100.63.255.255", "100.128.0.1",
    "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1",
    "192.167.255.255", "192.169.0.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111",
    "2001:4860:4860::8888", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_addresses_that_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_no_address_is_public_that_the_standard_library_calls_otherwise() -> None:
    for text in OPEN:
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        assert (mapped or address).is_global or text.startswith("64:ff9b::")


UNUSUAL = [
    "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.1", "127.0.1", "0", "1",
    "00000000.0", "010.0.0.1", "127.0.0.01", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.4.", "127.0.0.1.", "0x",
    "0xg.0x1", "134744072", "8.8.2056", "3232235521", "x.0x7f", "x.1",
]  # fmt: skip


@pytest.mark.parametrize("host", UNUSUAL)
def test_addresses_in_an_unusual_form_are_refused(host: str) -> None:
    with pytest.raises(Refused):
        literal(host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "..", "a..b", "-a", "a b", "a\0b", "a/b", "a@b", "a%62", "%31%32%37.0.0.1", "[::1]", "fe80::1%eth0", "::1%1",
     "::g", "1:2:3", "é.com", "a" * 300, "a\n", "$(id)", "a,b"],
)  # fmt: skip
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(Refused):
        literal(host)


@pytest.mark.parametrize(
    "host",
    ["localhost", "example.com", "example.com.", "xn--exmple-cua.com", "a_b.example", "1.example", "a1", "0x7f.com"],
)
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    ("allow", "host", "port", "address", "permitted"),
    [
        (None, "a.internal", 80, "10.0.0.1", False),
        (False, "a.internal", 80, "10.0.0.1", False),
        (True, "a.internal", 80, "10.0.0.1", True),
        (["a.internal"], "a.internal", 80, "10.0.0.1", True),
        (["A.Internal."], "a.internal", 80, "10.0.0.1", True),
        (["a.internal"], "b.a.internal", 80, "10.0.0.1", False),
        (["a.internal:8080"], "a.internal", 8080, "10.0.0.1", True),
        (["a.internal:8080"], "a.internal", 80, "10.0.0.1", False),
        (["10.0.0.1"], "10.0.0.1", 80, "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", 80, "10.0.0.2", False),
        (["10.0.0.0/8"], "a.internal", 80, "10.9.9.9", True),
        (["10.0.0.0/8"], "a.internal", 80, "127.0.0.1", False),
        (["::1"], "::1", 80, "::1", True),
        (["[::1]"], "::1", 80, "::1", True),
        (["[::1]:99"], "::1", 99, "::1", True),
        ([], "localhost", 80, "127.0.0.1", False),
    ],
)
def test_allow_private(allow: object, host: str, port: int, address: str, permitted: bool) -> None:
    assert Allowed.read(allow).permits(host, port, ipaddress.ip_address(address)) is permitted


def resolving(*addresses: str):  # noqa: ANN201  a function for a parameter
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize("closed", CLOSED)
async def test_a_name_with_one_address_that_is_not_public_is_refused(closed: str) -> None:
    for addresses in ([closed], ["8.8.8.8", closed], [closed, "8.8.8.8"]):
        with pytest.raises(Refused, match="not a public address"):
            await checked_addresses("rebind.example", 80, Allowed(), resolving(*addresses))
    if ":" not in closed:
        with pytest.raises(Refused):
            await checked_addresses(closed, 80, Allowed(), resolving("8.8.8.8"))


async def test_the_addresses_that_were_checked_come_back() -> None:
    found = await checked_addresses("example.com", 80, Allowed(), resolving("8.8.8.8", "2606:4700::1"))
    assert found == ["8.8.8.8", "2606:4700::1"]
    assert await checked_addresses("8.8.4.4", 80, Allowed(), resolving("10.0.0.1")) == ["8.8.4.4"]
    with pytest.raises(OSError, match="no address"):
        await checked_addresses("example.com", 80, Allowed(), resolving())


async def test_the_system_resolver() -> None:
    assert "127.0.0.1" in await system_resolve("127.0.0.1", 80)
    with pytest.raises(OSError, match=r"\w"):
        await system_resolve("nonesuch.invalid", 80)
