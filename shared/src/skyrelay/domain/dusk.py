"""Whether the sun is down at a place, and since when. Pure: the sun's position is computed (astral)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from skyrelay.domain.dawn import Place

_HORIZON_DEG = -0.833  # of the sun's middle when its upper edge touches the horizon, with refraction
_LONGEST_NIGHT = timedelta(hours=24)  # where the sun does not rise for weeks, a night counts as this long


def sun_down_since(place: Place, now: datetime) -> datetime | None:
    """Give when the sun went down, aware UTC; `None` while it is up.

    Parameters
    ----------
    place
        Where.
    now
        Aware time.
    """
    from astral import Observer  # what only compares times does without it
    from astral.sun import elevation, sunset

    observer = Observer(place.latitude_deg, place.longitude_deg)
    if elevation(observer, now, with_refraction=False) > _HORIZON_DEG:
        return None
    sunsets = []
    for days in (-2, -1, 0, 1):
        try:
            sunsets.append(sunset(observer, now.astimezone(UTC).date() + timedelta(days=days), UTC))
        except ValueError:  # the sun does not set on this day
            continue
    earliest = now - _LONGEST_NIGHT
    return max((each for each in sunsets if earliest <= each <= now), default=earliest)
