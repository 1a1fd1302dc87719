"""The way to a telescope's ports, and why one cannot be reached, in words that say what to look at."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address

from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import (
    HostAbsent,
    HostAway,
    HostUnknown,
    NetworkDown,
    ServiceDown,
    Unreachable,
)

# No answer to ARP, or a router that says so; Linux takes some three seconds to be sure.
_NOBODY_THERE = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_OFF_OR_OUT = "which of the two cannot be seen from here"


def addresses_of(host: str, deadline: Deadline) -> tuple[str, ...]:
    """Look a host name up; an address is itself.

    The system's resolver has no time limit of its own (a name server that is away, mDNS without a
    telescope): it is asked in a thread that nobody waits for after the deadline.

    Raises
    ------
    OSError
        If the name gives no address, or not in time.
    UnicodeError
        If it is no host name.
    """
    try:
        return (str(ip_address(host)),)
    except ValueError:
        found: Future[tuple[str, ...]] = Future()
        threading.Thread(target=_look_up, args=(host, found), name="look up", daemon=True).start()
    try:
        return found.result(deadline.left_s)
    except TimeoutError as error:
        raise socket.gaierror(socket.EAI_AGAIN, f"no address of {host} was found in time") from error


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Open a TCP connection, over the first of the host's addresses that takes one.

    Raises
    ------
    OSError, UnicodeError
        As the last of them says, or as `addresses_of`.
    """
    failure: OSError = TimeoutError(f"no time was left to connect to {host}")
    for address in addresses_of(host, deadline):
        try:
            return socket.create_connection((address, port), timeout=max(deadline.left_s, 0.001))
        except OSError as error:
            failure = error
    raise failure


def _look_up(host: str, found: Future[tuple[str, ...]]) -> None:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found.set_exception(error)
    else:
        found.set_result(tuple(dict.fromkeys(str(entry[4][0]) for entry in entries)))


@dataclass(frozen=True, slots=True)
class Port:
    """One of a telescope's ports.

    Attributes
    ----------
    telescope
        What the configuration calls the telescope.
    host, number
        Where it is.
    setting
        The setting that says so, e.g. ``rpc_port``.
    """

    telescope: str
    host: str
    number: int
    setting: str

    def away(self, error: BaseException) -> Unreachable:
        """Name what a failed connection means."""
        if isinstance(error, socket.gaierror | UnicodeError):  # UnicodeError: no host name, such as "a..b"
            return HostUnknown(
                f"{self._where} is no address that this network knows: "
                f"check telescopes[{self.telescope}].host"
            )
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ECONNREFUSED:
            return self._refused()
        if number in _NO_WAY_OUT:
            return NetworkDown(
                f"{self._where} cannot be reached because this server has no network to it: "
                "that says nothing about the telescope"
            )
        return self._absent() if number in _NOBODY_THERE else self._silent()

    @property
    def _where(self) -> str:
        return self.host if self.telescope == self.host else f"{self.telescope}: {self.host}"

    def _refused(self) -> Unreachable:
        return ServiceDown(
            f"{self._where} is there but refuses port {self.number}: is it the telescope, fully started, "
            f"and is telescopes[{self.telescope}].{self.setting} right?"
        )

    def _absent(self) -> Unreachable:
        return HostAbsent(
            f"{self._where} does not answer on port {self.number}, and no device of the network has that "
            f"address: the telescope is switched off or out of your Wi-Fi ({_OFF_OR_OUT}), or its address "
            "has changed"
        )

    def _silent(self) -> Unreachable:
        return HostAway(
            f"{self._where} does not answer on port {self.number}: is the telescope on and in your Wi-Fi? "
            "What is sent there vanishes, so it may also be asleep, or a firewall in between"
        )
