"""Room in the archive: what may go when a floor is set, and a pause when the disk is full.

Everything is kept by default. With ``archive.reserve_gb`` the oldest stacks go that the server has been
seen to list; what was not delivered never goes, nor do pictures, which are small.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryState
from skyrelay.errors import TransientError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account
from skyrelay.store.tables import Delivery, Destination, Stack, Telescope
from skyrelay.store.tables.destinations import ARCHIVE
from skyrelay.store.transitions import audit
from skyrelay_uploader.workshop import ACTOR, Workshop

LEAST_FREE = 100_000_000  # bytes that are left to the database and to everything else on the disk
_STACK_BYTES = 60_000_000  # of one whose size is not known: the largest that a Seestar writes
FULL_DISK_PROBE = timedelta(
    minutes=5
)  # room is noticed at each tick; this is for a disk that cannot be asked
_MOST_AT_ONCE = 500  # removals in one go
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = get_logger(__name__)


class ArchiveFull(TransientError):  # noqa: N818 - the state it names
    """There is no room for another stack on the disk."""


class FloorReached(TransientError):  # noqa: N818 - the state it names
    """A further stack would leave less free than ``archive.reserve_gb`` asks for."""


def look_after_archive(workshop: Workshop) -> None:
    """Keep the floors that are set, and end a pause when there is room again."""
    _finish_removals(workshop)
    for telescope, floor in _floors(workshop).items():
        make_room(workshop, telescope, floor)
    _resume_if_there_is_room(workshop)


def ensure_room(workshop: Workshop, telescope: str, size_bytes: int | None) -> None:
    """Make sure that a stack has room, and make some where that is allowed.

    Raises
    ------
    ArchiveFull, FloorReached
        If there is none. Nothing was fetched.
    """
    size = size_bytes or _STACK_BYTES
    floor = workshop.settings.archive.reserve_bytes(telescope)
    if floor and not make_room(workshop, telescope, floor + size):
        raise FloorReached(
            f"{_gb(_free(workshop, telescope))} are free on the archive's disk, archive.reserve_gb asks for "
            f"{_gb(floor)}, and no delivered stack is left that could go: free some space, or lower it"
        )
    free = _free(workshop, telescope)
    if free - size < LEAST_FREE:
        raise ArchiveFull(
            f"the archive's disk is full ({_gb(free)} free): free some space, or set archive.reserve_gb to "
            "let delivered stacks go. Nothing is lost: the stacks wait on their telescopes"
        )


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def pause_archive(session: Session, reason: str, now: datetime) -> None:
    """Fetch nothing for a while: the disk is full."""
    accounts.pause(session, _DISK, reason, now, FULL_DISK_PROBE)


def make_room(workshop: Workshop, telescope: str, floor: int) -> bool:
    """Let a telescope's oldest confirmed stacks go until ``floor`` bytes are free; tell whether they are."""
    for _ in range(_MOST_AT_ONCE):
        if _free(workshop, telescope) >= floor:
            return True
        if not _remove_oldest(workshop, telescope, floor):
            return False
        _finish_removals(workshop)
    return _free(workshop, telescope) >= floor


def _remove_oldest(workshop: Workshop, telescope: str, floor: int) -> bool:
    now = workshop.clock()
    with workshop.store.write() as session:
        stack = session.scalar(_removable(telescope))
        if stack is None:
            return False
        stack.removed_at = now
        audit(
            session,
            now=now,
            actor=ACTOR,
            subject=("stack", stack.id),
            event="removed from the archive",
            reason=f"less than {_gb(floor)} were free, and the server lists it",
            detail={"path": stack.archive_path, "sha256": stack.sha256, "size_bytes": stack.size_bytes},
        )
    _log.info("a delivered stack leaves the archive", stack_id=stack.id, path=stack.archive_path)
    return True


def _removable(telescope: str) -> Select[Stack]:
    of_stack = Delivery.stack_id == Stack.id
    confirmed = exists().where(of_stack, Delivery.state == DeliveryState.CONFIRMED)
    other = exists().where(of_stack, Delivery.state != DeliveryState.CONFIRMED)
    return (
        select(Stack)
        .join(Telescope)
        .where(Telescope.name == telescope, Stack.archive_path.is_not(None), Stack.removed_at.is_(None))
        .where(confirmed, ~other)
        .order_by(Stack.first_start_at, Stack.id)
        .limit(1)
    )


def _finish_removals(workshop: Workshop) -> None:
    """Delete the files that the books have let go: after the books, so that a kill leaves no gap in them."""
    with workshop.store.read() as session:
        query = select(Stack.id, Stack.archive_path).where(
            Stack.removed_at.is_not(None), Stack.archive_path.is_not(None)
        )
        leaving = session.execute(query).all()
    for stack_id, path in leaving:
        try:
            workshop.archive.locate(path or "").unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a file cannot be deleted", path=path, problem=error.strerror)
            continue
        with workshop.store.write() as session:
            session.get_one(Stack, stack_id).archive_path = None


def _resume_if_there_is_room(workshop: Workshop) -> None:
    with workshop.store.read() as session:
        row = session.get(Destination, ARCHIVE)
    if row is None or row.paused_reason is None:
        return
    if workshop.free_bytes(workshop.settings.archive_path) >= LEAST_FREE + _STACK_BYTES:
        with workshop.store.write() as session:
            accounts.note_success(session, ARCHIVE, workshop.clock(), ACTOR)


def _floors(workshop: Workshop) -> Mapping[str, int]:
    return {name: floor for name, floor in _all_floors(workshop) if floor}


def _all_floors(workshop: Workshop) -> Iterator[tuple[str, int]]:
    if not workshop.settings.archive.reserve_gb:
        return
    with workshop.store.read() as session:
        names = session.scalars(select(Telescope.name)).all()
    for name in names:
        yield name, workshop.settings.archive.reserve_bytes(name)


def _free(workshop: Workshop, telescope: str) -> int:
    return workshop.free_bytes(workshop.archive.folder_of(telescope))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


_DISK = Account(ARCHIVE, "", "", SecretStr(""), ACTOR)  # our own disk: nobody logs in there
