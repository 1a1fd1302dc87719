"""Fetch a stack from its telescope into the archive."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from skyrelay.arrivals import AlreadyArriving
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.logs import get_logger
from skyrelay.outbox.due import SENDABLE
from skyrelay.outbox.leases import LEASE, renewal, renewing
from skyrelay.outbox.outcomes import LONGEST_DELAY, growing_delay
from skyrelay.queue.tasks import DeliveryMessage, StackMessage, TaskName
from skyrelay.seestar.downloads import HttpFiles
from skyrelay.seestar.errors import FileMissing, Unreachable
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay.store.transitions import audit
from skyrelay_uploader.archive import Archive, Kept
from skyrelay_uploader.due import due_fetches, is_archive_paused, is_to_fetch
from skyrelay_uploader.making_room import ArchiveFull, FloorReached, ensure_room, is_full, pause_archive
from skyrelay_uploader.thumbnail import make_thumbnail
from skyrelay_uploader.workshop import ACTOR, Workshop

AWAY_DELAY = timedelta(minutes=5)  # a telescope sleeps all day and is asked cheaply: a try is one connection
_NEEDS_YOU_AFTER = 4  # tries that failed although the telescope answered
_THUMBNAIL, _PICTURE = "_thn.jpg", ".jpg"  # what the telescope lays beside a stack
_JPEG = b"\xff\xd8\xff"

_log = get_logger(__name__)


class NoAddress(TransientError):  # noqa: N818 - the state it names
    """The telescope is known from its frames only."""


@dataclass(frozen=True, slots=True)
class FetchJob:
    """A stack to be fetched, as it was claimed.

    Attributes
    ----------
    names
        What it may be called on the telescope, the likelier name first: a rename may come in between.
    size_bytes
        As the telescope lists it; `None` if it was not listed with its size.
    """

    stack_id: int
    telescope_id: int
    telescope: str
    host: str | None
    http_port: int
    folder: str
    names: tuple[str, str]
    size_bytes: int | None
    target: str
    crowdsky_name: str
    chunk_key: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is in the archive now."""

    stack: Kept
    picture: Kept | None
    thumbnail: Kept | None


def fetch_stack(workshop: Workshop, stack_id: int) -> None:
    """Fetch a stack if it is due; harmless when it is fetched already, or is being fetched."""
    if not workshop.may_act:
        return
    with workshop.fetches.one() as free:
        job = claim_fetch(workshop, stack_id) if free else None
        if job is None:
            return
        with bound_contextvars(stack_id=job.stack_id, target=job.target, chunk_key=job.chunk_key):
            deliveries = _fetch(workshop, job)
    for delivery_id in deliveries:
        workshop.say(TaskName.DELIVER, DeliveryMessage(delivery_id=delivery_id))
    _say_next(workshop)


def claim_fetch(workshop: Workshop, stack_id: int) -> FetchJob | None:
    """Take the lease on a stack's fetch; `None` when it is not due or another has it."""
    now = workshop.clock()
    with workshop.store.write() as session:
        claimed = cast(
            "CursorResult[Any]",
            session.execute(
                update(Stack)
                .where(Stack.id == stack_id, is_to_fetch(now), ~is_archive_paused(now))
                .values(fetch_lease_until=now + LEASE),
                execution_options={"synchronize_session": False},
            ),
        )
        return job_of(session, stack_id) if claimed.rowcount else None


def job_of(session: Session, stack_id: int) -> FetchJob:
    """Say what there is to fetch of a stack, and from where."""
    query = (
        select(Stack, Telescope, Block.target)
        .join_from(Stack, Telescope)
        .join(Block, Block.id == Stack.block_id)
    )
    stack, telescope, target = session.execute(query.where(Stack.id == stack_id)).one()
    names = (stack.original_name, stack.crowdsky_name)
    return FetchJob(
        stack_id=stack.id,
        telescope_id=telescope.id,
        telescope=telescope.name,
        host=telescope.address,
        http_port=telescope.http_port,
        folder=stack.folder,
        names=names if stack.renamed_at is None else (names[1], names[0]),
        size_bytes=stack.size_bytes,
        target=target,
        crowdsky_name=stack.crowdsky_name,
        chunk_key=stack.chunk_key,
        attempts=stack.fetch_attempts,
    )


