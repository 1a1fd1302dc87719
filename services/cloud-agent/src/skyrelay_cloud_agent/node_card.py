"""What the node tells the network of itself, from the settings."""

from __future__ import annotations

from datetime import datetime

from skyrelay.cloud.client import NodeCard
from skyrelay.errors import PermanentError
from skyrelay.settings import ObservatorySettings, Settings

_SHARED_DIGITS = 1  # 0.1°, some 10 km: the home itself is nobody's business until its owner says otherwise
_SHARED_ELEVATION_M = 10.0


class LocationMissing(PermanentError):  # noqa: N818 - the state it names
    """The network takes no node without a place, and the settings name none."""


def node_card(settings: Settings, now: datetime) -> NodeCard:
    """Describe the node.

    Parameters
    ----------
    settings
        Its sections ``observatory`` (site, observer, telescope), ``photometry`` (filter, wished id) and
        ``cloud`` (an id that was assigned).
    now
        Aware UTC time, for the UTC offset.

    Raises
    ------
    LocationMissing
        If latitude or longitude are not set, or both are 0.
    """
    latitude_deg, longitude_deg = _position(settings)
    site = settings.observatory
    return NodeCard(
        node_id=settings.cloud.node_id or settings.photometry.node_id,
        owner_name=site.observer,
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        elevation_m=_elevation(site),
        telescope_model=site.telescope,
        filters=settings.photometry.filter_name,
        utc_offset_h=utc_offset_h(settings, now),
    )


def utc_offset_h(settings: Settings, now: datetime) -> float:
    """Give local time − UTC in hours: in the observatory's zone, else in the machine's."""
    offset = now.astimezone(settings.site_zone).utcoffset()
    return offset.total_seconds() / 3600 if offset is not None else 0.0


def _position(settings: Settings) -> tuple[float, float]:
    site = settings.observatory
    latitude_deg, longitude_deg = site.latitude, site.longitude
    if latitude_deg is None or longitude_deg is None or (latitude_deg == 0 and longitude_deg == 0):
        raise LocationMissing(
            "set observatory.latitude and observatory.longitude: the network registers no node without"
        )
    if site.share_location == "exact":
        return latitude_deg, longitude_deg
    return round(latitude_deg, _SHARED_DIGITS), round(longitude_deg, _SHARED_DIGITS)


def _elevation(site: ObservatorySettings) -> float | None:
    elevation_m = site.elevation  # the settings take no infinity
    if elevation_m is None or site.share_location == "exact":
        return elevation_m
    return round(elevation_m / _SHARED_ELEVATION_M) * _SHARED_ELEVATION_M
