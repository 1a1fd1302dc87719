"""Take stacks into the books that others made: other tools, an earlier installation, scripts.

Each covers a block, one of ours or, where its raw frames are gone, one that is made for it. It is offered:
nothing of it is sent before a person wants it so, and the services never rename what another tool made.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.claiming import position_of
from skyrelay.crowdsky.matching import TOLERANCE
from skyrelay.domain.block import BLOCK_MINUTES, BlockKey
from skyrelay.domain.chunk import ChunkKey, chunk_of, chunk_start, healpix_pixel
from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX
from skyrelay.domain.night import night_of
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from skyrelay.domain.states import BlockState
from skyrelay.errors import SkyrelayError
from skyrelay.fits_header import FitsHeader, date_obs
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease
from skyrelay.store.known_blocks import block_of
from skyrelay.store.tables import Block, Frame, ScriptedStack, Stack, Telescope
from skyrelay.store.transitions import audit
from skyrelay_stacker.offsets import fallback_offset
from skyrelay_stacker.recording import ACTOR
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_AT_ONCE = 20  # in one inventory: of each a header is read over a weak Wi-Fi
_QUARTER = timedelta(minutes=BLOCK_MINUTES)
_SLACK = timedelta(minutes=1)  # who goes by the time in a frame's name takes one that began a while before


@dataclass(frozen=True, slots=True)
class Found:
    """A stack that lies on a telescope and is in no books.

    Attributes
    ----------
    file_name
        What it is called there.
    key
        The block that it is of.
    offset
        The telescope's local time minus UTC in it.
    frames
        How many frames are in it, as its name says.
    script
        What a script wrote down of it; `None` for another tool's.
    """

    folder: str
    file_name: str
    key: BlockKey
    offset: timedelta
    frames: int
    script: ScriptedStack | None


def book_found_stacks(
    workshop: Workshop,
    telescope_id: int,
    seestar: Seestar,
    lease: HeldLease,
    stacks: Mapping[str, Iterable[str]],
) -> None:
    """Book some of the stacks that are in no books; each further inventory books more.

    Parameters
    ----------
    stacks
        File names in each folder of stacks, as the inventory saw them.
    """
    with workshop.store.read() as session:
        telescope = session.get_one(Telescope, telescope_id)
        if telescope.clock_wrong_since is not None:
            return
        found = list(find_unbooked(session, telescope, stacks, workshop.settings.site_zone))
    for sighted in random.sample(found, min(len(found), _AT_ONCE)):
        lease.check()
        try:
            header = seestar.read_header(sighted.folder, sighted.file_name)
        except SkyrelayError as error:
            _log.info("a stack that was found is not booked now", file=sighted.file_name, problem=str(error))
            continue
        one = _with_measured_offset(sighted, header)
        chunk_key = _chunk_key(one, header)  # before all others wait for us: it may load astropy
        with workshop.store.write() as session:
            lease.check_write(session)
            book_found(session, telescope_id, one, header, chunk_key, utc_now())


def find_unbooked(
    session: Session, telescope: Telescope, stacks: Mapping[str, Iterable[str]], site_zone: ZoneInfo | None
) -> Iterator[Found]:
    """Give the stacks in the folders that are in no books, and whose block has no stack of ours."""
    for folder, names in stacks.items():
        if folder.endswith(SUB_FOLDER_SUFFIX):
            continue
        booked = _names_booked(session, telescope.id, folder)
        scripts = _scripts(session, telescope.id, folder)
        for name in sorted(set(names) - booked):
            one = _read(session, telescope, folder, name, scripts.get(name), site_zone)
            if one is not None and _is_free(session, telescope.id, one.key):
                yield one


def book_found(
    session: Session, telescope_id: int, found: Found, header: FitsHeader, chunk_key: str, now: datetime
) -> Stack | None:
    """Book one, and the block that it covers where there is none; `None` when somebody was quicker.

    Parameters
    ----------
    header
        The stack's own.
    """
    if not _is_free(session, telescope_id, found.key):
        return None
    block = block_of(session, telescope_id, found.key) or _new_block(session, telescope_id, found, now)
    stack = _new_stack(block, found, header, chunk_key, now)
    span = _known_span(session, block, found, header)
    if span is not None:
        stack.first_start_at, stack.frames_input = span[0], span[2]
        stack.last_end_at = span[1] + timedelta(seconds=block.exposure_s)
    session.add(stack)
    session.flush()
    reason = f"{found.file_name} was made by {'a script' if found.script else 'another tool'}"
    audit(session, now=now, actor=ACTOR, subject=("stack", stack.id), event="found", reason=reason)
    return stack


def _with_measured_offset(found: Found, header: FitsHeader) -> Found:
    """Correct the UTC offset of a local time in a name where the header's UTC time shows it to be wrong."""
    name, start = parse_stack_name(found.file_name), date_obs(header)
    if not isinstance(name, CrowdSkyLegacyName) or found.script is not None or start is None:
        return found
    if -_SLACK <= start - found.key.start < _QUARTER:
        return found
    ahead = name.block_start_local - start.replace(tzinfo=None) - _SLACK
    offset = -(-ahead // _QUARTER) * _QUARTER  # rounded up: the first frame began within the quarter hour
    key = replace(found.key, start=_utc(name.block_start_local, offset))
    return replace(found, key=key, offset=offset)


def _names_booked(session: Session, telescope_id: int, folder: str) -> set[str]:
    query = select(Stack.original_name, Stack.crowdsky_name).where(
        Stack.telescope_id == telescope_id, Stack.folder == folder
    )
    return {name for names in session.execute(query) for name in names}


def _scripts(session: Session, telescope_id: int, folder: str) -> dict[str, ScriptedStack]:
    """Give what scripts had stacked in a folder, by both names that the file may have."""
    rows = session.scalars(
        select(ScriptedStack).where(
            ScriptedStack.telescope_id == telescope_id,
            ScriptedStack.folder == folder,
            ScriptedStack.stacked_at.is_not(None),
        )
    ).all()
    return {name: row for row in rows for name in (row.original_name, row.crowdsky_name) if name}


def _read(
    session: Session,
    telescope: Telescope,
    folder: str,
    file_name: str,
    script: ScriptedStack | None,
    site_zone: ZoneInfo | None,
) -> Found | None:
    """Tell which block a file is the stack of; `None` for what is no stack of a quarter hour."""
    name = parse_stack_name(file_name)
    if script is not None:
        offset = _offset(session, telescope, script.start_at, site_zone)
        key = BlockKey(script.start_at, script.target, script.exposure, script.filter, script.minutes)
        frames = script.frames_aligned or len(script.files)
    elif isinstance(name, CrowdSkyName):
        start = chunk_start(name.key.chunk)
        offset = _offset(session, telescope, start, site_zone)
        key = BlockKey(start, name.target, name.exposure, name.filter, BLOCK_MINUTES)
        frames = name.frames
    elif isinstance(name, CrowdSkyLegacyName):
        offset = fallback_offset(session, telescope, name.block_start_local, site_zone).offset
        start = _utc(name.block_start_local, offset)
        key = BlockKey(start, name.target, name.exposure, name.filter, BLOCK_MINUTES)
        frames = name.frames
    else:
        return None
    is_quarter = key.minutes == BLOCK_MINUTES and key.start == chunk_start(chunk_of(key.start))
    return Found(folder, file_name, key, offset, frames, script) if is_quarter else None


def _offset(session: Session, telescope: Telescope, start: datetime, site_zone: ZoneInfo | None) -> timedelta:
    return fallback_offset(session, telescope, start.replace(tzinfo=None), site_zone).offset


def _utc(local: datetime, offset: timedelta) -> datetime:
    return (local - offset).replace(tzinfo=UTC)


def _is_free(session: Session, telescope_id: int, key: BlockKey) -> bool:
    """Tell whether a stack can be booked for a block: there is none, or it is covered by one unbooked."""
    block = block_of(session, telescope_id, key)
    if block is None:
        return True
    has_stack = session.scalar(select(exists().where(Stack.block_id == block.id)))
    return block.state == BlockState.COVERED and not has_stack


def _new_block(session: Session, telescope_id: int, found: Found, now: datetime) -> Block:
    key = found.key
    block = Block(
        telescope_id=telescope_id,
        target=key.target,
        folder=found.folder + SUB_FOLDER_SUFFIX,
        exposure=key.exposure,
        exposure_s=float(key.exposure[:-1]),
        filter=key.filter,
        start_at=key.start,
        minutes=key.minutes,
        utc_offset_min=int(found.offset / timedelta(minutes=1)),
        night=night_of(key.start, found.offset).isoformat(),
        state=BlockState.COVERED,
        reason=f"{found.file_name} lies on the telescope, and its raw frames do not",
        created_at=now,
        updated_at=now,
    )
    session.add(block)
    session.flush()
    audit(
        session,
        now=now,
        actor=ACTOR,
        subject=("block", block.id),
        event="found covered",
        reason=block.reason,
    )
    return block


def _new_stack(block: Block, found: Found, header: FitsHeader, chunk_key: str, now: datetime) -> Stack:
    """Make its row as far as its name and header tell; how many frames it was made of they do not."""
    position = position_of(header)
    total_s = _total_s(found, header, block.exposure_s)
    first_start = date_obs(header) or block.start_at
    script = found.script
    return Stack(
        block_id=block.id,
        telescope_id=block.telescope_id,
        folder=found.folder,
        original_name=(script.original_name if script else None) or found.file_name,
        crowdsky_name=(script.crowdsky_name if script else None) or found.file_name,
        renamed_at=script.renamed_at if script else now,
        chunk_key=chunk_key,
        frames_input=0,
        frames_aligned=found.frames,
        exposure_total_s=total_s,
        first_start_at=first_start,
        last_end_at=first_start + timedelta(seconds=total_s),
        ra_deg=position[0] if position else None,
        dec_deg=position[1] if position else None,
        found_at=now,
        is_offered=True,
        created_at=now,
    )


def _total_s(found: Found, header: FitsHeader, exposure_s: float) -> float:
    """Give the exposure of all frames together, in seconds.

    Where a header has EXPTIME alone, some programs write the whole there, and others leave that of one frame.
    """
    whole_s, exptime_s = found.frames * exposure_s, header.number("EXPTIME") or 0.0
    is_of_one = abs(exptime_s - exposure_s) <= abs(exptime_s - whole_s)
    return header.number("TOTALEXP") or (whole_s if is_of_one else exptime_s)


def _chunk_key(found: Found, header: FitsHeader) -> str:
    name = parse_stack_name(found.file_name)
    if isinstance(name, CrowdSkyName):
        return str(name.key)
    position = position_of(header)
    pixel = None if position is None else healpix_pixel(*position)
    return str(ChunkKey(chunk_of(found.key.start), pixel))


def _known_span(
    session: Session, block: Block, found: Found, header: FitsHeader
) -> tuple[datetime, datetime, int] | None:
    """Give when its first and its last frame began, and how many there were; `None` when nobody knows.

    Of another tool's stack the block's frames are believed to be in it if it begins with the first of them
    and has as many: where it has fewer nobody knows whether it was given fewer, and which was the last.
    """
    if found.script is not None:
        return found.script.first_start_at, found.script.last_start_at, len(found.script.files)
    query = select(func.min(Frame.start_at), func.max(Frame.start_at), func.count())
    first, last, number = session.execute(query.where(Frame.block_id == block.id)).one()
    start = date_obs(header)
    if (
        first is None
        or last is None
        or start is None
        or abs(first - start) > TOLERANCE
        or number != found.frames
    ):
        return None
    return first, last, number
