"""The node cloud's observing plan, item by item: what each means at a site, and whether it can be done. Pure.

Positions of the sky are good to about half a degree (mean equinox of J2000, no refraction), which decides
nothing that a tree or a roof does not decide first. Tested against astropy, whose own transformation would
load 100 MB and want tables of the Earth's rotation from the network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_NOON_HOUR = 12  # what starts before noon starts on the morning after
_STEP = timedelta(minutes=5)  # of the search for rise and set
_STEPS_A_DAY = 288
_SUN_IS_DOWN_DEG = -0.8  # its upper edge, with refraction
_MOST_SUBS, _LONGEST_SUB_S = 100_000, 3600.0
_MOST_ITEMS = 500


@dataclass(frozen=True, slots=True)
class Site:
    """Where the observatory is; degrees, north and east positive. Somebody's home: never in a ``repr``."""

    latitude_deg: float = field(repr=False)
    longitude_deg: float = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One observation of a plan, checked.

    Attributes
    ----------
    ra_hours, dec_deg
        J2000.
    start, end
        Aware times; ``end`` is ``start`` and all exposures.
    filter
        As the cloud names it.
    """

    target: str
    ra_hours: float
    dec_deg: float
    exposure_s: float
    count: int
    start: datetime
    end: datetime
    filter: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class SkyTimes:
    """How a target stands: degrees above the horizon, and UTC times.

    ``rise`` is that before its start if it is up then, else the next one; ``set`` the next one. Both are
    `None` for what does not cross the horizon.
    """

    altitude_start_deg: float
    altitude_end_deg: float
    lowest_deg: float
    highest_deg: float
    rise: datetime | None
    set: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of an item: the item itself (`None` if it is no good one), its sky, and why not."""

    target: str
    item: PlanItem | None
    sky: SkyTimes | None
    reason: str

    @property
    def is_good(self) -> bool:
        """Whether it may be handed to a telescope."""
        return not self.reason


def judge_plan(
    items: list[Any],
    night: str,
    *,
    zone: tzinfo | None,
    site: Site | None,
    now: datetime,
    min_altitude_deg: float,
) -> list[Verdict]:
    """Judge the items of a plan, in the order of their time; those without one come last.

    Parameters
    ----------
    items
        As the cloud gave them: nothing about them is trusted, their order least of all.
    night
        Local date of the evening, ``YYYY-MM-DD``.
    zone
        The observatory's; `None`: this machine's.
    site
        `None` if it is not configured: then nothing can be handed over.
    now
        Aware time: what ends before it is over.
    min_altitude_deg
        What is lower than this at any time of its exposures is refused.
    """
    judged = [_judge(item, night, zone, site, now, min_altitude_deg) for item in items[:_MOST_ITEMS]]
    return sorted(judged, key=lambda each: (each.item is None, each.item.start if each.item else now))


def read_item(item: object, night: str, zone: tzinfo | None) -> PlanItem:
    """Check one item of a plan.

    Raises
    ------
    ValueError
        If something in it cannot be; the message names it.
    """
    if not isinstance(item, Mapping):
        raise ValueError("it is no object")  # noqa: TRY004 - the data is wrong, not the program
    target = item.get("target")
    if not isinstance(target, str) or not target.strip() or len(target) > 200 or not target.isprintable():
        raise ValueError("target must be a text")
    ra_hours, dec_deg = _number(item, "ra", 0.0, 24.0), _number(item, "dec", -90.0, 90.0)
    if ra_hours == 24.0:
        ra_hours = 0.0
    exposure_s = _number(item, "expDur", 0.001, _LONGEST_SUB_S)
    count = _number(item, "expCount", 1, _MOST_SUBS)
    if count != int(count):
        raise ValueError("expCount must be a whole number")
    start = start_of(night, item.get("startTime"), zone)
    end = start + timedelta(seconds=exposure_s * count)
    if end - start > timedelta(hours=24):
        raise ValueError("its exposures take more than a day")
    return PlanItem(
        target=target.strip(),
        ra_hours=ra_hours,
        dec_deg=dec_deg,
        exposure_s=exposure_s,
        count=int(count),
        start=start,
        end=end,
        filter=_text(item, "filter"),
        notes=_text(item, "notes"),
    )


def start_of(night: str, clock: object, zone: tzinfo | None) -> datetime:
    """Give the UTC time that a plan's ``HH:MM`` means: from noon on the evening's date, before it the next.

    A time that the clocks leave out in spring is an hour later by the clock; of one that comes twice in
    autumn, the first is meant.

    Raises
    ------
    ValueError
        If the night or the time is none.

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> start_of("2026-11-25", "02:01", ZoneInfo("Europe/Vienna")).isoformat()
    '2026-11-26T01:01:00+00:00'
    """
    try:
        evening = date.fromisoformat(night)
    except ValueError:
        raise ValueError(f"the plan's night {night[:20]!r} is no date") from None
    match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
    if match is None:
        raise ValueError("startTime must be HH:MM")
    hour, minute = int(match[1]), int(match[2])
    try:
        day = evening if hour >= _NOON_HOUR else evening + timedelta(days=1)
        local = datetime.combine(day, time(hour, minute))
        aware = local.replace(tzinfo=zone) if zone is not None else local.astimezone()
        return aware.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the plan's night {night[:20]!r} is no date of ours") from None


