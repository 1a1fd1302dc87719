"""Carry out purges that a person asks for: list what would be removed, then, confirmed, remove it.

The list is rows, and what was confirmed are these rows: files that came since are left alone, and where
one of them is no longer as it was listed nothing more is removed. Each file is marked before the telescope
is told, so that one that is gone after a crash is known to be our doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.purging import A_DELETION, crowdsky_files, delete_file, folders_of_stacks, stack_of
from skyrelay.domain.purge_states import PurgedFile, PurgeState
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import PermanentError, SkyrelayError
from skyrelay.seestar.device import TelescopeStatus
from skyrelay.seestar.errors import AnotherTelescope, FileMissing, ShareMissing
from skyrelay.seestar.listing import FileListing
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.leases import LeaseLost
from skyrelay.store.tables import Delivery, Purge, PurgeFile, PurgePart, Stack, Telescope
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import audit
from skyrelay_stacker.looking import address_of, record_failure, record_status
from skyrelay_stacker.reconciling import MAY_BE_PURGED, reconcile_telescope
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_AFTER_TROUBLE = timedelta(minutes=2)
_TO_GO = frozenset({PurgedFile.DOOMED, PurgedFile.REMOVING})


def see_to_purge(workshop: Workshop, part_id: int) -> None:
    """Take a purge on one telescope as far as it goes now."""
    with workshop.store.read() as session:
        part = session.get(PurgePart, part_id)
        row = session.get(Telescope, part.telescope_id) if part else None
    if part is None or row is None:
        return
    with structlog.contextvars.bound_contextvars(telescope=row.name, purge=part.purge_id):
        if part.state == PurgeState.LISTING:
            _list(workshop, part, row)
        elif part.state == PurgeState.REMOVING:
            with held(workshop.store, row.id, workshop.holder) as lease:
                if lease is None:
                    return
                ended = _remove(workshop, part, row, lease)
            if ended:
                reconcile_telescope(workshop, row.id)


# -- listing ---------------------------------------------------------------------------------------


def _list(workshop: Workshop, part: PurgePart, row: Telescope) -> None:
    """List by SMB, which needs no lease and can delete as well; a listing that fails ends this part."""
    with workshop.store.read() as session:
        target = session.get_one(Purge, part.purge_id).target
    try:
        with Seestar(address_of(row)) as seestar:
            _check_who_answers(seestar, row)
            listings = list(_listings(seestar, target))
    except FileMissing:
        _settle(workshop, part.id, PurgeState.LISTED, f"there is no folder {target} on {row.name}")
    except SkyrelayError as error:
        _log.warning("nothing can be listed for a purge", problem=str(error))
        _settle(workshop, part.id, PurgeState.FAILED, f"cannot be listed: {error}")
    else:
        _settle(workshop, part.id, PurgeState.LISTED, "", listings)


def _check_who_answers(seestar: Seestar, row: Telescope) -> None:
    serial = seestar.identify().serial
    if row.serial not in {None, serial}:
        raise AnotherTelescope(serial)


def _listings(seestar: Seestar, target: str | None) -> Iterator[FileListing]:
    folders: Iterable[str] = [target] if target is not None else _all_folders(seestar)
    return (seestar.list_folder(folder, allow_rpc=False) for folder in folders)


def _all_folders(seestar: Seestar) -> list[str]:
    return folders_of_stacks(seestar.list_targets_folders(allow_rpc=False).folders)


def _settle(
    workshop: Workshop, part_id: int, state: PurgeState, reason: str, listings: Sequence[FileListing] = ()
) -> None:
    """Write the list down, unless another worker has done so."""
    now = utc_now()
    with workshop.store.write() as session:
        part = session.get_one(PurgePart, part_id)
        if part.state == PurgeState.LISTING:
            part.state, part.reason, part.updated_at = state, reason, now
            for listing in listings:
                session.add_all(_judge(session, part, listing, now))


def _judge(session: Session, part: PurgePart, listing: FileListing, now: datetime) -> Iterator[PurgeFile]:
    """Say of each of CrowdSky's files in a folder whether it is to go; a picture shares its stack's lot."""
    undelivered = session.get_one(Purge, part.purge_id).undelivered
    files = crowdsky_files(listing)
    names = [file.name for file in files]
    booked = _booked_stacks(session, part.telescope_id, listing.folder)
    sizes = {file.name: file.size_bytes for file in files}
    for file in files:
        stack = stack_of(file.name, names)
        reason = _LONE_PICTURE if stack is None else _words_of(booked.get(stack, ()), sizes[stack])
        goes = undelivered or reason in {_DELIVERED, _LONE_PICTURE}
        yield PurgeFile(
            part_id=part.id,
            folder=listing.folder,
            file_name=file.name,
            size_bytes=file.size_bytes,
            is_delivered=reason == _DELIVERED,
            state=PurgedFile.DOOMED if goes else PurgedFile.KEPT,
            reason=reason,
            updated_at=now,
        )


_DELIVERED = "CrowdSky lists it"
_LONE_PICTURE = "a picture whose stack is gone"
_NOT_BOOKED = "another program's: whether CrowdSky has it is not known"


def _booked_stacks(
    session: Session, telescope_id: int, folder: str
) -> dict[str, list[tuple[int | None, str]]]:
    """Give the booked stacks in a folder, by name: the size of each, and whether CrowdSky has it."""
    query = (
        select(Stack.crowdsky_name, Stack.size_bytes, Stack.is_offered, Delivery.state)
        .outerjoin(Delivery, (Delivery.stack_id == Stack.id) & (Delivery.destination == CROWDSKY))
        .where(Stack.telescope_id == telescope_id, Stack.folder == folder)
    )
    booked: dict[str, list[tuple[int | None, str]]] = {}
    for name, size_bytes, offered, state in session.execute(query):
        booked.setdefault(name, []).append((size_bytes, _words(state, is_offered=offered)))
    return booked


def _words_of(booked: Sequence[tuple[int | None, str]], size_bytes: int | None) -> str:
    """Say of a file whether CrowdSky has it: one of a booked name and another size is another file."""
    if not booked:
        return _NOT_BOOKED
    same = [words for size, words in booked if None in {size, size_bytes} or size == size_bytes]
    if not same:
        known = " or ".join(str(size) for size, _ in booked)
        return f"another file than the stack of its name: {size_bytes} bytes, that has {known}"
    return next((words for words in same if words != _DELIVERED), _DELIVERED)


def _words(delivery_state: str | None, *, is_offered: bool) -> str:
    if delivery_state == DeliveryState.CONFIRMED:
        return _DELIVERED
    if delivery_state is not None:
        return f"CrowdSky does not list it yet: its delivery is {delivery_state}"
    return "never sent: it is offered" if is_offered else "never sent to CrowdSky"


# -- removing --------------------------------------------------------------------------------------


def _remove(workshop: Workshop, part: PurgePart, row: Telescope, lease: HeldLease) -> bool:
    """Remove what was confirmed, as far as it goes; tell whether that is all.

    What stands in the way for a while (it observes, or is away) is waited for.
    """
    try:
        with Seestar(address_of(row)) as seestar:
            _check_who_answers(seestar, row)
            status = seestar.state()
            if status.state not in MAY_BE_PURGED:
                _wait(workshop, part.id, status, lease)
                return False
            changed = _what_changed(workshop, part.id, seestar, lease)
            ended = changed is not None or _remove_all(workshop, part.id, seestar, lease)
            if ended:
                _end(workshop, part.id, lease, changed)
            return ended
    except LeaseLost as error:
        _log.warning("left to another worker", problem=str(error))
    except SkyrelayError as error:
        _log.warning("a purge cannot go on now", problem=str(error))
        _note_trouble(workshop, part.id, error)
    return False


def _wait(workshop: Workshop, part_id: int, status: TelescopeStatus, lease: HeldLease) -> None:
    """Say that the telescope is not to be disturbed: its own looks tell when that is over."""
    now = utc_now()
    with workshop.store.write() as session:
        lease.check_write(session)
        part = session.get_one(PurgePart, part_id)
        part.reason, part.updated_at = f"waits: {status.reason or status.state}", now
        record_status(session.get_one(Telescope, part.telescope_id), status, now)


def _note_trouble(workshop: Workshop, part_id: int, error: SkyrelayError) -> None:
    """Wait a while, in which the telescope is free for other work."""
    now = utc_now()
    with workshop.store.write() as session:
        part = session.get_one(PurgePart, part_id)
        part.reason, part.updated_at = f"waits: {error}", now
        part.next_attempt_at = now + _AFTER_TROUBLE
        record_failure(session.get_one(Telescope, part.telescope_id), error, now)


def _files_of(session: Session, part_id: int, states: Iterable[PurgedFile]) -> Sequence[PurgeFile]:
    query = select(PurgeFile).where(PurgeFile.part_id == part_id, PurgeFile.state.in_(list(states)))
    return session.scalars(query.order_by(PurgeFile.folder, PurgeFile.file_name)).all()


def _what_changed(workshop: Workshop, part_id: int, seestar: Seestar, lease: HeldLease) -> str | None:
    """Name the first file that is no longer what was confirmed; `None` when all still are."""
    with workshop.store.read() as session:
        doomed = _files_of(session, part_id, {PurgedFile.DOOMED})
    there: dict[tuple[str, str], int | None] = {}
    for folder in sorted({file.folder for file in doomed}):
        lease.check()
        there |= _sizes_in(seestar, folder)
    for file in doomed:
        place = (file.folder, file.file_name)
        if place not in there:
            return f"{file.folder}/{file.file_name} is gone since it was listed"
        if there[place] != file.size_bytes:
            return f"{file.folder}/{file.file_name} is another file than was listed"
    return None


def _sizes_in(seestar: Seestar, folder: str) -> dict[tuple[str, str], int | None]:
    try:
        listing = seestar.list_folder(folder, allow_rpc=False)
    except FileMissing:
        return {}
    return {(folder, file.name): file.size_bytes for file in listing.files}


def _remove_all(workshop: Workshop, part_id: int, seestar: Seestar, lease: HeldLease) -> bool:
    """Remove file by file; tell whether all had their turn before this worker was to stop."""
    with workshop.store.read() as session:
        doomed = _files_of(session, part_id, _TO_GO)
    for file in doomed:
        if workshop.shutting_down.is_set():
            return False
        status = seestar.state()
        if status.state not in MAY_BE_PURGED:  # somebody began to observe meanwhile
            _wait(workshop, part_id, status, lease)
            return False
        lease.check(A_DELETION)
        _mark(workshop, file.id, lease)
        _write_down(workshop, file.id, _delete(seestar, file))
    return True


def _delete(seestar: Seestar, file: PurgeFile) -> str | None:
    """Delete a file; give what stands in the way for good. What passes raises."""
    try:
        delete_file(seestar, file.folder, file.file_name)
    except ShareMissing:  # that is not this file's
        raise
    except PermanentError as error:
        return str(error)
    return None


def _mark(workshop: Workshop, file_id: int, lease: HeldLease) -> None:
    with workshop.store.write() as session:
        lease.check_write(session)
        file = session.get_one(PurgeFile, file_id)
        file.state, file.updated_at = PurgedFile.REMOVING, utc_now()


def _write_down(workshop: Workshop, file_id: int, problem: str | None) -> None:
    """Write what became of a file; without asking for the lease, for it has happened."""
    now = utc_now()
    with workshop.store.write() as session:
        file = session.get_one(PurgeFile, file_id)
        file.updated_at = now
        if problem is not None:
            file.state, file.reason = PurgedFile.FAILED, problem
            return
        file.state = PurgedFile.REMOVED
        part = session.get_one(PurgePart, file.part_id)
        _withdraw_offer(session, part.telescope_id, file)
        audit(
            session,
            now=now,
            actor=session.get_one(Purge, part.purge_id).by,
            subject=("telescope", part.telescope_id),
            event="purged",
            reason=f"{file.folder}/{file.file_name} was deleted from the telescope",
            detail={"purge": part.purge_id, "size_bytes": file.size_bytes, "is_delivered": file.is_delivered},
        )


def _withdraw_offer(session: Session, telescope_id: int, file: PurgeFile) -> None:
    """Offer a stack no longer that is not there any more."""
    query = select(Stack).where(
        Stack.telescope_id == telescope_id,
        Stack.folder == file.folder,
        Stack.crowdsky_name == file.file_name,
        Stack.is_offered.is_(True),
    )
    for stack in session.scalars(query):
        stack.is_offered = False


def _end(workshop: Workshop, part_id: int, lease: HeldLease, changed: str | None = None) -> None:
    """Close a purge on one telescope and say what came of it."""
    now = utc_now()
    with workshop.store.write() as session:
        lease.check_write(session)
        part = session.get_one(PurgePart, part_id)
        removed = len(_files_of(session, part_id, {PurgedFile.REMOVED}))
        failed = len(_files_of(session, part_id, {PurgedFile.FAILED}))
        words = f"{removed} files were removed" + (f", {failed} would not go" if failed else "")
        part.state, part.reason = (PurgeState.FAILED if failed else PurgeState.DONE), words
        if changed is not None:
            part.state, part.reason = PurgeState.CHANGED, f"{changed}: ask again; {words}"
        part.updated_at = now
    _log.info("purge ended", state=part.state, reason=part.reason)
