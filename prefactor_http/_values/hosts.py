"""Decides which hosts may be called over plain http, from the URL alone, without DNS lookups."""

from __future__ import annotations

import re
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

# A fixed list, because `is_private` of `ipaddress` differs between releases of Python.
_PRIVATE = tuple(
    ip_network(block)
    for block in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared address space (RFC 6598), used by carriers and VPNs
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
_PRIVATE_DOMAINS = (".internal", ".local", ".test", ".svc", ".cluster.local", ".home.arpa")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_MAX_PARTS = 4


class Reach(Enum):
    """How far packets to a host may travel."""

    THIS_MACHINE = auto()
    PRIVATE_NETWORK = auto()
    ANYWHERE = auto()


def plain_http_reach(url: str) -> Reach | None:
    """Return how far unencrypted packets may travel; None for https.

    Args:
        url: An absolute URL. An ambiguous host counts as `Reach.ANYWHERE`.
    """
    parts = urlsplit(url)
    return _reach_of_host(parts.hostname or "") if parts.scheme == "http" else None


def _reach_of_host(host: str) -> Reach:
    address = _ipv6(host) if ":" in host else None
    if address is None:
        try:
            name = host.lower() if host.isascii() else host.encode("idna").decode().lower()
        except UnicodeError:
            return Reach.ANYWHERE
        labels = name.removesuffix(".").split(".")
        if not all(map(_LABEL.fullmatch, labels)):
            return Reach.ANYWHERE
        if not _NUMBER.fullmatch(labels[-1]):
            return _reach_of_name(labels)
        address = _ipv4(labels)
    return Reach.ANYWHERE if address is None else _reach_of_address(address)


def _reach_of_name(labels: list[str]) -> Reach:
    if labels[-1] == "localhost":
        return Reach.THIS_MACHINE
    name = ".".join(labels)
    # A name without a dot is local: a container, or a host in the search domain.
    is_private = len(labels) == 1 or name.endswith(_PRIVATE_DOMAINS)
    return Reach.PRIVATE_NETWORK if is_private else Reach.ANYWHERE


def _reach_of_address(address: IPv4Address | IPv6Address) -> Reach:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return Reach.THIS_MACHINE
    is_private = any(address in network for network in _PRIVATE)
    return Reach.PRIVATE_NETWORK if is_private else Reach.ANYWHERE


def _ipv6(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])  # without the zone
    except ValueError:
        return None


def _ipv4(parts: list[str]) -> IPv4Address | None:
    """Parse an address as the system's resolver does.

    It has one to four parts in decimal, octal or hexadecimal. The last part fills the remaining
    bytes: ``127.1`` and ``0x7f000001`` are 127.0.0.1.
    """
    if len(parts) > _MAX_PARTS or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *first, last = map(_number, parts)
    except ValueError:
        return None
    left = 8 * (_MAX_PARTS - len(first))
    if any(byte > 0xFF for byte in first) or last >> left:  # noqa: PLR2004 # the largest byte
        return None
    for place, byte in enumerate(first):
        last |= byte << (24 - 8 * place)
    return IPv4Address(last)


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)
