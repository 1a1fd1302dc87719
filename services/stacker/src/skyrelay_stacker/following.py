"""Look for a telescope that is not at its address any more: its serial number stays, addresses are DHCP's."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from skyrelay.domain.asked import Asked
from skyrelay.logs import get_logger
from skyrelay.seestar.discovery import Discovered, broadcast_addresses, discover
from skyrelay.settings import Settings
from skyrelay.store.tables import Telescope

_LISTEN = timedelta(seconds=1.2)  # three questions; one that answers ends it at once

_log = get_logger(__name__)


def find_moved(settings: Settings, row: Telescope, tried: Collection[str]) -> str | None:
    """Give an address at which a telescope of that serial number answers now, other than those tried.

    `None` where its serial number is not known yet, or nobody answers to it.
    """
    if row.serial is None:
        return None
    try:
        # What is configured is asked too, since a broadcast leaves no bridge network (Docker's).
        asked: list[str | Asked] = [*broadcast_addresses(), *settings.asked]
        found = discover(asked, listen=_LISTEN, until={row.serial})
    except OSError as error:  # no network at all, which the state says already
        _log.info("telescopes cannot be looked for now", problem=str(error))
        return None
    return _elsewhere(found, row.serial, tried)


def _elsewhere(found: Iterable[Discovered], serial: str, tried: Collection[str]) -> str | None:
    hosts = (host for telescope in found if telescope.serial == serial for host in telescope.hosts)
    return next((host for host in hosts if host not in tried), None)
