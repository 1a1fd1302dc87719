"""The dawn at a telescope, for `stacking.when: dawn`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from skyrelay.domain.dawn import DawnRule, Place, last_dawn
from skyrelay.seestar.device import DeviceInfo
from skyrelay.settings import DawnSettings, ObservatorySettings, Settings
from skyrelay.store.tables import Telescope


def dawn_at(telescope: Telescope, settings: Settings, now: datetime) -> datetime | None:
    """Give the last dawn at a telescope, aware UTC; `None` where stacking does not wait for it."""
    if settings.stacking.when != "dawn":
        return None
    place = _place(telescope, settings.observatory)
    return last_dawn(_rule(settings.stacking.dawn), place, _zone(telescope, settings, now), now)


def record_place(row: Telescope, device: DeviceInfo) -> None:
    """Write down where a telescope says that it stands; what it does not say stays as it was."""
    if device.latitude_deg is not None and device.longitude_deg is not None:
        row.latitude_deg, row.longitude_deg = device.latitude_deg, device.longitude_deg
    row.zone = device.zone or row.zone


def _rule(dawn: DawnSettings) -> DawnRule:
    return DawnRule(dawn.event, timedelta(minutes=dawn.offset_min), dawn.at)


def _place(telescope: Telescope, site: ObservatorySettings) -> Place | None:
    """Give the observatory as configured, else where the telescope says that it stands."""
    if site.latitude is not None and site.longitude is not None:
        return Place(site.latitude, site.longitude)
    # A telescope that has no fix yet says 0, 0: out in the Atlantic.
    if not telescope.latitude_deg and not telescope.longitude_deg:
        return None
    return Place(telescope.latitude_deg or 0.0, telescope.longitude_deg or 0.0)


def _zone(telescope: Telescope, settings: Settings, now: datetime) -> tzinfo:
    """Give the zone of the telescope's clock as configured, else as it told, else this server's."""
    if telescope.timezone != "auto":
        return ZoneInfo(telescope.timezone)
    if settings.site_zone is not None:
        return settings.site_zone
    if telescope.zone is not None:
        return ZoneInfo(telescope.zone)
    return now.astimezone().tzinfo or UTC
