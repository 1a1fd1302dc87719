"""Which addresses a caller may name: those of a home, and no others."""

from __future__ import annotations

from ipaddress import ip_address

from skyrelay_gateway.own_site import is_home_name


def check_home_host(host: str) -> str:
    """Accept an address or a name that can only lead into the home itself.

    Raises
    ------
    ValueError
        For all others: what a caller names must not make this server speak to the world.
    """
    folded = host.strip().lower().rstrip(".")
    try:
        address = ip_address(folded)
    except ValueError:
        is_home = is_home_name(folded) and not folded.replace(".", "").isdigit()
    else:
        is_home = address.is_private and not (address.is_multicast or address.is_unspecified)
    if not is_home:
        raise ValueError(
            f"{host[:100]!r} is no address of a home: give a private one, or a name such as seestar.local"
        )
    return host
