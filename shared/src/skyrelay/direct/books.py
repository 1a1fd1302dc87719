"""What is booked of one telescope: what scripts had stacked, what the services did, who holds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, inspect, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from skyrelay.domain.block import BlockKey
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.states import FINAL_BLOCKS, FrameState
from skyrelay.errors import TransientError
from skyrelay.seestar.deadline import Deadline
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store, may_be_there
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.migrate import check_migrated, migrate
from skyrelay.store.tables import Block, Frame, ScriptedStack, Stack, Telescope
from skyrelay.store.telescopes import adopt_serial, telescope_of_name, telescope_of_serial
from skyrelay.store.transitions import audit

ACTOR = "script"


@dataclass(frozen=True, slots=True)
class BookedStack:
    """A stack that is booked: of which block, and under which two names its file may lie there."""

    key: BlockKey
    original_name: str
    crowdsky_name: str

    def lies_in(self, names: Collection[str]) -> bool:
        """Tell whether its file is still there."""
        return self.original_name in names or self.crowdsky_name in names


@dataclass(frozen=True, slots=True)
class Intent:
    """What the telescope is about to be told: recorded before, so that nobody stacks it twice.

    Attributes
    ----------
    key
        The block.
    folder
        Where its stack will lie.
    files
        The frames given.
    outputs_before
        What lay in the stacks' folder: the owner's.
    first_start, last_start
        Aware UTC starts of the first and the last of them.
    """

    key: BlockKey
    folder: str
    files: tuple[str, ...]
    outputs_before: tuple[str, ...]
    first_start: datetime
    last_start: datetime


def look_into_books(settings: Settings, name: str, serial: Callable[[], str]) -> Books | None:
    """Open the books of a telescope to read them; `None` while there are none.

    Parameters
    ----------
    name
        What the configuration calls it.
    serial
        Gives its serial number; may have to ask it.

    Raises
    ------
    TransientError
        If the database does not answer, or has another release's schema.
    """
    if not may_be_there(settings.database):
        return None
    with _opening(settings, name) as store:
        check_migrated(store)
        telescope_id = _find(store, name, serial)
        if telescope_id is not None:
            return Books(store, telescope_id)
        store.close()
        return None


def where_found(settings: Settings, name: str) -> str | None:
    """Give the address at which the services found a telescope that is not where it is configured.

    Raises
    ------
    TransientError
        If the database does not answer, or has another release's schema.
    """
    if not may_be_there(settings.database):
        return None
    with _opening(settings, name) as store:
        check_migrated(store)
        with store.read() as session:
            row = telescope_of_name(session, name)
            found = None if row is None else row.found_host
        store.close()
        return found


def open_books(settings: Settings, name: str, serial: Callable[[], str]) -> Books:
    """Open the books of a telescope, on whose row there the lease is taken; made where there are none.

    Raises
    ------
    TransientError
        If the database does not answer, or has another release's schema: then nobody can tell who drives
        the telescope.
    """
    with _opening(settings, name) as store:
        if _is_empty(store):
            migrate(store)
        check_migrated(store)
        return Books(store, _find_or_make(store, name, serial))


@contextmanager
def _opening(settings: Settings, name: str) -> Iterator[Store]:
    """Give a store that stays open unless something goes wrong in the ``with``."""
    store = Store(settings.database)
    try:
        yield store
    except OperationalError as error:
        store.close()
        raise TransientError(
            f"the database that says who drives {name} does not answer ({error.orig}): check database_url"
        ) from error
    except BaseException:
        store.close()
        raise


@contextmanager
def _database_errors() -> Iterator[None]:
    """Say in our own words that the database failed; what it holds is as it was."""
    try:
        yield
    except OperationalError as error:
        raise TransientError(f"the database does not answer ({error.orig}): check database_url") from error


class Books:
    """The books of one telescope."""

    def __init__(self, store: Store, telescope_id: int) -> None:
        self._store = store
        self.telescope_id = telescope_id

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    @contextmanager
    def held(
        self, holder: str, until: Deadline, pause: Callable[[float], object], pause_s: float
    ) -> Iterator[HeldLease | None]:
        """Hold the telescope's lease in the ``with``; `None` when others held it all the time."""
        with _database_errors():
            while True:
                with held(self._store, self.telescope_id, holder) as lease:
                    if lease is not None or until.passed:
                        yield lease
                        return
                pause(pause_s)

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _database_errors(), self._store.read() as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with _database_errors(), self._store.write() as session:
            yield session

    def who_holds(self) -> str:
        """Name the holder of the lease."""
        with self._reading() as session:
            row = session.get_one(Telescope, self.telescope_id)
            return row.lease_holder or "somebody else"

    def stacks_of(self, folder: str) -> list[BookedStack]:
        """Give all booked stacks of a target's folder."""
        with self._reading() as session:
            return [*self._of_services(session, folder), *self._of_scripts(session, folder)]

    def held_in(self, folder: str) -> frozenset[str]:
        """Name the frames of a folder that wait for a person, because a clock was wrong."""
        held = select(Frame.file_name).where(
            Frame.telescope_id == self.telescope_id,
            Frame.folder == folder,
            or_(Frame.needs_release.is_(True), Frame.state == FrameState.CLOCK_WRONG),
        )
        with self._reading() as session:
            return frozenset(session.scalars(held))

    def intent_of(self, key: BlockKey, span: tuple[datetime, datetime]) -> Intent | None:
        """Give what an earlier run, a script's or the services', was about to do with a block.

        `None` where it came to a stack, or where there was none.

        Parameters
        ----------
        span
            Aware starts of the first and the last frame of the block, for what the services did.
        """
        with self._reading() as session:
            row = session.scalar(_row_of(self.telescope_id, key))
            block = session.scalar(_block_of(self.telescope_id, key))
        if row is not None and row.stacked_at is None:
            starts = (row.first_start_at, row.last_start_at)
            return Intent(key, row.folder, tuple(row.files), tuple(row.outputs_before), *starts)
        if block is None or not block.intent or block.state in FINAL_BLOCKS:
            return None
        told = block.intent
        folder = target_of_folder(block.folder)
        return Intent(key, folder, tuple(told["files"]), tuple(told["outputs_before"]), *span)

    def begin(self, lease: HeldLease, intent: Intent) -> None:
        """Record what the telescope is about to be told."""
        with self._writing() as session:
            lease.check_write(session)
            row = session.scalar(_row_of(self.telescope_id, intent.key))
            if row is None:
                key = intent.key
                row = ScriptedStack(
                    telescope_id=self.telescope_id,
                    target=key.target,
                    exposure=key.exposure,
                    filter=key.filter,
                    start_at=key.start,
                    minutes=key.minutes,
                )
                session.add(row)
            row.folder = intent.folder
            row.files, row.outputs_before = list(intent.files), list(intent.outputs_before)
            row.first_start_at, row.last_start_at = intent.first_start, intent.last_start
            row.begun_at, row.stacked_at, row.renamed_at = utc_now(), None, None
            row.original_name = row.crowdsky_name = row.rename_error = None

    def book(
        self, lease: HeldLease, key: BlockKey, original_name: str, crowdsky_name: str, frames_aligned: int
    ) -> None:
        """Record the stack that came of it; it counts as stacked from here on, whatever it is called."""
        with self._writing() as session:
            lease.check_write(session)
            row = session.scalars(_row_of(self.telescope_id, key)).one()
            row.original_name, row.crowdsky_name = original_name, crowdsky_name
            row.frames_aligned, row.stacked_at = frames_aligned, utc_now()
            reason = f"{frames_aligned} of {len(row.files)} frames are in the stack {crowdsky_name}"
            audit(
                session,
                now=utc_now(),
                actor=ACTOR,
                subject=("telescope", self.telescope_id),
                event="stacked",
                reason=reason,
            )

    def renamed(self, key: BlockKey, problem: str | None) -> None:
        """Record that a stack was renamed, or why not."""
        with self._writing() as session:
            row = session.scalars(_row_of(self.telescope_id, key)).one()
            row.rename_error, row.renamed_at = problem, None if problem else utc_now()

    def still_to_rename(self, folder: str) -> list[BookedStack]:
        """Give the stacks that scripts made and that still have the telescope's own names."""
        with self._reading() as session:
            rows = session.scalars(
                select(ScriptedStack).where(
                    ScriptedStack.telescope_id == self.telescope_id,
                    ScriptedStack.folder == folder,
                    ScriptedStack.stacked_at.is_not(None),
                    ScriptedStack.renamed_at.is_(None),
                )
            ).all()
        return [_booked(row) for row in rows]

    def note_purge(self, paths: Sequence[str]) -> None:
        """Write into the audit log what a person had deleted."""
        with self._writing() as session:
            audit(
                session,
                now=utc_now(),
                actor=ACTOR,
                subject=("telescope", self.telescope_id),
                event="purged",
                reason=f"{len(paths)} CrowdSky files were deleted from the telescope",
                detail={"files": list(paths)},
            )

    def _of_services(self, session: Session, folder: str) -> Iterator[BookedStack]:
        rows = session.execute(
            select(Stack, Block)
            .join(Block, Stack.block_id == Block.id)
            .where(Stack.telescope_id == self.telescope_id, Stack.folder == folder)
        )
        for stack, block in rows:
            key = BlockKey(block.start_at, block.target, block.exposure, block.filter, block.minutes)
            yield BookedStack(key, stack.original_name, stack.crowdsky_name)

    def _of_scripts(self, session: Session, folder: str) -> Iterator[BookedStack]:
        rows = session.scalars(
            select(ScriptedStack).where(
                ScriptedStack.telescope_id == self.telescope_id,
                ScriptedStack.folder == folder,
                ScriptedStack.stacked_at.is_not(None),
            )
        )
        yield from map(_booked, rows)


