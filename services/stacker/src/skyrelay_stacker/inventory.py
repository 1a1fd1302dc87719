"""Take the inventory of a telescope: the truth behind the events.

No headers are read but the first and the last of each new target's night, for the UTC offset, those of
frames whose estimated start lies next to a block's edge, or that could not be read before, and, once, those
of stacks that others made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.frame_facts import FrameFacts, KnownOffset, Sighting, is_trustworthy
from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX, LightFrameName, target_of_folder
from skyrelay.domain.states import FrameState
from skyrelay.seestar.errors import FileMissing, NameUnsafe
from skyrelay.seestar.learning import FrameReader, ListedFrame, learn_frames
from skyrelay.seestar.listing import FileListing, Route
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease
from skyrelay.store.tables import Frame, Telescope
from skyrelay_stacker.found import book_found_stacks
from skyrelay_stacker.offsets import fallback_offset
from skyrelay_stacker.planning import StacksByFolder, settle_blocks
from skyrelay_stacker.recording import mark_presence, record_frames
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_TRIED_AGAIN = 20  # unreadable frames in one inventory: each costs up to 288 kB of a weak Wi-Fi

Listed = tuple[Sighting, LightFrameName]


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies on a telescope.

    Attributes
    ----------
    started_at
        Aware UTC time at which the listing began.
    stacks
        File names in each folder of stacks.
    folders
        The folders that were looked at.
    is_complete
        Whether there are no others.
    """

    started_at: datetime
    frames: tuple[Listed, ...]
    stacks: StacksByFolder
    folders: frozenset[str]
    is_complete: bool

    @property
    def identities(self) -> set[tuple[str, str]]:
        """(folder, file name) of each light frame."""
        return {(sighting.folder, sighting.file_name) for sighting, _name in self.frames}


def take_inventory(workshop: Workshop, telescope_id: int, seestar: Seestar, lease: HeldLease) -> None:
    """List all frames and stacks, record what no event announced, and settle the blocks.

    A listing that fails raises: it never reads as an empty telescope.
    """
    with workshop.store.read() as session:
        known = set(
            session.scalars(select(Frame.folder).where(Frame.telescope_id == telescope_id).distinct())
        )
    listing = list_everything(seestar, known, check=lease.check)
    with workshop.store.read() as session:
        telescope = session.get_one(Telescope, telescope_id)
        news = _news(session, telescope_id, listing.frames, utc_now())
        facts = list(_learn(session, telescope, seestar, news, workshop))
    now = utc_now()
    with workshop.store.write() as session:
        lease.check_write(session)
        telescope = session.get_one(Telescope, telescope_id)
        record_frames(session, telescope_id, facts, workshop.settings.stacking, now)
        folders = None if listing.is_complete else listing.folders
        mark_presence(session, telescope_id, listing.identities, listing.started_at, now, folders=folders)
        telescope.inventory_started_at, telescope.inventory_finished_at = listing.started_at, now
        telescope.inventory_error = None
        settle_blocks(session, telescope, listing.stacks, workshop.settings.stacking, now)
    book_found_stacks(workshop, telescope_id, seestar, lease, listing.stacks)
    _log.info("inventory taken", frames=len(listing.frames), new=len(facts))


def list_everything(
    seestar: Seestar, known_folders: Iterable[str] = (), *, check: Callable[[], None] = lambda: None
) -> Listing:
    """List the folders of sub-frames and of stacks.

    Parameters
    ----------
    known_folders
        Folders of which frames are recorded: looked into even if the telescope does not name them, as
        it does over RPC.
    check
        Called before each listing, since one over RPC wants the lease: raises when it is lost.
    """

    def list_folder(folder: str) -> FileListing:
        check()
        return seestar.list_folder(folder)

    started_at = utc_now()
    check()
    named = seestar.list_targets_folders()
    listings = [list_folder(folder) for folder in named.folders]
    if not named.complete:
        listings += _list_unnamed(list_folder, set(named.folders), known_folders)
    frames: list[Listed] = []
    stacks: dict[str, frozenset[str]] = {}
    for listing in listings:
        if listing.folder.endswith(SUB_FOLDER_SUFFIX):
            files = ((file.name, file.size_bytes) for file in listing.files)
            frames.extend(_light_frames(listing.folder, files))
        else:
            stacks[listing.folder] = listing.names
    folders = frozenset(listing.folder for listing in listings)
    return Listing(started_at, tuple(frames), stacks, folders, named.complete)


