"""Have a telescope stack blocks, one after the other, while we wait."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console

from skyrelay.crowdsky.claiming import free_name, name_stack, position_of
from skyrelay.crowdsky.outputs import Output, find_output
from skyrelay.direct.books import Books, Intent
from skyrelay.direct.planning import BlockPlan, BlockTime, plan_blocks
from skyrelay.direct.reporting import Reporter
from skyrelay.direct.summaries import AllSummary, ResultDict, TargetSummary
from skyrelay.direct.telescopes import OwnTelescope
from skyrelay.domain.block import too_short
from skyrelay.domain.chunk import healpix_pixel
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.states import TelescopeState
from skyrelay.errors import AmbiguousError, RefusedByRule, SkyrelayError, TransientError
from skyrelay.logs import get_logger
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import CLOCK_TOLERANCE, clock_error
from skyrelay.seestar.errors import (
    CommandRefused,
    KeyMissing,
    KeyRefused,
    Observing,
    StackingAlready,
    Unreachable,
)
from skyrelay.seestar.glancing import Glances
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease

_A_START = timedelta(seconds=20)  # what must be left of the lease to clear, configure and start
_A_CHANGE = timedelta(seconds=15)  # the same for a stop, a rename, a clear
# These are not about one block: with the next one it would be no better.
_ALL_OVER = (RefusedByRule, Unreachable, KeyMissing, KeyRefused)
_log = get_logger(__name__)


class ClockDiffers(RefusedByRule):
    """The telescope's clock and this computer's disagree: its frames may carry wrong times."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How blocks are made and when they are given up.

    Attributes
    ----------
    block_minutes
        Length of the blocks.
    min_exptime_s
        Least total exposure of a block worth stacking, in seconds.
    max_wait_s
        Seconds that one block may take.
    block_time
        Whether a frame belongs to the block in which its exposure began, or was saved.
    """

    block_minutes: int
    min_exptime_s: float
    max_wait_s: float
    block_time: BlockTime = "start"


def stack_everything(
    telescope: OwnTelescope, targets: Iterable[str], limits: Limits, *, dry_run: bool, quiet: bool = False
) -> AllSummary:
    """Stack each target; see `skyrelay.crowdsky.chunks.stack_all`."""
    found: list[TargetSummary] = []
    why_not: SkyrelayError | None = None
    for target in targets:
        if why_not is not None:
            found.append({**_summary(target), "error": f"not tried: {why_not}"})
            continue
        try:
            found.append(stack_target(telescope, target, limits, dry_run=dry_run, quiet=quiet))
        except SkyrelayError as error:
            _log.warning("a target could not be stacked", target=target, problem=str(error))
            found.append({**_summary(target), "error": str(error)})
            why_not = error if isinstance(error, _ALL_OVER) else None
    return {
        "targets_processed": len(found),
        "targets_with_work": sum(1 for one in found if _had_work(one)),
        "total_blocks_stacked": sum(one["blocks_stacked"] for one in found),
        "total_blocks_failed": sum(one["blocks_failed"] for one in found),
        "total_blocks_skipped": sum(one["blocks_skipped"] for one in found),
        "per_target": found,
    }


def _had_work(summary: TargetSummary) -> bool:
    return bool(summary["blocks_stacked"] or summary["blocks_failed"] or summary["blocks_skipped"])


def stack_target(
    telescope: OwnTelescope, target: str, limits: Limits, *, dry_run: bool, quiet: bool = False
) -> TargetSummary:
    """Stack what is not stacked of one target; see `skyrelay.crowdsky.chunks.stack_blocks`."""
    reporter = Reporter(telescope.name, Console(quiet=quiet))
    if dry_run:
        plans, skipped = _sort_out(
            plan_blocks(telescope, target, limits.block_minutes, limits.block_time), limits
        )
        reporter.preview(target, plans, skipped)
        return {**_summary(target, skipped), "results": [plan.as_dict() for plan in plans]}
    with telescope.leased() as (lease, books):
        _check_clock(telescope)
        _rename_what_waits(telescope, target, lease, books)
        plans, skipped = _sort_out(
            plan_blocks(telescope, target, limits.block_minutes, limits.block_time), limits
        )
        with reporter.progress(target, len(plans)) as progress:
            turn = _Turn(telescope, lease, books, limits, progress)
            results = turn.take(plans)
    stacked = sum(1 for result in results if result["status"] == StackState.COMPLETE)
    return {
        "target": target,
        "blocks_stacked": stacked,
        "blocks_failed": len(results) - stacked,
        "blocks_skipped": skipped,
        "results": results,
    }


def _summary(target: str, skipped: int = 0) -> TargetSummary:
    return {
        "target": target,
        "blocks_stacked": 0,
        "blocks_failed": 0,
        "blocks_skipped": skipped,
        "results": [],
    }


def _sort_out(plans: list[BlockPlan], limits: Limits) -> tuple[list[BlockPlan], int]:
    """Give the blocks worth stacking, and how many are not."""
    worth = [
        plan for plan in plans if too_short([plan.exposure_s] * len(plan.files), limits.min_exptime_s) is None
    ]
    return worth, len(plans) - len(worth)


def _check_clock(telescope: OwnTelescope) -> None:
    """Refuse to stack on the word of a clock that is wrong: a frame under a wrong time is bad science."""
    device, now = telescope.seestar.identify(), utc_now()
    error = clock_error(device, now)
    if error is not None and abs(error) > CLOCK_TOLERANCE:
        raise ClockDiffers(
            f"the clock of {telescope.name} says {device.clock_local:%Y-%m-%d %H:%M:%S} ({device.zone}), "
            f"this computer's {now:%Y-%m-%d %H:%M:%S} UTC: one of them is wrong; set it right, then stack"
        )


def _rename_what_waits(telescope: OwnTelescope, folder: str, lease: HeldLease, books: Books) -> None:
    """Rename what earlier runs stacked and could not rename."""
    waiting = books.still_to_rename(folder)
    there = telescope.stacks_in(folder) if waiting else frozenset()
    for stack in waiting:
        if stack.original_name in there:
            problem = _rename(telescope, lease, folder, stack.original_name, stack.crowdsky_name)
            books.renamed(stack.key, problem)
        elif stack.crowdsky_name in there:  # renamed, though the answer was lost
            books.renamed(stack.key, None)


def _rename(telescope: OwnTelescope, lease: HeldLease, folder: str, old: str, new: str) -> str | None:
    """Rename a stack and its pictures; give what stood in the way."""
    lease.check(_A_CHANGE)
    try:
        telescope.seestar.rename(folder, old, new, deadline=Deadline.after(_A_CHANGE))
    except AmbiguousError as error:
        there = telescope.stacks_in(folder)
        return None if new in there and old not in there else str(error)
    except SkyrelayError as error:
        _log.warning("a stack keeps its own name for now", stack_name=new, problem=str(error))
        return str(error)
    return None


class _Turn:
    """One run over a target's blocks, under one lease."""

    def __init__(
        self,
        telescope: OwnTelescope,
        lease: HeldLease,
        books: Books,
        limits: Limits,
        progress: Reporter,
    ) -> None:
        self._telescope = telescope
        self._seestar = telescope.seestar
        self._lease = lease
        self._books = books
        self._limits = limits
        self._progress = progress

    def take(self, plans: list[BlockPlan]) -> list[ResultDict]:
        """Stack the blocks; what ends one for a reason of the telescope's ends the others too."""
        results: list[ResultDict] = []
        why_not: SkyrelayError | None = None
        if plans:  # astropy takes a second to load: it does so while the telescope makes the first stack
            threading.Thread(target=healpix_pixel, args=(0.0, 0.0), name="astropy", daemon=True).start()
        for plan in plans:
            if why_not is not None:
                results.append(_failed(plan, "error", f"not tried: {why_not}"))
                continue
            self._progress.begin(plan)
            try:
                results.append(self._stack(plan))
            except SkyrelayError as error:
                results.append(_failed(plan, "error", str(error)))
                why_not = error if isinstance(error, _ALL_OVER) else None
            self._progress.end(results[-1])
        return results

    def _stack(self, plan: BlockPlan) -> ResultDict:
        intent, earlier = self._intent(plan)
        if earlier is not None:
            return self._book(intent, plan, earlier)
        self._lease.check(_A_START)
        run = self._run(plan)
        if run.state is StackState.WORKING:
            run = self._stop(plan)
            if run.state is not StackState.COMPLETE:
                return _failed(plan, "timeout", f"it took longer than {self._limits.max_wait_s:g} s")
        if run.state is not StackState.COMPLETE:
            self._clear(plan)
            state = "error" if run.state is StackState.NONE else run.state.value
            return _failed(plan, state, run.error or "the telescope knows nothing of this stack any more")
        output = self._output(intent, run)
        if output is None:
            return _failed(plan, "error", "the telescope reports success, but its stack is not there")
        return self._book(intent, plan, output)

    def _intent(self, plan: BlockPlan) -> tuple[Intent, Output | None]:
        """Record what is about to be told; give what an earlier, interrupted run made of the same frames."""
        intent = self._books.intent_of(plan.key, (plan.first_start, plan.last_start))
        if intent is not None and set(intent.files) == set(plan.files):
            run = self._seestar.stack_progress()
            if run.state is not StackState.WORKING:
                output = self._output(intent, run)
                if output is not None:
                    return intent, output
        else:
            folder = target_of_folder(plan.folder)
            before = tuple(sorted(self._telescope.stacks_in(folder)))
            intent = Intent(plan.key, folder, plan.files, before, plan.first_start, plan.last_start)
        self._lease.check(_A_START)
        self._books.begin(self._lease, intent)
        return intent, None

    def _run(self, plan: BlockPlan) -> StackRun:
        """Start the block, or adopt the run that stacks it already, and follow it."""
        try:
            self._seestar.start_stack(plan.folder, plan.files, deadline=Deadline.after(_A_START))
        except AmbiguousError as error:
            _log.warning("the telescope did not say whether it began; it is looked at", problem=str(error))
            run = self._seestar.stack_progress()
            if run.state is StackState.NONE or not self._is_ours(plan):
                raise
        with Glances(self._seestar) as glances:
            run = self._seestar.wait_for_stack(
                Deadline.after(timedelta(seconds=self._limits.max_wait_s)),
                on_progress=self._progress.show,
                should_stop=lambda: self._should_stop(glances),
            )
        if run.state is StackState.WORKING and _is_observing(glances):
            run = self._stop(plan)
            if run.state is not StackState.COMPLETE:
                raise Observing(f"{self._telescope.name} began to observe: its stack made way")
        return run

    def _should_stop(self, glances: Glances) -> bool:
        self._lease.check()
        return _is_observing(glances)

    def _is_ours(self, plan: BlockPlan) -> bool:
        setting = self._seestar.stack_files_now()
        return setting is None or setting.file_names == set(plan.files)

    def _stop(self, plan: BlockPlan) -> StackRun:
        """Stop the run, since one that is left would refuse every later start; it may be complete by now."""
        self._lease.check(_A_CHANGE)
        run = self._seestar.stop_stack(_setting(plan), deadline=Deadline.after(_A_CHANGE))
        if run.state is not StackState.COMPLETE:
            self._clear(plan)
        return run

    def _output(self, intent: Intent, run: StackRun) -> Output | None:
        self._lease.check()  # it may list over RPC
        booked = {stack.original_name for stack in self._books.stacks_of(intent.folder)}
        return find_output(
            self._seestar,
            intent.folder,
            intent.key,
            before={*intent.outputs_before, *booked},
            frames_given=len(intent.files),
            span=(intent.first_start, intent.last_start),
            run=run,
        )

    def _book(self, intent: Intent, plan: BlockPlan, output: Output) -> ResultDict:
        """Record the stack, then rename it: from the record on it counts as stacked, whatever its name."""
        position = position_of(output.header)
        if position is None:
            _log.warning("the stack's position is not known: it is named HP000000", target=plan.key.target)
        naming = name_stack(plan.key, plan.offset, output.name.frames, position, output.name.extension)
        taken = {stack.crowdsky_name for stack in self._books.stacks_of(intent.folder)} - {""}
        name = free_name(naming.crowdsky_name, output.names | taken)
        self._books.book(self._lease, plan.key, output.name.build(), name, output.name.frames)
        problem = self._name_and_clear(intent, plan, output.name.build(), name)
        return {
            **_result(plan, StackState.COMPLETE.value),
            "frames": output.name.frames,
            "output_file": None if problem else name,
            "rename_failed": problem is not None,
        }

    def _name_and_clear(self, intent: Intent, plan: BlockPlan, old: str, new: str) -> str | None:
        """Rename a booked stack and clear the result; what goes wrong now takes nothing from the stack."""
        try:
            problem = _rename(self._telescope, self._lease, intent.folder, old, new)
            self._books.renamed(plan.key, problem)
            self._clear(plan)
        except SkyrelayError as error:
            _log.warning("a stack keeps its own name for now", stack_name=new, problem=str(error))
            return str(error)
        return problem

    def _clear(self, plan: BlockPlan) -> None:
        """Clear the last result, best effort: the next start clears first in any case."""
        try:
            self._lease.check(_A_CHANGE)
            self._seestar.clear_stack(_setting(plan), deadline=Deadline.after(_A_CHANGE))
        except (TransientError, AmbiguousError, StackingAlready, CommandRefused) as error:
            _log.info("the last result was not cleared", problem=str(error))


def _is_observing(glances: Glances) -> bool:
    newest = glances.newest
    return newest is not None and newest.state is TelescopeState.OBSERVING


def _setting(plan: BlockPlan) -> StackSetting:
    return StackSetting.of(plan.folder, plan.files)


def _result(plan: BlockPlan, status: str) -> ResultDict:
    block = plan.as_dict()
    return {
        "block_start": block["block_start"],
        "block_end": block["block_end"],
        "exposure": block["exposure"],
        "filter": block["filter"],
        "status": status,
    }


def _failed(plan: BlockPlan, status: str, error: str) -> ResultDict:
    return {**_result(plan, status), "error": error}