def _booked(row: ScriptedStack) -> BookedStack:
    key = BlockKey(row.start_at, row.target, row.exposure, row.filter, row.minutes)
    return BookedStack(key, row.original_name or "", row.crowdsky_name or "")


def _row_of(telescope_id: int, key: BlockKey) -> Select[ScriptedStack]:
    return select(ScriptedStack).where(
        ScriptedStack.telescope_id == telescope_id,
        ScriptedStack.target == key.target,
        ScriptedStack.exposure == key.exposure,
        ScriptedStack.filter == key.filter,
        ScriptedStack.start_at == key.start,
        ScriptedStack.minutes == key.minutes,
    )


def _block_of(telescope_id: int, key: BlockKey) -> Select[Block]:
    return select(Block).where(
        Block.telescope_id == telescope_id,
        Block.target == key.target,
        Block.exposure == key.exposure,
        Block.filter == key.filter,
        Block.start_at == key.start,
        Block.minutes == key.minutes,
    )


def _is_empty(store: Store) -> bool:
    return not inspect(store.engine).get_table_names()


def _find(store: Store, name: str, serial: Callable[[], str]) -> int | None:
    with store.read() as session:
        row = telescope_of_name(session, name)
        if row is None:
            row = session.scalar(select(Telescope).where(Telescope.serial == serial()))
        return None if row is None else row.id


def _find_or_make(store: Store, name: str, serial: Callable[[], str]) -> int:
    """Give the row of the telescope that answers: the one on which the services take their lease."""
    known = serial()
    with store.write() as session:
        named = telescope_of_name(session, name)
        if named is not None and named.serial is None:
            return adopt_serial(session, named, known, utc_now(), actor=ACTOR).id
        return telescope_of_serial(session, known, utc_now()).id