def _fetch(workshop: Workshop, job: FetchJob) -> list[int]:
    """Bring a stack home and write down how that went; give its deliveries that can be sent now."""
    try:
        with (
            workshop.archive.on_disk(),
            renewing(lambda: _renew(workshop, job.stack_id), every=workshop.renew_every),
        ):
            ensure_room(workshop, job.telescope, job.size_bytes)
            fetched = bring(workshop, job)
    except AlreadyArriving as error:
        _log.info("the stack is being fetched by another", reason=str(error))
        return []
    except SkyrelayError as error:
        if isinstance(error, ArchiveFull) or is_full(error):
            _wait_for_room(workshop, job, error)
        else:
            _book_failure(workshop, job, error)
        return []
    return _book(workshop, job, fetched)


def bring(workshop: Workshop, job: FetchJob) -> Fetched:
    """Download a stack and its picture, and put them into the archive.

    Raises
    ------
    skyrelay.seestar.errors.FileMissing
        If the telescope has it under neither name.
    NoAddress, skyrelay.seestar.errors.Unreachable, TransientError, skyrelay.fits_header.FitsError
    AlreadyArriving
    """
    if job.host is None:
        raise NoAddress(f"{job.telescope} has no address: add it to telescopes in the configuration")
    archive = workshop.archive
    with (
        archive.arriving(job.stack_id) as folder,
        closing(HttpFiles(job.host, job.http_port, name=job.telescope)) as http,
    ):
        arrived = _download(http, job, folder / "stack.fit")
        picture = _download_picture(http, job, _PICTURE, folder / "picture.jpg")
        thumbnail = _download_picture(http, job, _THUMBNAIL, folder / "thumbnail.jpg")
        if thumbnail is None and make_thumbnail(picture or arrived, folder / "thumbnail.jpg"):
            thumbnail = folder / "thumbnail.jpg"
        return Fetched(
            stack=archive.keep(arrived, job.telescope, job.target, job.crowdsky_name),
            picture=_keep_picture(archive, job, picture, _PICTURE),
            thumbnail=_keep_picture(archive, job, thumbnail, _THUMBNAIL),
        )


def _keep_picture(archive: Archive, job: FetchJob, arrived: Path | None, ending: str) -> Kept | None:
    if arrived is None:
        return None
    return archive.keep(arrived, job.telescope, job.target, PurePosixPath(job.crowdsky_name).stem + ending)


def _download(http: HttpFiles, job: FetchJob, to: Path) -> Path:
    first, second = job.names
    try:
        return http.download(job.folder, first, to, job.size_bytes)
    except FileMissing:
        pass
    try:
        return http.download(job.folder, second, to, job.size_bytes)
    except FileMissing as error:
        raise FileMissing(
            f"{job.telescope} has neither {first} nor {second} in {job.folder}: was it moved or deleted?"
        ) from error


def _download_picture(http: HttpFiles, job: FetchJob, ending: str, to: Path) -> Path | None:
    """Download a picture beside the stack; `None` where there is none to be had: it is worth no delay."""
    for name in job.names:
        try:
            http.download(job.folder, PurePosixPath(name).stem + ending, to)
        except FileMissing:
            continue
        except SkyrelayError as error:
            if is_full(error):
                raise
            _log.info("the stack comes without a picture", ending=ending, reason=str(error))
            return None
        if _is_jpeg(to):
            return to
    return None


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_JPEG)) == _JPEG


def _renew(workshop: Workshop, stack_id: int) -> None:
    with renewal(workshop.store, workshop.clock) as (session, now):
        session.execute(
            update(Stack)
            .where(Stack.id == stack_id, Stack.fetch_lease_until > now)
            .values(fetch_lease_until=now + LEASE)
        )


