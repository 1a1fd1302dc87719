"""Have a telescope stack one block: start it or adopt it, watch it, book what it yields.

Every step that counts is a transaction that trips over a lost lease. What the telescope is about to
be told is recorded before it is told, so that whoever comes next knows what an unfinished run was.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from skyrelay.domain.chunk import load_healpix
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.errors import AmbiguousError, PermanentError, RefusedByRule, SkyrelayError, TransientError
from skyrelay.queue.tasks import StackMessage, TaskName
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import TelescopeStatus
from skyrelay.seestar.errors import (
    Code,
    CommandRefused,
    FileMissing,
    KeyMissing,
    KeyRefused,
    NotATelescope,
    Observing,
    StackingAlready,
    Unreachable,
)
from skyrelay.seestar.glancing import Glances
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.leases import LeaseLost
from skyrelay.store.runs import join_run, note_outcome
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay.store.transitions import StaleState, move_block
from skyrelay_stacker.booking import (
    book_stack,
    files_given,
    find_block_output,
    has_held_frames,
    outputs_before,
)
from skyrelay_stacker.clocks import record_clock
from skyrelay_stacker.dawns import record_place
from skyrelay_stacker.looking import (
    address_of,
    record_failure,
    record_status,
    record_stranger,
    with_clock,
    with_owner,
)
from skyrelay_stacker.planning import covering_stack, has_unseen_frames, inherit_script
from skyrelay_stacker.raw_routes import choose_after_star_failures, is_tried_again
from skyrelay_stacker.reconciling import reconcile_telescope, why_not_now, why_paused
from skyrelay_stacker.recording import ACTOR
from skyrelay_stacker.renaming import rename_stack
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_WATCH = timedelta(minutes=10)  # then the task returns, well before its message would come again
_AWAY = timedelta(hours=1)  # how long a worker may be away before its clock is doubted, not the run
_A_START = timedelta(seconds=20)  # what must be left of the lease to clear, configure and start
_A_STOP = timedelta(seconds=10)
_RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240))
_TO_BE_DONE = frozenset({BlockState.READY, BlockState.STACKING})
_FAULTS_ENDURED = 3  # of our own, on one block, before a person is asked
# These speak of the telescope, not of the block: its run is looked for when the telescope answers again.
_NO_TELESCOPE = (Unreachable, KeyMissing, KeyRefused, NotATelescope)


class StackFailed(SkyrelayError):  # noqa: N818 - the state it leads to
    """The telescope gave a block's stack up."""

    def __init__(self, reason: str, *, is_lasting: bool, status: str = "error", code: int = 0) -> None:
        super().__init__(reason)
        self.is_lasting = is_lasting
        self.status = status  # as the run's summary names it
        self.code = code  # the firmware's; 0: it gave none


def stack_block(workshop: Workshop, block_id: int) -> None:
    """Take a block as far as it goes now; whoever is nudged next goes on from there."""
    with workshop.store.read() as session:
        block = session.get(Block, block_id)
        row = session.get(Telescope, block.telescope_id) if block else None
    if block is None or block.state not in _TO_BE_DONE:
        return
    if row is None or row.host is None:
        return
    bound = {"telescope": row.name, "block": block.id, "target": block.target}
    with (
        structlog.contextvars.bound_contextvars(**bound),
        held(workshop.store, row.id, workshop.holder) as lease,
    ):
        if lease is None or not _drive(workshop, block_id, row, lease):
            return
    reconcile_telescope(workshop, row.id)


def _drive(workshop: Workshop, block_id: int, row: Telescope, lease: HeldLease) -> bool:
    """Work under a lease; tell whether what comes next can be said at once."""
    try:
        with Seestar(address_of(row)) as seestar:
            _Drive(workshop, block_id, row.id, seestar, lease).run()
    except (LeaseLost, StaleState) as error:
        _log.warning("left to another worker", problem=str(error))
        return False
    except SkyrelayError as error:
        _log.warning("the stack cannot be seen to now", problem=str(error))
        _note_trouble(workshop, block_id, error)
        return False
    except OperationalError:  # the database is away: that is not the block's, nor can it be written there
        raise
    except Exception as error:  # a bug is shown on its block, not met again at every tick
        with suppress(LeaseLost):
            _note_fault(workshop, block_id, lease, error)
        raise
    return True


