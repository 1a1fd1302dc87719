"""Take a stack from a folder into the archive, the books and the outbox, as if it had been fetched."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.archive_paths import locate
from skyrelay.arrivals import arriving_in, put_under_name, safe_component, sha256_of
from skyrelay.crowdsky.server_key import server_chunk_key
from skyrelay.crowdsky.stack_facts import StackFacts, stack_facts
from skyrelay.domain.block import BLOCK_MINUTES, BlockKey
from skyrelay.domain.chunk import chunk_of, chunk_start
from skyrelay.domain.frame_facts import serial_of
from skyrelay.domain.night import night_of
from skyrelay.domain.stack_name import parse_stack_name
from skyrelay.domain.states import OPEN_BLOCKS, BlockState, DeliveryState
from skyrelay.errors import PermanentError, TransientError
from skyrelay.fits_header import FitsHeader, read_header
from skyrelay.outbox.known_stacks import delivery_of, find_stack
from skyrelay.store.engine import Store
from skyrelay.store.known_blocks import block_of
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.telescopes import telescope_of_name, telescope_of_serial
from skyrelay.store.transitions import audit, move_block, move_delivery

ACTOR = "person"
_UNKNOWN_TELESCOPE = "Unknown telescope"  # of files whose header does not tell
_LEAST_FREE = 100_000_000  # bytes that are left to the database and to everything else on the disk
_FICLONE = 0x40049409  # linux/fs.h: btrfs, XFS, bcachefs, NFS 4.2
_CHUNK = 1024 * 1024
_REASON = "handed in from a folder, to be sent"


@dataclass(frozen=True, slots=True)
class _File:
    """A stack's file, read."""

    path: Path
    facts: StackFacts
    header: FitsHeader
    start_at: datetime


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where it lies in the archive, relative to that."""

    path: str
    sha256: str


def hand_in(
    store: Store, archive: Path, path: Path, facts: StackFacts, now: datetime, zone: ZoneInfo | None
) -> int:
    """Put a stack into the outbox, once; give its delivery.

    The file is copied into the archive. One that the books know already keeps its row: it is sent from there,
    tried again if it was given up.

    Parameters
    ----------
    archive
        The archive's folder.
    path, facts
        The file, and what it told of itself when it was found.
    zone
        Of the site, for telescopes that do not name theirs: it decides which night a stack is of.

    Raises
    ------
    PermanentError
        If the server could not take it.
    TransientError
        If it has changed since it was found, or there is no room for it.
    """
    file = _read(path, facts)
    with store.write() as session:
        telescope = _telescope(session, file, now)
    kept = _keep(archive, file, telescope.name)
    with store.write() as session:
        stack = _known(session, telescope, file, kept) or _add(session, telescope, file, zone, now)
        _note_kept(stack, archive, kept, file, now)
        session.flush()
        return _owe(session, stack, now)


def _read(path: Path, facts: StackFacts) -> _File:
    try:
        with path.open("rb") as opened:
            header = read_header(opened.read)
            found = stack_facts(path.name, header, os.fstat(opened.fileno()).st_size)
    except OSError as error:
        raise TransientError(f"it cannot be read: {error.strerror}") from error
    if found.fingerprint != facts.fingerprint:
        raise TransientError("it has changed since it was found: try again")
    if found.identity.first_start_at is None:
        raise PermanentError("it has no DATE-OBS: the server takes no such file")
    return _File(path, found, header, found.identity.first_start_at)


def _telescope(session: Session, file: _File, now: datetime) -> Telescope:
    serial = serial_of(file.header)
    if serial is not None:
        return telescope_of_serial(session, serial, now)
    row = telescope_of_name(session, _UNKNOWN_TELESCOPE)
    if row is None:
        row = Telescope(
            name=_UNKNOWN_TELESCOPE,
            rpc_port=4700,
            http_port=80,
            smb_port=445,
            smb_share="auto",
            timezone="auto",
            state_reason="known from stacks without TELESCOP; no address is configured",
            created_at=now,
        )
        session.add(row)
        session.flush()
    return row


def _keep(archive: Path, file: _File, telescope: str) -> _Kept:
    """Put the file into the archive, where one of the same name and content is the same file."""
    mark = hashlib.sha256(str(file.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with _disk(archive), arriving_in(archive / ".arriving" / f"in-{mark}") as place:
        arrived = place / "stack.fit"
        _copy(file.path, arrived)
        sha256 = sha256_of(arrived)
        folder = archive / safe_component(telescope) / safe_component(_target(file))
        folder.mkdir(parents=True, exist_ok=True)
        final = put_under_name(arrived, folder, safe_component(file.path.name), sha256)
    return _Kept(final.relative_to(archive).as_posix(), sha256)


def _copy(source: Path, to: Path) -> None:
    """Copy a file; where the file system can, the two share their blocks until one of them is changed.

    Never a hard link: whoever writes the old file anew in its place would change the archive's with it.
    """
    size_bytes, free_bytes = source.stat().st_size, shutil.disk_usage(to.parent).free
    with source.open("rb") as opened, to.open("wb") as copy:
        if not _clone(opened.fileno(), copy.fileno()):
            if free_bytes - size_bytes < _LEAST_FREE:
                raise TransientError(
                    f"the archive's disk is full ({free_bytes / 1e9:.1f} GB free): free some space"
                )
            shutil.copyfileobj(opened, copy, _CHUNK)
        copy.flush()
        os.fsync(copy.fileno())


def _clone(source: int, to: int) -> bool:
    try:
        fcntl.ioctl(to, _FICLONE, source)
    except OSError:  # another disk, or a file system that knows no clones
        return False
    return True


@contextmanager
def _disk(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(f"the archive {archive} cannot be written: {error.strerror}") from error


def _known(session: Session, telescope: Telescope, file: _File, kept: _Kept) -> Stack | None:
    """Give the stack if the books have it: by what it is, or by its very content."""
    is_same = (Stack.telescope_id == telescope.id, Stack.sha256 == kept.sha256)
    return find_stack(session, file.facts.identity) or session.scalar(select(Stack).where(*is_same).limit(1))


def _add(session: Session, telescope: Telescope, file: _File, zone: ZoneInfo | None, now: datetime) -> Stack:
    block = _block(session, telescope, file, zone, now)
    facts, header = file.facts, file.header
    stack = Stack(
        block_id=block.id,
        telescope_id=telescope.id,
        folder=_free_folder(session, telescope, file),
        original_name=file.path.name,
        crowdsky_name=file.path.name,
        renamed_at=now,
        chunk_key=server_chunk_key(header) or chunk_of(file.start_at),
        frames_aligned=facts.frames,
        exposure_total_s=facts.identity.total_exptime_s or 0.0,
        first_start_at=file.start_at,
        ra_deg=header.number("RA"),
        dec_deg=header.number("DEC"),
        found_at=now,
        created_at=now,
    )
    session.add(stack)
    session.flush()
    reason = f"{file.path.name} was handed in"
    audit(session, now=now, actor=ACTOR, subject=("stack", stack.id), event="handed in", reason=reason)
    return stack


def _block(
    session: Session, telescope: Telescope, file: _File, zone: ZoneInfo | None, now: datetime
) -> Block:
    """Give the quarter hour that a stack is of; one that nobody knew counts as covered by it."""
    start, exposure = chunk_start(chunk_of(file.start_at)), _exposure(file)
    key = BlockKey(start, _target(file), exposure, file.facts.identity.filter_name, BLOCK_MINUTES)
    known = block_of(session, telescope.id, key)
    if known is not None:
        _cover(session, known, file, now)
        return known
    offset = _offset(telescope, zone, start)
    block = Block(
        telescope_id=telescope.id,
        target=key.target,
        exposure=exposure,
        filter=key.filter,
        start_at=start,
        minutes=key.minutes,
        folder=_target(file),
        exposure_s=float(exposure.removesuffix("s")),
        utc_offset_min=int(offset / timedelta(minutes=1)),
        night=night_of(start, offset).isoformat(),
        state=BlockState.COVERED,
        reason="its stack was handed in from a folder",
        created_at=now,
        updated_at=now,
    )
    session.add(block)
    session.flush()
    return block


def _cover(session: Session, block: Block, file: _File, now: datetime) -> None:
    """Leave a block that waits at the stack of it that was handed in, unless a person wants another."""
    if block.state not in OPEN_BLOCKS or block.is_wanted_again:
        return
    reason = f"its stack {file.path.name} was handed in from a folder"
    at_rest: dict[str, Any] = {"needs_you": False, "next_attempt_at": None}
    move_block(session, block, BlockState.COVERED, now=now, actor=ACTOR, reason=reason, **at_rest)


def _target(file: _File) -> str:
    name = parse_stack_name(file.path.name)
    return (name.target if name else None) or file.header.text("OBJECT") or "unknown"


def _exposure(file: _File) -> str:
    name = parse_stack_name(file.path.name)
    return name.exposure if name else f"{file.header.number('EXPTIME') or 0.0:.1f}s"


def _offset(telescope: Telescope, zone: ZoneInfo | None, at: datetime) -> timedelta:
    own = telescope.zone if telescope.timezone == "auto" else telescope.timezone
    return at.astimezone(ZoneInfo(own) if own else zone).utcoffset() or timedelta(0)


def _free_folder(session: Session, telescope: Telescope, file: _File) -> str:
    """Give the target's folder, marked where the books have another stack of the same name in it."""
    folder = _target(file)
    is_taken = select(Stack.id).where(
        Stack.telescope_id == telescope.id, Stack.folder == folder, Stack.original_name == file.path.name
    )
    if session.scalar(is_taken.limit(1)) is None:
        return folder
    return f"{folder} ({hashlib.sha256(file.facts.fingerprint.encode()).hexdigest()[:8]})"


def _note_kept(stack: Stack, archive: Path, kept: _Kept, file: _File, now: datetime) -> None:
    """Send it from where it lies now, unless the archive has the stack already."""
    stack.is_offered = False
    if stack.archive_path is not None and locate(archive, stack.archive_path).is_file():
        return
    stack.archive_path, stack.sha256, stack.size_bytes = kept.path, kept.sha256, file.facts.size_bytes
    stack.fetched_at, stack.removed_at, stack.fetch_error = now, None, None


def _owe(session: Session, stack: Stack, now: datetime) -> int:
    delivery = delivery_of(session, stack)
    if delivery is None:
        delivery = Delivery(
            stack_id=stack.id,
            destination=CROWDSKY,
            state=DeliveryState.PENDING,
            reason=_REASON,
            created_at=now,
            updated_at=now,
        )
        session.add(delivery)
        session.flush()
    elif delivery.state == DeliveryState.DEAD:
        move_delivery(
            session,
            delivery,
            DeliveryState.PENDING,
            now=now,
            actor=ACTOR,
            reason=_REASON,
            needs_you=False,
            item_faults=0,
            given_up_at=None,
        )
    return delivery.id