def altitude_deg(ra_hours: float, dec_deg: float, site: Site, moment: datetime) -> float:
    """Give how high a position (J2000) stands above the horizon, in degrees.

    Source: J. Meeus, Astronomical Algorithms, ch. 12 and 13 (mean sidereal time, horizontal coordinates).
    """
    hour_angle = math.radians(_sidereal_deg(moment) + site.longitude_deg - ra_hours * 15.0)
    latitude, dec = math.radians(site.latitude_deg), math.radians(dec_deg)
    sine = math.sin(latitude) * math.sin(dec) + math.cos(latitude) * math.cos(dec) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def sun_altitude_deg(site: Site, moment: datetime) -> float:
    """Give how high the Sun stands, in degrees, to about 0.3°.

    Source: The Astronomical Almanac, low-precision formulas for the Sun.
    """
    days = _days(moment)
    anomaly = math.radians(357.529 + 0.98560028 * days)
    longitude = math.radians(
        280.459 + 0.98564736 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)
    )
    tilt = math.radians(23.439)
    ra = math.degrees(math.atan2(math.cos(tilt) * math.sin(longitude), math.cos(longitude)))
    dec = math.degrees(math.asin(math.sin(tilt) * math.sin(longitude)))
    return altitude_deg(ra / 15.0, dec, site, moment)


def sky_times(item: PlanItem, site: Site) -> SkyTimes:
    """Say how a target stands while it is exposed, and when it rises and sets around that."""

    def height(moment: datetime) -> float:
        return altitude_deg(item.ra_hours, item.dec_deg, site, moment)

    steps = max(1, math.ceil((item.end - item.start) / _STEP))
    during = [height(item.start + (item.end - item.start) * number / steps) for number in range(steps + 1)]
    moments = [item.start + number * _STEP for number in range(-_STEPS_A_DAY, _STEPS_A_DAY + 1)]
    rises, sets = _crossings(moments, [height(moment) for moment in moments])
    earlier = [moment for moment in rises if moment <= item.start] if during[0] >= 0 else []
    later = [moment for moment in rises if moment > item.start]
    return SkyTimes(
        altitude_start_deg=during[0],
        altitude_end_deg=during[-1],
        lowest_deg=min(during),
        highest_deg=max(during),
        rise=max(earlier) if earlier else min(later, default=None),
        set=min((moment for moment in sets if moment > item.start), default=None),
    )


def _judge(
    raw: object, night: str, zone: tzinfo | None, site: Site | None, now: datetime, min_altitude_deg: float
) -> Verdict:
    named = raw.get("target") if isinstance(raw, Mapping) else None
    name = named if isinstance(named, str) else ""
    try:
        item = read_item(raw, night, zone)
    except ValueError as error:
        return Verdict(name[:200], None, None, str(error))
    sky = None if site is None else sky_times(item, site)
    return Verdict(item.target, item, sky, _objection(item, sky, site, now, min_altitude_deg))


def _objection(
    item: PlanItem, sky: SkyTimes | None, site: Site | None, now: datetime, min_altitude_deg: float
) -> str:
    if item.end <= now:
        return "it is over"
    if sky is None or site is None:
        return "the site is not known: set observatory.latitude and observatory.longitude"
    if sky.highest_deg < 0:
        return f"it is below the horizon then ({sky.highest_deg:.0f}°)"
    if sky.lowest_deg < min_altitude_deg:
        return f"it is only {sky.lowest_deg:.0f}° high then; cloud.min_altitude is {min_altitude_deg:g}°"
    ends = (max(item.start, now), item.end)
    if max(sun_altitude_deg(site, moment) for moment in ends) > _SUN_IS_DOWN_DEG:
        return "the Sun is up then"
    return ""


def _crossings(moments: list[datetime], heights: list[float]) -> tuple[list[datetime], list[datetime]]:
    """Give when the horizon is crossed, upwards and downwards."""
    rises: list[datetime] = []
    sets: list[datetime] = []
    for number in range(1, len(moments)):
        before, after = heights[number - 1], heights[number]
        if (before < 0) != (after < 0):
            crossed = moments[number - 1] + _STEP * (before / (before - after))
            (rises if before < 0 else sets).append(crossed)
    return rises, sets


def _sidereal_deg(moment: datetime) -> float:
    return 280.46061837 + 360.98564736629 * _days(moment)


def _days(moment: datetime) -> float:
    return (moment - _J2000) / timedelta(days=1)


def _number(item: Mapping[str, Any], name: str, least: float, most: float) -> float:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, not {value:g}")
    return float(value)


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    return value[:500] if isinstance(value, str) else ""
