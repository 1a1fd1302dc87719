"""Where a telescope stands and by which clock: as configured, else as it told. Never to be shown."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from skyrelay.domain.dawn import Place
from skyrelay.settings import ObservatorySettings, Settings
from skyrelay.store.tables import Telescope


def place_of(telescope: Telescope, site: ObservatorySettings) -> Place | None:
    """Give the observatory as configured, else where the telescope says that it stands."""
    if site.latitude is not None and site.longitude is not None:
        return Place(site.latitude, site.longitude)
    # A telescope that has no fix yet says 0, 0: out in the Atlantic.
    if not telescope.latitude_deg and not telescope.longitude_deg:
        return None
    return Place(telescope.latitude_deg or 0.0, telescope.longitude_deg or 0.0)


def zone_of(telescope: Telescope, settings: Settings, now: datetime) -> tzinfo:
    """Give the zone of the telescope's clock as configured, else as it told, else this server's."""
    if telescope.timezone != "auto":
        return ZoneInfo(telescope.timezone)
    if settings.site_zone is not None:
        return settings.site_zone
    if telescope.zone is not None:
        return ZoneInfo(telescope.zone)
    return now.astimezone().tzinfo or UTC