def _list_unnamed(
    list_folder: Callable[[str], FileListing], named: set[str], known: Iterable[str]
) -> Iterator[FileListing]:
    """List what the telescope's albums leave out, as far as it can be guessed."""
    folders = named | set(known)
    for folder in sorted(folders | {target_of_folder(folder) for folder in folders}):
        if folder not in named:
            try:
                yield list_folder(folder)
            except (FileMissing, NameUnsafe):  # only here is a folder called so: a copy's, say
                yield FileListing(folder, (), Route.RPC)


def _light_frames(folder: str, files: Iterable[tuple[str, int | None]]) -> Iterator[Listed]:
    for file_name, size_bytes in files:
        name = LightFrameName.parse(file_name)
        if name is not None:
            yield Sighting(folder, file_name, size_bytes or 0, "inventory"), name


def _news(session: Session, telescope_id: int, frames: Iterable[Listed], now: datetime) -> list[ListedFrame]:
    """Leave out what is known well enough: the watcher has read its header, or nobody can."""
    rows = session.scalars(
        select(Frame).where(Frame.telescope_id == telescope_id, Frame.state != FrameState.OK)
    )
    doubtful = {(row.folder, row.file_name): row for row in rows}
    known = {
        (folder, file_name)
        for folder, file_name in session.execute(
            select(Frame.folder, Frame.file_name).where(Frame.telescope_id == telescope_id)
        )
    }
    news, again = [], []
    for sighting, name in frames:
        identity = (sighting.folder, sighting.file_name)
        row = doubtful.get(identity)
        if identity not in known:
            news.append(ListedFrame(sighting, name))
        elif row is not None and _is_worth_reading(row, sighting, now):
            news.append(ListedFrame(sighting, name, wants_header=True))
        elif row is not None and _may_be_whole(row, sighting):
            again.append(ListedFrame(sighting, name, wants_header=True))
    return news + _by_lot(again)


def _is_worth_reading(row: Frame, sighting: Sighting, now: datetime) -> bool:
    """Tell whether a frame's header is to be read again: the file changed, or the clocks agree by now."""
    if row.state == FrameState.UNREADABLE:
        return sighting.size_bytes not in {0, row.size_bytes}  # 0: over RPC no size is told
    if row.state == FrameState.CLOCK_WRONG and row.start_at is not None and not row.needs_release:
        return is_trustworthy(row.saved_local, row.exposure_s, row.start_at, now)
    return False


def _may_be_whole(row: Frame, sighting: Sighting) -> bool:
    """Tell whether an unreadable frame may have become whole though nothing shows it.

    Room is made for a file before it is filled, and a web server may miss a file for a while.
    """
    return row.state == FrameState.UNREADABLE and (not row.is_no_fits or not sighting.size_bytes)


def _by_lot(again: list[ListedFrame]) -> list[ListedFrame]:
    """Choose whom to try once more: a few at a time, and in the long run everybody."""
    return random.sample(again, min(len(again), _TRIED_AGAIN))


def _learn(
    session: Session, telescope: Telescope, seestar: Seestar, news: Iterable[ListedFrame], workshop: Workshop
) -> Iterator[FrameFacts]:
    def fallback(saved_local: datetime) -> KnownOffset:
        return fallback_offset(session, telescope, saved_local, workshop.settings.site_zone)

    reader = FrameReader(seestar, fallback, utc_now)
    yield from learn_frames(news, reader, workshop.settings.stacking.block_minutes)
