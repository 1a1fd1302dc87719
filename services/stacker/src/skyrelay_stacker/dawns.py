"""The dawn at a telescope, for `stacking.when: dawn`."""

from __future__ import annotations

from datetime import datetime, timedelta

from skyrelay.domain.dawn import DawnRule, last_dawn
from skyrelay.seestar.device import DeviceInfo
from skyrelay.settings import DawnSettings, Settings
from skyrelay.store.places import place_of, zone_of
from skyrelay.store.tables import Telescope


def dawn_at(telescope: Telescope, settings: Settings, now: datetime) -> datetime | None:
    """Give the last dawn at a telescope, aware UTC; `None` where stacking does not wait for it."""
    if settings.stacking.when != "dawn":
        return None
    place = place_of(telescope, settings.observatory)
    return last_dawn(_rule(settings.stacking.dawn), place, zone_of(telescope, settings, now), now)


def record_place(row: Telescope, device: DeviceInfo) -> None:
    """Write down where a telescope says that it stands; what it does not say stays as it was."""
    if device.latitude_deg is not None and device.longitude_deg is not None:
        row.latitude_deg, row.longitude_deg = device.latitude_deg, device.longitude_deg
    row.zone = device.zone or row.zone


def _rule(dawn: DawnSettings) -> DawnRule:
    return DawnRule(dawn.event, timedelta(minutes=dawn.offset_min), dawn.at)
