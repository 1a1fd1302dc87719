"""Whom discovery asks: plain addresses, host names, forwarded ports, whole networks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

DISCOVERY_PORT = 4720
MOST_HOSTS = 1024  # of one network (a /22): more is no home, and a question to each is no longer polite
_HOST = re.compile(r"[^\s/:,]{1,253}")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """One address to send the question to; ``host`` may be a name."""

    host: str
    port: int = DISCOVERY_PORT

    @property
    def is_name(self) -> bool:
        """Whether the host has to be looked up first."""
        try:
            IPv4Address(self.host)
        except AddressValueError:
            return True
        return False


def asked_of(text: str, port: int = DISCOVERY_PORT) -> tuple[Asked, ...]:
    """Read ``host``, ``host:port`` or a network such as ``192.168.1.0/24`` (each of its hosts).

    Raises
    ------
    ValueError
        If it is none of these, or a network of more than `MOST_HOSTS`.
    """
    if "/" in text:
        return tuple(Asked(host, port) for host in _hosts_of(text))
    host, colon, number = text.strip().partition(":")
    wanted = int(number) if _PORT.fullmatch(number) else 0 if colon else port
    if not _HOST.fullmatch(host) or not 0 < wanted < 2**16:
        raise ValueError(f"{text!r} is no address: give a host, host:port or a network like 192.168.1.0/24")
    return (Asked(host, wanted),)


def _hosts_of(text: str) -> tuple[str, ...]:
    try:
        network = IPv4Network(text.strip(), strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(f"{text!r} is no network: write it like 192.168.1.0/24") from error
    if network.num_addresses > MOST_HOSTS + 2:
        raise ValueError(f"{text!r} has too many hosts to ask each: {MOST_HOSTS} at most, a /22")
    return tuple(str(host) for host in network.hosts())