def _note_trouble(workshop: Workshop, block_id: int, error: SkyrelayError) -> None:
    """Say what stands in the way. Nothing is decided about a run that we cannot see."""
    now = utc_now()
    with workshop.store.write() as session:
        block = session.get_one(Block, block_id)
        telescope = session.get_one(Telescope, block.telescope_id)
        telescope.next_look_at = now + timedelta(seconds=workshop.settings.scheduler.reconcile_s)
        if not record_failure(telescope, error, now):
            block.reason = str(error)


def _note_fault(workshop: Workshop, block_id: int, lease: HeldLease, error: Exception) -> None:
    """Say that we failed, wait longer each time, and ask a person after some; the block stays where it is."""
    now = utc_now()
    with workshop.store.write() as session:
        lease.check_write(session)
        block = session.get_one(Block, block_id)
        if block.state not in _TO_BE_DONE:
            return
        block.attempts += 1
        block.reason = f"a fault in Skyrelay, see the stacker's log: {type(error).__name__}: {error}"
        block.next_attempt_at = next_attempt(min(block.attempts, len(_RETRY_AFTER)), now)
        block.needs_you = block.attempts > _FAULTS_ENDURED
        block.updated_at = now


class _Drive:
    """One worker's turn at one block, under one lease, over one connection."""

    def __init__(
        self, workshop: Workshop, block_id: int, telescope_id: int, seestar: Seestar, lease: HeldLease
    ) -> None:
        self._workshop = workshop
        self._block_id = block_id
        self._telescope_id = telescope_id
        self._seestar = seestar
        self._lease = lease
        self._shown: TelescopeStatus | None = None
        self._seen_since_s: float | None = (
            None  # on the monotonic clock: when the run had begun, for this drive
        )

    def run(self) -> None:
        """Start the block, or take up the run that was begun; watch it; book its stack."""
        if not self._check_in():
            return
        try:
            self._go_on(self._read_block())
        except StackFailed as error:
            self._give_up(error)
        except RefusedByRule as error:
            if isinstance(error, LeaseLost):
                raise
            self._make_way(error)
        self._workshop.tell(self._read_block())
        if not self._workshop.shutting_down.is_set():
            self._check_in()

    def _go_on(self, block: Block) -> None:
        if block.state == BlockState.READY and not self._take_on(block):
            return
        run = self._run_of(self._read_block())
        if run is not None:
            run = self._watch(run)
        if run is not None:
            self._conclude(run)

    def _check_in(self) -> bool:
        """Ask who answers and what it does, and record it; tell whether it is the block's telescope."""
        device = self._seestar.identify()
        status, now = self._seestar.state(), utc_now()
        setting = self._seestar.stack_files_now() if status.state is TelescopeState.STACKING else None
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            telescope = session.get_one(Telescope, self._telescope_id)
            if device.serial != telescope.serial:
                record_stranger(telescope, device.serial, now)
                return False
            telescope.served_at = now
            record_clock(session, telescope, device, now)
            record_place(telescope, device)
            status = with_owner(session, telescope, status, setting)
            record_status(telescope, with_clock(status, device, now), now)
        return True

    # -- starting ---------------------------------------------------------------------------------

    def _take_on(self, block: Block) -> bool:
        """Start a block, unless there is a reason not to or a stack of it by now; give whether it may run."""
        if self._why_not(block) is not None or self._is_covered_by_now(block):
            return False
        self._inherit_script()
        block = self._read_block()
        return not self._book_earlier(block) and self._start(block)

    def _is_covered_by_now(self, block: Block) -> bool:
        """Tell, and write down, whether a script had the block stacked since it was found to be ready."""
        names = self._names_beside(block)
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            row = session.get_one(Block, self._block_id)
            covering = covering_stack(session, row, names)
            if covering is None:
                return False
            reason = f"{covering} lies on the telescope already"
            move_block(
                session,
                row,
                BlockState.COVERED,
                now=utc_now(),
                actor=ACTOR,
                reason=reason,
                needs_you=False,
                next_attempt_at=None,
                percent=None,
            )
        return True

    def _names_beside(self, block: Block) -> frozenset[str]:
        """Name the files in the block's folder of stacks; none where its first stack has yet to make it."""
        self._lease.check()
        try:
            return self._seestar.list_folder(target_of_folder(block.folder)).names
        except FileMissing:
            return frozenset()

    def _inherit_script(self) -> None:
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            block = session.get_one(Block, self._block_id)
            inherit_script(session, block, _file_names(session, block))

    def _start(self, block: Block) -> bool:
        """Record the intent, then tell the telescope; give whether a run may be under way now."""
        before = self._outputs_before(block)
        self._lease.check(_A_START)
        files = self._take_up(before, "the telescope is to stack {} frames")
        if files is None:
            return False
        try:
            self._lease.check(_A_START)
            self._seestar.start_stack(block.folder, files, deadline=Deadline.after(_A_START))
        except _NO_TELESCOPE:
            raise
        except AmbiguousError as error:
            _log.warning("the telescope did not say whether it began; it is looked at", problem=str(error))
        except PermanentError as error:
            code = error.code if isinstance(error, CommandRefused) else 0
            raise StackFailed(str(error), is_lasting=True, code=code) from error
        except TransientError as error:
            raise StackFailed(str(error), is_lasting=False) from error
        return True

    def _why_not(self, block: Block) -> str | None:
        with self._workshop.store.read() as session:
            telescope = session.get_one(Telescope, self._telescope_id)
            other = (Block.telescope_id == self._telescope_id, Block.state == BlockState.STACKING)
            under_way = session.scalar(select(Block.id).where(*other, Block.id != block.id))
            paused = why_paused(session, block)
        if (
            under_way is not None
        ):  # whoever had it died; it is seen to first, and this nudge is older than that
            return f"block {under_way} of this telescope is not seen to its end yet"
        return paused or why_not_now(telescope, self._workshop.settings.stacking, utc_now())

    def _book_earlier(self, block: Block) -> bool:
        """Book what an earlier try at the same frames made after all; tell whether there was such a stack.

        It may have ended while it was told to stop, or its file may have come late.
        """
        if not self._was_told_before(block):
            return False
        run = StackRun(StackState.COMPLETE)
        if find_block_output(self._workshop, self._seestar, block, run) is None:
            return False
        if self._take_up(outputs_before(block), "an earlier try has stacked its {} frames") is not None:
            self._conclude(run)
        return True

    def _was_told_before(self, block: Block) -> bool:
        """Tell whether the frames are those that an earlier try gave to the telescope."""
        with self._workshop.store.read() as session:
            return block.intent is not None and files_given(block) == _file_names(session, block)

    def _outputs_before(self, block: Block) -> list[str]:
        """Name the stacks that are not the block's: all that lie there before its first try."""
        if self._was_told_before(block):
            return outputs_before(block)
        return sorted(self._names_beside(block))

    def _take_up(self, before: list[str], reason: str) -> list[str] | None:
        """Move the block to `stacking` with what is about to be told; give the frames' names.

        `None`: the block has frames that the telescope has not shown yet, and collects again.
        """
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            block = session.get_one(Block, self._block_id)
            if block.state != BlockState.READY:
                raise StaleState(f"block {block.id} is {block.state} by now")
            files = _file_names(session, block)
            if not files or has_unseen_frames(session, block):
                reason = "its frames changed"
                move_block(session, block, BlockState.COLLECTING, now=utc_now(), actor=ACTOR, reason=reason)
                return None
            self._record_intent(session, block, files, before, reason.format(len(files)))
        return files

    def _record_intent(
        self, session: Session, block: Block, files: list[str], before: list[str], reason: str
    ) -> None:
        now = utc_now()
        intent = {"files": files, "outputs_before": before, "fence": self._lease.lease.fence}
        move_block(
            session,
            block,
            BlockState.STACKING,
            now=now,
            actor=ACTOR,
            reason=reason,
            detail=intent,
            intent=intent,
            attempts=block.attempts + 1,
            next_attempt_at=None,
            needs_you=False,
            started_at=now,
            percent=0.0,
        )
        join_run(session, block, now)

    # -- watching ---------------------------------------------------------------------------------

    def _run_of(self, block: Block) -> StackRun | None:
        """Give this block's run, under way or over; `None` (and back to ready) where there is none."""
        run = self._seestar.stack_progress()
        if run.state is StackState.NONE or not self._is_ours(block):
            return self._left_behind(block, run)
        return run

    def _left_behind(self, block: Block, run: StackRun) -> StackRun | None:
        """Judge a run that the telescope knows nothing of by what it left; without a stack, begin again."""
        self._lease.check()
        if find_block_output(self._workshop, self._seestar, block, run) is not None:
            return replace(run, state=StackState.COMPLETE)
        if self._is_covered_by_now(block):
            return None
        later = next_attempt(min(block.attempts, len(_RETRY_AFTER)), utc_now())
        reason = "the telescope no longer knows of this run; it is to be started again"
        self._back_to_ready(reason, later, block.attempts)
        return None

    def _is_ours(self, block: Block) -> bool:
        """Tell whether the telescope's setting is what the recorded intent says."""
        setting = self._seestar.stack_files_now()
        # A firmware that does not say is taken at our own word; the output is checked in any case.
        return setting is None or setting.file_names == set(files_given(block))

    def _watch(self, run: StackRun) -> StackRun | None:
        """Follow the run to its end; `None` when it goes on without us, or is to be begun again."""
        if run.state is not StackState.WORKING:
            return run
        block = self._read_block()
        left = timedelta(seconds=self._workshop.settings.stacking.max_wait_sec) - self._spent(block)
        final = self._wait(min(left, _WATCH)) if left > timedelta(0) else self._stop_overdue()
        if final.state is StackState.WORKING:
            self._note_start()
            return None
        if final.state is StackState.NONE or not self._is_ours(block):
            return self._left_behind(block, final)
        return final

    def _wait(self, at_most: timedelta) -> StackRun:
        # To name the stack; the telescope takes longer than that, and we still hear when we are to stop.
        threading.Thread(target=load_healpix, name="load-healpix", daemon=True).start()
        with Glances(self._seestar) as glances:
            final = self._seestar.wait_for_stack(
                Deadline.after(at_most),
                on_progress=self._note_progress,
                should_stop=lambda: self._should_return(glances),
            )
        if final.state is StackState.WORKING and _is_observing(glances.newest):
            final = self._stop()
            if final.state is not StackState.COMPLETE:
                raise Observing("stopped, because an observation began")
        return final

    def _stop_overdue(self) -> StackRun:
        final = self._stop()
        if final.state is not StackState.COMPLETE:
            raise StackFailed("it took longer than stacking.max_wait_sec", is_lasting=False, status="timeout")
        return final

    def _should_return(self, glances: Glances) -> bool:
        self._lease.check()
        if self._workshop.shutting_down.is_set():
            return True
        self._show(glances.newest)
        return _is_observing(glances.newest)

    def _show(self, status: TelescopeStatus | None) -> None:
        """Record what the telescope is doing, each time that it does something else."""
        if status is None or (self._shown is not None and self._shown.state == status.state):
            return
        self._shown = status
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            record_status(session.get_one(Telescope, self._telescope_id), status, utc_now())

    def _spent(self, block: Block) -> timedelta:
        """Give for how long the run has been going on, whatever the wall clock does while it is watched."""
        if self._seen_since_s is None:
            limit = timedelta(seconds=self._workshop.settings.stacking.max_wait_sec)
            before = believable(utc_now() - (block.started_at or utc_now()), limit)
            self._seen_since_s = time.monotonic() - before.total_seconds()
            self._note_start()
        return timedelta(seconds=time.monotonic() - self._seen_since_s)

    def _note_start(self) -> None:
        """Say by the wall clock of now when the run began: it may have been set since, by NTP say."""
        if self._seen_since_s is None:
            return
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            spent = timedelta(seconds=time.monotonic() - self._seen_since_s)
            session.get_one(Block, self._block_id).started_at = utc_now() - spent

    def _note_progress(self, run: StackRun) -> None:
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            block = session.get_one(Block, self._block_id)
            block.percent = run.percent
        self._workshop.tell(block)

    def _stop(self) -> StackRun:
        """Stop the run, since one that is left would refuse every later start; it may be complete by now."""
        self._lease.check(_A_STOP)
        final = self._seestar.stop_stack(self._setting(), deadline=Deadline.after(_A_STOP))
        if final.state is not StackState.COMPLETE:  # a result is kept until it is booked
            self._clear()
        return final

    # -- concluding -------------------------------------------------------------------------------

    def _conclude(self, run: StackRun) -> None:
        if run.state in {StackState.FAIL, StackState.CANCEL}:
            self._clear()
            raise StackFailed(
                run.error or f"the telescope reports {run.state}",
                is_lasting=run.is_lasting_failure,
                status=run.state.value,
                code=run.code,
            )
        if self._is_held():
            self._clear()
            raise StackFailed(
                "frames of it were taken while the telescope's clock was wrong", is_lasting=True
            )
        stack = book_stack(self._workshop, self._block_id, self._seestar, self._lease, run)
        if stack is None:
            raise StackFailed("the telescope reports success, but its stack is not there", is_lasting=False)
        rename_stack(self._workshop, stack, self._seestar, self._lease)
        self._clear()
        self._workshop.nudge(TaskName.FETCH_STACK, StackMessage(stack_id=stack.id), stack.crowdsky_name)

    def _is_held(self) -> bool:
        """Tell whether frames that the telescope was given turned out to be held meanwhile."""
        with self._workshop.store.read() as session:
            return has_held_frames(session, session.get_one(Block, self._block_id))

    def _clear(self) -> None:
        """Clear the last result, best effort: the next start clears first in any case."""
        try:
            self._lease.check(_A_STOP)
            self._seestar.clear_stack(self._setting(), deadline=Deadline.after(_A_STOP))
        except (TransientError, AmbiguousError, StackingAlready, CommandRefused) as error:
            _log.info("the last result was not cleared", problem=str(error))

    def _setting(self) -> StackSetting:
        block = self._read_block()
        return StackSetting.of(block.folder, files_given(block))

    def _make_way(self, refusal: RefusedByRule) -> None:
        """Go back to ready for a reason that is not the block's: the attempt does not count."""
        attempts = max(self._read_block().attempts - 1, 0)
        # An observation has an end that we see; what else keeps the telescope busy is asked a while later.
        later = None if isinstance(refusal, Observing) else next_attempt(1, utc_now())
        self._back_to_ready(str(refusal), later, attempts)

    def _back_to_ready(self, reason: str, later: datetime | None, attempts: int) -> None:
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            block = session.get_one(Block, self._block_id)
            if block.state == BlockState.STACKING:
                move_block(
                    session,
                    block,
                    BlockState.READY,
                    now=utc_now(),
                    actor=ACTOR,
                    reason=reason,
                    next_attempt_at=later,
                    needs_you=False,
                    attempts=attempts,
                    percent=None,
                )
                note_outcome(session, block, "ready", error=reason)

    def _give_up(self, error: StackFailed) -> None:
        now = utc_now()
        with self._workshop.store.write() as session:
            self._lease.check_write(session)
            block = session.get_one(Block, self._block_id)
            if block.state != BlockState.STACKING:
                raise StaleState(f"block {block.id} is {block.state} by now")
            settings = self._workshop.settings
            block.too_few_stars += error.code == Code.TOO_FEW_STARS
            session.flush()
            again = not error.is_lasting or (
                error.code == Code.TOO_FEW_STARS and is_tried_again(block, settings)
            )
            next_try = next_attempt(block.attempts, now) if again else None
            move_block(
                session,
                block,
                BlockState.FAILED,
                now=now,
                actor=ACTOR,
                reason=str(error),
                next_attempt_at=next_try,
                needs_you=next_try is None,
                percent=None,
            )
            note_outcome(session, block, error.status, error=str(error))
            telescope = session.get_one(Telescope, self._telescope_id)
            choose_after_star_failures(session, block, telescope, settings, now)

    def _read_block(self) -> Block:
        with self._workshop.store.read() as session:
            return session.get_one(Block, self._block_id)


def _is_observing(status: TelescopeStatus | None) -> bool:
    return status is not None and status.state is TelescopeState.OBSERVING


def believable(spent: timedelta, limit: timedelta) -> timedelta:
    """Give how long a run took by the wall clock; zero where that clock was set in between, as it seems.

    While somebody watches it is looked at every few minutes, so that a run is never found to be over
    its limit by much; counted anew, one that hangs is stopped a limit later.
    """
    return spent if timedelta(0) <= spent <= limit + _AWAY else timedelta(0)


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """Give the time of the next try after so many; `None` when a person has to look."""
    return now + _RETRY_AFTER[attempts - 1] if 0 < attempts <= len(_RETRY_AFTER) else None


def _file_names(session: Session, block: Block) -> list[str]:
    """Give the names of a block's frames that lie on the telescope, in the order of their exposure."""
    frames = select(Frame.file_name).where(
        Frame.block_id == block.id,
        Frame.folder == block.folder,
        Frame.state == FrameState.OK,
        Frame.inventoried_at.is_not(None),
    )
    return list(session.scalars(frames.order_by(Frame.start_at, Frame.file_name)))
