"""One worker that has a telescope's blocks stacked and named: as the stacker does, without a database.

Nothing that it knows is taken for granted after an error: it looks at the telescope before it starts again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from skyrelay.domain.stack_name import DsoStackedName
from skyrelay.errors import AmbiguousError, SkyrelayError
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import FileMissing
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState
from skyrelay.seestar.telescope import Telescope


@dataclass(slots=True)
class WantedBlock:
    """A block that is to be stacked once.

    Attributes
    ----------
    before
        The outputs that lay there before the first start that may have been carried out; `None` when
        no such start is open.
    output, named
        The stack's own name once it is known, and its final one once it has it.
    """

    folder: str
    names: frozenset[str]
    final_name: str
    before: frozenset[str] | None = None
    output: str = ""
    named: bool = False

    @property
    def target_folder(self) -> str:
        """Where the outputs come to lie."""
        return self.folder.removesuffix("_sub")

    @property
    def setting(self) -> StackSetting:
        """What the telescope is told."""
        return StackSetting.of(self.folder, self.names)


@dataclass(slots=True)
class BlockWorker:
    """Has blocks stacked, one attempt at a time; every error of ours ends an attempt, none is lost.

    No start is made while it is open what came of another one: two open ones could not be told apart.

    Attributes
    ----------
    blocks
        All that there are.
    patience
        How long one run may take.
    errors
        What ended attempts, by type, for whoever wants to see what happened.
    """

    telescope: Telescope
    blocks: list[WantedBlock]
    patience: timedelta
    errors: list[SkyrelayError] = field(default_factory=list)

    def attempt(self, block: WantedBlock) -> None:
        """Bring a block as far as it goes now."""
        try:
            self._attempt(block)
        except SkyrelayError as error:
            self.errors.append(error)

    def _attempt(self, block: WantedBlock) -> None:
        if block.named:
            return
        for other in self.blocks:
            if not other.output and other.before is not None:
                self._look_what_came_of_it(other)
        if not block.output:
            self._stack(block)
        if block.output:
            self._give_name(block)

    def _look_what_came_of_it(self, block: WantedBlock) -> None:
        """Settle a start whose end nobody saw; a run that still goes on is waited for."""
        until = Deadline.after(self.patience)
        if self.telescope.stack_progress().state is StackState.WORKING:
            self.telescope.wait_for_stack(until)
            self.telescope.stop_stack(block.setting, deadline=Deadline.after(self.patience))
        assert block.before is not None
        new = [name for name in self._outputs(block) - block.before if _fits(name, block)]
        block.output = min(new, default="")
        if not block.output:
            block.before = None

    def _stack(self, block: WantedBlock) -> None:
        block.before = self._outputs(block)
        until = Deadline.after(self.patience)
        try:
            self.telescope.start_stack(block.folder, block.names, deadline=until)
        except AmbiguousError:
            raise
        except SkyrelayError:  # the client promises that it was not started
            block.before = None
            raise
        run = self.telescope.wait_for_stack(until)
        self._take_in(block, run)
        self.telescope.clear_stack(block.setting, deadline=Deadline.after(self.patience))

    def _take_in(self, block: WantedBlock, run: StackRun) -> None:
        if run.state is StackState.COMPLETE and run.output_files:
            block.output = run.output_files[0]
        elif run.state in {StackState.FAIL, StackState.CANCEL}:
            block.before = None
        elif run.state is StackState.WORKING:  # its time is over: it must not stand in the next one's way
            self.telescope.stop_stack(block.setting, deadline=Deadline.after(self.patience))

    def _give_name(self, block: WantedBlock) -> None:
        if block.final_name not in self.telescope.list_folder(block.target_folder).names:
            self.telescope.rename(block.target_folder, block.output, block.final_name)
        block.named = True

    def _outputs(self, block: WantedBlock) -> frozenset[str]:
        try:
            return self.telescope.list_folder(block.target_folder).names
        except FileMissing:  # the telescope makes the folder with the first stack
            return frozenset()


def _fits(name: str, block: WantedBlock) -> bool:
    stack = DsoStackedName.parse(name)
    return stack is not None and stack.frames <= len(block.names)
