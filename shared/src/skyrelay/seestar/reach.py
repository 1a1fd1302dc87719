"""Why a telescope cannot be reached, in words that say what to look at."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

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
