"""What is known of one sub-frame, from its name and, where it was read, its header. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import ClockWrong, OffsetSource, exposure_start, measure_utc_offset
from skyrelay.fits_header import FitsHeader, date_obs

_SERIAL = re.compile(r"S[0-9]{2}[A-Za-z0-9]*_(?P<serial>[0-9A-Za-z]{4,32})")
_FUTURE_TOLERANCE = timedelta(seconds=60)  # two clocks that agree are never farther apart

SeenBy = Literal["watcher", "inventory"]


@dataclass(frozen=True, slots=True)
class KnownOffset:
    """A UTC offset that holds for a frame whose header was not read, and where it came from."""

    offset: timedelta
    source: OffsetSource


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What is recorded of one sub-frame. ``start_at`` is aware UTC; an unreadable frame has none."""

    name: LightFrameName
    file_name: str
    folder: str
    size_bytes: int
    seen_by: SeenBy
    state: FrameState
    reason: str | None = None
    start_at: datetime | None = None
    start_source: Literal["header", "name"] | None = None
    offset: timedelta | None = None
    offset_source: OffsetSource | None = None
    ra_deg: float | None = None
    dec_deg: float | None = None
    is_no_fits: bool = False
    root: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One file as it was seen: where, how large, by whom; in a watched folder also under which path there."""

    folder: str
    file_name: str
    size_bytes: int
    seen_by: SeenBy
    root: str | None = None
    path: str | None = None


def serial_of(header: FitsHeader) -> str | None:
    """Give the serial number that TELESCOP (``S50_<sn>``) names; `None` when it names none."""
    match = _SERIAL.fullmatch((header.text("TELESCOP") or "").strip())
    return match["serial"] if match else None


def facts_of_unreadable(
    sighting: Sighting, name: LightFrameName, problem: str, *, is_no_fits: bool = False
) -> FrameFacts:
    """Record that a frame is there and cannot be read.

    Parameters
    ----------
    is_no_fits
        Whether reading the same file again cannot help. Else it may: it is being written, say.
    """
    return _facts(sighting, name, state=FrameState.UNREADABLE, reason=problem, is_no_fits=is_no_fits)


def facts_from_header(
    sighting: Sighting,
    name: LightFrameName,
    header: FitsHeader,
    fallback: Callable[[], KnownOffset],
    now: datetime,
) -> FrameFacts:
    """Make the facts of a frame whose header was read.

    Parameters
    ----------
    fallback
        Gives the offset to use when the header has no DATE-OBS.
    now
        Aware time: a frame from the future is held.
    """
    started = date_obs(header)
    if started is None:
        return facts_from_name(sighting, name, fallback())
    try:
        offset = measure_utc_offset(name.saved_local, name.exposure_s, started)
    except ClockWrong as error:
        return _facts(sighting, name, state=FrameState.CLOCK_WRONG, reason=str(error), start_at=started)
    if _is_ahead(started, now):
        ahead = started - now
        reason = f"its exposure began {ahead} in the future: the telescope's clock or this server's is wrong"
        return _facts(sighting, name, state=FrameState.CLOCK_WRONG, reason=reason, start_at=started)
    return _facts(
        sighting,
        name,
        state=FrameState.OK,
        start_at=started,
        start_source="header",
        offset=offset,
        offset_source=OffsetSource.HEADER,
        ra_deg=header.number("RA"),
        dec_deg=header.number("DEC"),
    )


def is_trustworthy(saved_local: datetime, exposure_s: float, started: datetime, now: datetime) -> bool:
    """Tell whether a frame that was held for its clock may go on now.

    Parameters
    ----------
    saved_local
        Naive local time in its name.
    exposure_s
        Exposure time in seconds.
    started, now
        Aware DATE-OBS, and the time by which it is judged.
    """
    try:
        measure_utc_offset(saved_local, exposure_s, started)
    except ClockWrong:
        return False
    return not _is_ahead(started, now)


def _is_ahead(started: datetime, now: datetime) -> bool:
    return started - now > _FUTURE_TOLERANCE


def facts_from_name(sighting: Sighting, name: LightFrameName, known: KnownOffset) -> FrameFacts:
    """Make the facts of a frame of which only the name is known."""
    return _facts(
        sighting,
        name,
        state=FrameState.OK,
        start_at=exposure_start(name.saved_local, name.exposure_s, known.offset),
        start_source="name",
        offset=known.offset,
        offset_source=known.source,
    )


def _facts(sighting: Sighting, name: LightFrameName, **known: object) -> FrameFacts:
    return FrameFacts(
        name=name,
        file_name=sighting.file_name,
        folder=sighting.folder,
        size_bytes=sighting.size_bytes,
        seen_by=sighting.seen_by,
        root=sighting.root,
        path=sighting.path,
        **known,  # type: ignore[arg-type] # the three callers above name FrameFacts' own fields
    )
