"""When the night is over at a place. Pure: the sun's position is computed (astral), nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

_DAYS_BACK = 3  # a dawn lies in its day, moved by half a day at most


class DawnEvent(StrEnum):
    """What counts as dawn."""

    SUNRISE = "sunrise"  # its upper edge at the horizon
    CIVIL = "civil"  # the sun 6° below it
    NAUTICAL = "nautical"  # 12°
    ASTRONOMICAL = "astronomical"  # 18°: the sky is as dark as it gets before it
    TIME = "time"  # a fixed time of the local clock


_DEPRESSION_DEG = {DawnEvent.CIVIL: 6.0, DawnEvent.NAUTICAL: 12.0, DawnEvent.ASTRONOMICAL: 18.0}
# Where it never gets so dark, the next brighter one is what ends the night.
_BRIGHTER = (DawnEvent.ASTRONOMICAL, DawnEvent.NAUTICAL, DawnEvent.CIVIL, DawnEvent.SUNRISE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a telescope stands: somebody's home, so never in a ``repr``."""

    latitude_deg: float = field(repr=False)
    longitude_deg: float = field(repr=False)


@dataclass(frozen=True, slots=True)
class DawnRule:
    """When a night's work may begin.

    Attributes
    ----------
    event
        What is waited for.
    offset
        Added to it; negative: before it. It does not move a fixed time.
    at_local
        The wall clock's time for `DawnEvent.TIME`, on days on which the sun does none of this, and where
        the place is not known.
    """

    event: DawnEvent
    offset: timedelta
    at_local: time


def last_dawn(rule: DawnRule, place: Place | None, zone: tzinfo, now: datetime) -> datetime:
    """Give the latest dawn that is over, aware UTC.

    What was taken before it may be stacked, however long ago it was: a dawn that was missed while
    everything was switched off counts when it is switched on again.

    Parameters
    ----------
    rule
        What counts as dawn.
    place
        Where the telescope stands; `None` when nobody told.
    zone
        The zone of its wall clock.
    now
        Aware time.
    """
    return next(moment for moment in _dawns(rule, place, zone, now) if moment <= now)


def _dawns(rule: DawnRule, place: Place | None, zone: tzinfo, now: datetime) -> Iterator[datetime]:
    """Give the dawns about now, the latest first."""
    today = now.astimezone(zone).date()
    for days in range(1, -_DAYS_BACK, -1):
        yield dawn_of(rule, place, zone, today + timedelta(days=days))


@lru_cache(maxsize=256)  # telescopes of one home share their dawns, and so do the ticks of a day
def dawn_of(rule: DawnRule, place: Place | None, zone: tzinfo, day: date) -> datetime:
    """Give the dawn of a day of the wall clock, aware UTC."""
    moment = None if place is None or rule.event is DawnEvent.TIME else _sun(rule.event, place, zone, day)
    return _fixed(rule, zone, day) if moment is None else moment + rule.offset


def _fixed(rule: DawnRule, zone: tzinfo, day: date) -> datetime:
    return datetime.combine(day, rule.at_local, zone).astimezone(UTC)


def _sun(event: DawnEvent, place: Place, zone: tzinfo, day: date) -> datetime | None:
    """Give the event, or the next brighter one; `None` on a day without any."""
    from astral import Observer  # what only compares times does without it
    from astral.sun import dawn, sunrise

    observer = Observer(place.latitude_deg, place.longitude_deg)
    for brighter in _BRIGHTER[_BRIGHTER.index(event) :]:
        try:
            if brighter is DawnEvent.SUNRISE:
                return sunrise(observer, day, zone).astimezone(UTC)
            return dawn(observer, day, _DEPRESSION_DEG[brighter], zone).astimezone(UTC)
        except ValueError:  # the sun does not pass that height on this day
            continue
    return None
