"""Why a telescope cannot be reached, in words that say what to look at."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from skyrelay.seestar.errors import HostAway, HostUnknown, ServiceDown, Unreachable


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
        where = self.host if self.telescope == self.host else f"{self.telescope}: {self.host}"
        if isinstance(
            error, socket.gaierror | UnicodeError
        ):  # UnicodeError: no host name at all, such as "a..b"
            return HostUnknown(
                f"{where} is no address that this network knows: check telescopes[{self.telescope}].host"
            )
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return ServiceDown(
                f"{where} is there but refuses port {self.number}: is it the telescope, fully started, "
                f"and is telescopes[{self.telescope}].{self.setting} right?"
            )
        return HostAway(
            f"{where} does not answer on port {self.number}: is the telescope on and in your Wi-Fi?"
        )
