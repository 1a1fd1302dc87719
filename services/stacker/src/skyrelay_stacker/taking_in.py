"""Take frame events in: whose is the file, is it a light frame, what does it say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.frame_facts import (
    FrameFacts,
    Sighting,
    facts_from_header,
    facts_of_unreadable,
    serial_of,
)
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import parse_stack_name
from skyrelay.fits_header import FitsHeader
from skyrelay.queue.events import FrameEvent
from skyrelay.settings import Settings
from skyrelay.store.tables import Telescope
from skyrelay.store.telescopes import telescope_of_name, telescope_of_serial
from skyrelay_stacker.offsets import fallback_offset
from skyrelay_stacker.recording import forget_ignored, record_frames, record_ignored


def take_in(session: Session, events: Iterable[FrameEvent], settings: Settings, now: datetime) -> int:
    """Record what a batch of frame events says; give the number of frames that were news.

    A file that is no light frame, or whose telescope cannot be told, is written down as ignored.
    """
    by_telescope: dict[int, list[FrameFacts]] = defaultdict(list)
    for event in events:
        name = LightFrameName.parse(event.file_name)
        if name is None:
            record_ignored(session, event.root, event.path, _why_ignored(event.file_name), now)
            continue
        header = FitsHeader(event.header, 0)
        telescope = _owner(session, event, header, now)
        if telescope is None:
            record_ignored(session, event.root, event.path, _WHOSE, now)
            continue
        forget_ignored(session, event.root, event.path)
        by_telescope[telescope.id].append(_facts(session, event, name, header, telescope, settings, now))
    return sum(
        record_frames(session, telescope_id, facts, settings.stacking, now)
        for telescope_id, facts in by_telescope.items()
    )


_WHOSE = (
    "its header does not say which telescope took it: give the watched folder its telescope "
    "(image_watcher.watch_path: [{path: …, telescope: NAME}])"
)


def _why_ignored(file_name: str) -> str:
    if parse_stack_name(file_name) is not None:
        return "a stack, not a light frame"
    return "its name is not a light frame's (Light_<target>_<exposure>s_<filter>_<YYYYMMDD-HHMMSS>.fit)"


def _owner(session: Session, event: FrameEvent, header: FitsHeader, now: datetime) -> Telescope | None:
    serial = serial_of(header)
    if serial is not None:
        return telescope_of_serial(session, serial, now)
    if event.telescope is not None:
        return telescope_of_name(session, event.telescope)
    only = session.scalars(select(Telescope).limit(2)).all()
    return only[0] if len(only) == 1 else None


def _facts(
    session: Session,
    event: FrameEvent,
    name: LightFrameName,
    header: FitsHeader,
    telescope: Telescope,
    settings: Settings,
    now: datetime,
) -> FrameFacts:
    sighting = Sighting(event.folder, event.file_name, event.size_bytes, "watcher", event.root, event.path)
    if event.problem is not None:
        return facts_of_unreadable(sighting, name, event.problem)
    fallback = partial(fallback_offset, session, telescope, name.saved_local, settings.site_zone)
    return facts_from_header(sighting, name, header, fallback, now)
