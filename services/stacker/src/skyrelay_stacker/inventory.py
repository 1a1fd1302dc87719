"""Take the inventory of a telescope: the truth behind the events.

No headers are read but the first and the last of each new target's night, for the UTC offset, and
those of frames whose estimated start lies next to a block's edge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.block import block_start
from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX, LightFrameName
from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.fits_header import FitsError
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.settings import StackingSettings
from skyrelay.store.holding import HeldLease
from skyrelay.store.tables import Frame, Telescope
from skyrelay_stacker.facts import (
    FrameFacts,
    KnownOffset,
    Sighting,
    facts_from_header,
    facts_from_name,
    facts_of_unreadable,
)
from skyrelay_stacker.offsets import fallback_offset
from skyrelay_stacker.planning import StacksByFolder, settle_blocks
from skyrelay_stacker.recording import mark_presence, record_frames
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_BOUNDARY = timedelta(seconds=2)  # an estimated start that near to a block's edge is not good enough

Listed = tuple[Sighting, LightFrameName]


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies on a telescope. ``started_at`` is the aware UTC time at which the listing began."""

    started_at: datetime
    frames: tuple[Listed, ...]
    stacks: StacksByFolder

    @property
    def identities(self) -> set[tuple[str, str]]:
        """(folder, file name) of each light frame."""
        return {(sighting.folder, sighting.file_name) for sighting, _name in self.frames}


def take_inventory(workshop: Workshop, telescope_id: int, seestar: Seestar, lease: HeldLease) -> None:
    """List all frames and stacks, record what no event announced, and settle the blocks.

    A listing that fails raises: it never reads as an empty telescope.
    """
    listing = list_everything(seestar)
    with workshop.store.read() as session:
        telescope = session.get_one(Telescope, telescope_id)
        new = _unknown(session, telescope_id, listing.frames)
        facts = list(_learn(session, telescope, seestar, new, workshop))
    now = utc_now()
    with workshop.store.write() as session:
        lease.check_write(session)
        telescope = session.get_one(Telescope, telescope_id)
        record_frames(session, telescope_id, facts, workshop.settings.stacking, now)
        mark_presence(session, telescope_id, listing.identities, listing.started_at, now)
        telescope.inventory_started_at, telescope.inventory_finished_at = listing.started_at, now
        telescope.inventory_error = None
        settle_blocks(session, telescope, listing.stacks, workshop.settings.stacking, now)
    _log.info("inventory taken", frames=len(listing.frames), new=len(facts))


def list_everything(seestar: Seestar) -> Listing:
    """List the folders of sub-frames and of stacks."""
    started_at = utc_now()
    frames: list[Listed] = []
    stacks: dict[str, frozenset[str]] = {}
    folders = seestar.list_targets_folders().folders
    for folder in folders:
        listing = seestar.list_folder(folder)
        if folder.endswith(SUB_FOLDER_SUFFIX):
            frames.extend(_light_frames(folder, ((file.name, file.size_bytes) for file in listing.files)))
        else:
            stacks[folder] = listing.names
    return Listing(started_at, tuple(frames), stacks)


def _light_frames(folder: str, files: Iterable[tuple[str, int | None]]) -> Iterator[Listed]:
    for file_name, size_bytes in files:
        name = LightFrameName.parse(file_name)
        if name is not None:
            yield Sighting(folder, file_name, size_bytes or 0, "inventory"), name


def _unknown(session: Session, telescope_id: int, frames: Iterable[Listed]) -> list[Listed]:
    """Leave out what is known well enough: the watcher has read its header, or nobody can."""
    known = {
        (folder, file_name): size_bytes if state == FrameState.UNREADABLE else None
        for folder, file_name, state, size_bytes in session.execute(
            select(Frame.folder, Frame.file_name, Frame.state, Frame.size_bytes).where(
                Frame.telescope_id == telescope_id
            )
        )
    }

    def is_news(sighting: Sighting) -> bool:
        identity = (sighting.folder, sighting.file_name)
        return identity not in known or known[identity] not in {None, sighting.size_bytes}

    return [(sighting, name) for sighting, name in frames if is_news(sighting)]


def _learn(
    session: Session, telescope: Telescope, seestar: Seestar, new: Iterable[Listed], workshop: Workshop
) -> Iterator[FrameFacts]:
    nights: dict[tuple[str, date], list[Listed]] = defaultdict(list)
    for sighting, name in new:
        nights[sighting.folder, (name.saved_local - timedelta(hours=12)).date()].append((sighting, name))
    for night in nights.values():
        night.sort(key=lambda listed: listed[1].saved_local)

        def fallback(local: datetime = night[0][1].saved_local) -> KnownOffset:
            return fallback_offset(session, telescope, local, workshop.settings.site_zone)

        yield from _learn_night(_HeaderReader(seestar, fallback), night, workshop.settings.stacking)


@dataclass(frozen=True, slots=True)
class _HeaderReader:
    """Reads a frame's header on the telescope."""

    seestar: Seestar
    fallback: Callable[[], KnownOffset]

    def read(self, listed: Listed) -> FrameFacts:
        sighting, name = listed
        try:
            header = self.seestar.read_header(sighting.folder, sighting.file_name)
        except FitsError as error:
            return facts_of_unreadable(sighting, name, str(error))
        return facts_from_header(sighting, name, header, self.fallback, utc_now())


def _learn_night(
    reader: _HeaderReader, night: list[Listed], stacking: StackingSettings
) -> Iterator[FrameFacts]:
    first = reader.read(night[0])
    last = reader.read(night[-1]) if len(night) > 1 else first
    yield from (first, last) if len(night) > 1 else (first,)
    neighbour = _neighbour(first, last)
    for listed in night[1:-1]:
        facts = facts_from_name(*listed, neighbour) if neighbour else None
        yield facts if facts and not _is_near_edge(facts, stacking) else reader.read(listed)


def _neighbour(first: FrameFacts, last: FrameFacts) -> KnownOffset | None:
    """Give the offset that both ends of a night measured; `None` when they differ or could not."""
    measured = {facts.offset for facts in (first, last) if facts.offset_source is OffsetSource.HEADER}
    both = OffsetSource.HEADER is first.offset_source is last.offset_source
    offset = measured.pop() if both and len(measured) == 1 else None
    return KnownOffset(offset, OffsetSource.NEIGHBOUR) if offset is not None else None


def _is_near_edge(facts: FrameFacts, stacking: StackingSettings) -> bool:
    if facts.start_at is None or facts.offset is None:
        return True
    blocks = {
        block_start(facts.start_at + nudge, facts.offset, stacking.block_minutes)
        for nudge in (-_BOUNDARY, _BOUNDARY)
    }
    return len(blocks) > 1
