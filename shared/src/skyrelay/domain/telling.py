"""When a person is told of something: the rules that keep us quiet. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

QUIET = timedelta(hours=1)  # the least between two messages on one subject
NEED_SETTLES = timedelta(minutes=5)  # what puts itself right in that time is told to nobody
GONE_FOR = timedelta(minutes=10)  # a telescope's Wi-Fi comes and goes
_WORKED_WITHIN = timedelta(hours=1)  # before it fell silent: then it was observing
_RUNNING_NIGHT = timedelta(hours=12)
_FIRST_RETRY, _LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Silence:
    """A telescope that is out of reach; aware times."""

    since: datetime
    last_seen_at: datetime | None
    last_frame_at: datetime | None


def is_gone_in_the_night(
    silence: Silence, *, knows_place: bool, sun_down_since: datetime | None, now: datetime
) -> bool:
    """Tell whether a telescope is missed: it fell silent for good while it should be observing.

    One that was off all night is not. Where nobody knows the place, a telescope is observing when it saved
    frames in the hour before it fell silent.
    """
    if now - silence.since < GONE_FOR:
        return False
    if knows_place:
        seen = silence.last_seen_at
        return sun_down_since is not None and seen is not None and seen >= sun_down_since
    frame = silence.last_frame_at
    has_worked = frame is not None and frame >= silence.since - _WORKED_WITHIN
    return has_worked and now - silence.since <= _RUNNING_NIGHT


def may_tell(last_told_at: datetime | None, now: datetime) -> bool:
    """Tell whether a subject's hour of quiet is over."""
    return last_told_at is None or now - last_told_at >= QUIET


def retry_after(attempts: int) -> timedelta:
    """Give the wait after so many failed attempts: doubling, up to an hour."""
    return min(_FIRST_RETRY * (1 << min(max(attempts, 1) - 1, 10)), _LONGEST_RETRY)


def key_of_need(what: str) -> str:
    """Name a need so that a growing number of frames or blocks is no new one."""
    return "needs:" + re.sub(r"^\d+ (frame|block)s?\b", r"\1s", what)