def _book(workshop: Workshop, job: FetchJob, fetched: Fetched) -> list[int]:
    now = workshop.clock()
    with workshop.store.write() as session:
        stack = session.get_one(Stack, job.stack_id, with_for_update=True)
        if stack.fetched_at is not None:
            return []
        stack.archive_path, stack.sha256 = fetched.stack.path, fetched.stack.sha256
        stack.size_bytes, stack.fetched_at = fetched.stack.size_bytes, now
        _note_pictures(stack, fetched)
        stack.fetch_error = stack.next_fetch_at = stack.fetch_lease_until = None
        detail = {"path": fetched.stack.path, "sha256": fetched.stack.sha256}
        audit(session, now=now, actor=ACTOR, subject=("stack", stack.id), event="fetched", detail=detail)
        deliveries = _waiting_deliveries(session, stack.id)
        for delivery in deliveries:
            delivery.reason, delivery.needs_you = "in the archive, to be sent", False
    _log.info("a stack is in the archive", path=fetched.stack.path, size_bytes=fetched.stack.size_bytes)
    return [delivery.id for delivery in deliveries]


def _note_pictures(stack: Stack, fetched: Fetched) -> None:
    if fetched.picture is not None:
        stack.picture_path, stack.picture_sha256 = fetched.picture.path, fetched.picture.sha256
    if fetched.thumbnail is not None:
        stack.thumbnail_path, stack.thumbnail_sha256 = fetched.thumbnail.path, fetched.thumbnail.sha256


def _wait_for_room(workshop: Workshop, job: FetchJob, error: SkyrelayError) -> None:
    """Let all fetches wait for room on the disk; no stack is to blame, and none loses a try."""
    now, words = workshop.clock(), str(error)
    with workshop.store.write() as session:
        pause_archive(session, words, now)
        stack = session.get_one(Stack, job.stack_id, with_for_update=True)
        stack.fetch_error, stack.fetch_lease_until = words, None
        for delivery in _waiting_deliveries(session, stack.id):
            delivery.reason = f"not fetched yet: {words}"
    _log.warning("no room for a stack", problem=words)


def _book_failure(workshop: Workshop, job: FetchJob, error: SkyrelayError) -> None:
    now, is_away = workshop.clock(), isinstance(error, Unreachable | NoAddress)
    is_floor = isinstance(error, FloorReached)
    jitter = random.random()  # noqa: S311 - it spreads load and guards nothing
    after = growing_delay(job.attempts, jitter, longest=AWAY_DELAY if is_away or is_floor else LONGEST_DELAY)
    words = f"{error}. It is tried again by itself" + (" until the telescope is back." if is_away else ".")
    with workshop.store.write() as session:
        stack = session.get_one(Stack, job.stack_id, with_for_update=True)
        if stack.fetched_at is not None:
            return
        if stack.fetch_error != words:
            audit(
                session,
                now=now,
                actor=ACTOR,
                subject=("stack", stack.id),
                event="not fetched",
                reason=str(error),
            )
        stack.fetch_attempts, stack.fetch_error = job.attempts + 1, words
        stack.next_fetch_at, stack.fetch_lease_until = now + after, None
        for delivery in _waiting_deliveries(session, stack.id):
            delivery.reason = f"not fetched yet: {words}"
            delivery.needs_you = is_floor or (not is_away and stack.fetch_attempts >= _NEEDS_YOU_AFTER)
        if is_away or is_floor:
            _spare_the_others(session, job, words, stack)
    _log.warning("a stack could not be fetched", problem=str(error), again_in_s=round(after.total_seconds()))


def _spare_the_others(session: Session, job: FetchJob, words: str, stack: Stack) -> None:
    """Have all stacks of a telescope wait that is away, or has no room: one try tells for all of them."""
    session.execute(
        update(Stack)
        .where(
            Stack.telescope_id == job.telescope_id,
            Stack.id != stack.id,
            Stack.fetched_at.is_(None),
            or_(Stack.next_fetch_at.is_(None), Stack.next_fetch_at < stack.next_fetch_at),
        )
        .values(next_fetch_at=stack.next_fetch_at, fetch_error=words)
    )


def _waiting_deliveries(session: Session, stack_id: int) -> list[Delivery]:
    query = select(Delivery).where(Delivery.stack_id == stack_id, Delivery.state.in_(SENDABLE))
    return list(session.scalars(query))


def _say_next(workshop: Workshop) -> None:
    """Say the next fetch that is due, so that a night's stacks follow each other at once."""
    with workshop.store.read() as session:
        for stack_id in due_fetches(session, workshop.clock(), most=1):
            workshop.say(TaskName.FETCH_STACK, StackMessage(stack_id=stack_id))
