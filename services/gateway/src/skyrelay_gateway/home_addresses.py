"""Which addresses a caller may name: those of a home, and no others."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address

from skyrelay_gateway.own_site import is_home_name

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def check_home_host(host: str) -> str:
    """Accept an address or a name that can only lead into the home itself.

    Raises
    ------
    ValueError
        For all others: what a caller names must not make this server speak to the world.
    """
    folded = host.lower().rstrip(".")
    if not (_is_home_address(folded) or _is_name_at_home(folded)):
        raise ValueError(
            f"{host[:100]!r} is no address of a home: give a private one, or a name such as seestar.local"
        )
    return host


def _is_home_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not (address.is_global or address.is_multicast or address.is_unspecified)


def _is_name_at_home(text: str) -> bool:
    """Tell whether it is a home's name, and no address written in another way (``0x08080808``)."""
    if _NAME.fullmatch(text) is None or text.rpartition(".")[2].isdecimal():
        return False
    try:
        socket.inet_aton(text)
    except OSError:
        return is_home_name(text)
    return False
