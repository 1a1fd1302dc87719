"""Which addresses can only lead into the home: what a page may have asked, and nothing else."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from skyrelay.domain.asked import DISCOVERY_PORT, Asked, asked_of

# What no public registry sells: RFC 6762, 8375, ICANN's .internal, and what routers call their homes.
HOME_DOMAINS = (".local", ".lan", ".home.arpa", ".internal", ".fritz.box")
_HOME_NETWORKS = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10")
)  # RFC 1918, this machine, and the shared space of RFC 6598, in which VPNs such as Tailscale live
# Resolvers take these for addresses, too: 0x08080808, 134744072, 8.8.2056.
_ADDRESS_IN_DISGUISE = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LOWEST_FREE_PORT = 1024  # below it live other services; people forward a telescope's ports above it


def is_home_address(address: str) -> bool:
    """Tell whether an address of IPv4 is of a home's network, of a VPN or of this machine itself.

    Link-local ones are not: a cloud's metadata answers there, and no telescope that a router knows.
    """
    try:
        found = IPv4Address(address)
    except AddressValueError:
        return False
    return any(found in network for network in _HOME_NETWORKS)


def check_home_host(host: str) -> str:
    """Give a host that a page may name, as it is.

    Parameters
    ----------
    host
        An address, or a name; where a name leads has to be looked up by whoever goes there.

    Raises
    ------
    ValueError
        If it may lead out of the home.
    """
    asked = asked_of(host)[0] if "/" not in host and ":" not in host else None
    if asked is None:
        raise ValueError(f"{host!r} is no host: give its name or address alone")
    if asked.is_name:
        name = asked.host.lower().removesuffix(".")
        is_foreign = "." in name and not name.endswith(HOME_DOMAINS)
        if is_foreign or not _NAME.fullmatch(name) or _ADDRESS_IN_DISGUISE.fullmatch(name):
            raise ValueError(f"{host!r} is no name of a home's network: give the telescope's address")
    elif not is_home_address(asked.host):
        raise ValueError(f"{host!r} is no address of a home's network (such as 192.168.1.50)")
    return asked.host


def check_home_port(port: int, usual: int) -> int:
    """Give a port that a page may name: the usual one, or one that people forward to.

    Raises
    ------
    ValueError
        If another service is known to live there.
    """
    if port != usual and port < _LOWEST_FREE_PORT:
        raise ValueError(
            f"{port} is another service's port: give {usual}, or one from {_LOWEST_FREE_PORT} on"
        )
    return port


def home_asked_of(text: str) -> tuple[Asked, ...]:
    """Read whom a page wants asked: a host, ``host:port``, or a network of the home.

    Raises
    ------
    ValueError
        If it is none, lies outside of the home, or is a network of more than a /22.
    """
    asked = asked_of(text)
    if "/" in text:
        network = IPv4Network(text.strip(), strict=False)
        ends = (network.network_address, network.broadcast_address)
        if not all(is_home_address(str(end)) for end in ends):
            raise ValueError(f"{text!r} is no network of a home (such as 192.168.1.0/24)")
        return asked
    (one,) = asked
    return (Asked(check_home_host(one.host), check_home_port(one.port, DISCOVERY_PORT)),)
