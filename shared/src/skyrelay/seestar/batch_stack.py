"""Driving the telescope's batch stacker: one stack at a time, never beside an observation.

Nothing here trusts a reply to have come or not: before each step that would destroy something, and
after each lost reply, the telescope's own state and setting are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import is_observing
from skyrelay.seestar.errors import (
    CommandRefused,
    MethodUnknown,
    Observing,
    ReplyLost,
    SettingDiffers,
    StackingAlready,
)
from skyrelay.seestar.fields import Fields
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState
from skyrelay.seestar.stack_watch import watch_stack

CHANGE = timedelta(seconds=30)  # for one changing command, its reconnect included
SETTLE = timedelta(seconds=6)  # a started stack may show as "none" for a moment; a stopped one as "working"
_LOOK_EVERY = timedelta(seconds=0.3)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StackStart:
    """How a stack came to run: ``adopted`` when these files were being stacked already."""

    adopted: bool
    run: StackRun


class BatchStack:
    """The batch stacker of one telescope.

    Parameters
    ----------
    connection
        To the telescope.
    firmware
        Gives its ``firmware_ver_int``, or `None`.
    """

    def __init__(self, connection: Connection, firmware: Callable[[], int | None]) -> None:
        self._connection = connection
        self._firmware = firmware

    def progress(self) -> StackRun:
        """Ask how far the present or last stack is."""
        state = self._connection.read("iscope_get_app_state")
        return StackRun.parse(Fields.of(state).inner("BatchStack"))

    def setting(self) -> StackSetting | None:
        """Ask which files are (to be) stacked; `None` when there is no setting or no way to ask."""
        try:
            return StackSetting.parse(self._connection.read("get_batch_stack_setting"))
        except MethodUnknown:
            return None

    def start(self, folder: str, file_names: Iterable[str], deadline: Deadline | None = None) -> StackStart:
        """Stack these files, or adopt the run that does so already; see `Telescope.start_stack`."""
        wanted = StackSetting.of(folder, file_names)
        until = deadline or Deadline.after(3 * CHANGE)
        self._firmware()  # first of all: behind a new connection may be another telescope
        running = self._running(wanted)
        if running is not None:
            return StackStart(adopted=True, run=running)
        self._check_not_observing()
        self._clear(until)
        self._choose(wanted, until)
        return self._begin(wanted, until)

    def wait(
        self,
        deadline: Deadline,
        on_progress: Callable[[StackRun], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> StackRun:
        """Wait for the run to end; see `Telescope.wait_for_stack`."""
        return watch_stack(
            self._connection,
            self.progress,
            deadline=deadline,
            settle=SETTLE,
            on_progress=on_progress or (lambda _run: None),
            should_stop=should_stop or (lambda: False),
        )

    def stop(self, only: StackSetting | None = None, deadline: Deadline | None = None) -> StackRun:
        """Abort the run; see `Telescope.stop_stack`."""
        until = deadline or Deadline.after(CHANGE)
        run = self.progress()
        if run.state is not StackState.WORKING:
            return run
        self._check_ours(only)
        try:
            self._connection.command("stop_batch_stack", deadline=until)
        except ReplyLost as lost:
            _log.info("looking whether the stack stopped", telescope=self._connection.name, reason=str(lost))
        return self._look_until(lambda seen: seen.state is not StackState.WORKING, until)

    def clear(self, only: StackSetting | None = None, deadline: Deadline | None = None) -> None:
        """Make the telescope forget its last result; see `Telescope.clear_stack`."""
        if self.progress().state is StackState.WORKING:
            raise StackingAlready(f"{self._connection.name} is stacking: stop that first")
        self._check_ours(only)
        self._clear(deadline or Deadline.after(CHANGE))

    def _running(self, wanted: StackSetting) -> StackRun | None:
        """Give the run of exactly these files, if it is on; another run is left alone."""
        run = self.progress()
        if run.state is not StackState.WORKING:
            return None
        if self.setting() != wanted:
            raise StackingAlready(f"{self._connection.name} is stacking other files")
        return run

    def _check_not_observing(self) -> None:
        view, app = self._connection.read("get_view_state"), self._connection.read("iscope_get_app_state")
        if is_observing(view, app):
            raise Observing(f"{self._connection.name} is observing: it can stack when it is done")

    def _check_ours(self, only: StackSetting | None) -> None:
        if only is not None and self.setting() not in {only, None}:
            raise StackingAlready(f"{self._connection.name} is set to stack other files: it is left alone")

    def _clear(self, until: Deadline) -> None:
        try:
            self._clear_by_either_name(until)
        except ReplyLost:
            if self.progress().state is not StackState.NONE:
                raise

    def _clear_by_either_name(self, until: Deadline) -> None:
        try:
            self._connection.command("clear_batch_stack", deadline=until)
        except MethodUnknown:  # firmware below 7.75
            self._connection.command("clear_app_state", {"name": "BatchStack"}, deadline=until)

    def _choose(self, wanted: StackSetting, until: Deadline) -> None:
        """Set the files and read them back; a lost reply is no loss, since that shows it too."""
        params = wanted.params(self._firmware())
        try:
            self._connection.command("set_batch_stack_setting", params, deadline=until)
        except ReplyLost:
            if self.setting() != wanted:
                raise
        found = self.setting()
        if found is None:
            _log.warning("the setting cannot be read back", telescope=self._connection.name)
        elif found != wanted:
            raise SettingDiffers(
                f"{self._connection.name}: somebody else chose other files to stack just now"
            )

    def _begin(self, wanted: StackSetting, until: Deadline) -> StackStart:
        try:
            self._connection.command("start_batch_stack", deadline=until)
        except ReplyLost as lost:
            return self._adopt_if_started(wanted, until, lost)
        except CommandRefused as refused:
            return self._adopt_if_running(wanted, refused)
        try:
            run = self._look_until(lambda seen: seen.state is not StackState.NONE, until)
        except SkyrelayError as unseen:
            raise ReplyLost(
                f"{self._connection.name}: started to stack, and cannot be seen now ({unseen})"
            ) from unseen
        return StackStart(adopted=False, run=run)

    def _adopt_if_started(self, wanted: StackSetting, until: Deadline, lost: ReplyLost) -> StackStart:
        """Look whether a start without a reply was carried out: any state will do, the last was cleared."""
        try:
            run = self._look_until(lambda seen: seen.state is not StackState.NONE, until)
            ours = run.state is not StackState.NONE and self.setting() in {wanted, None}
        except SkyrelayError as unseen:  # being away now does not say that nothing was started
            raise lost from unseen
        if not ours:
            raise lost
        return StackStart(adopted=True, run=run)

    def _adopt_if_running(self, wanted: StackSetting, refused: CommandRefused) -> StackStart:
        """Look whether "busy" means our own run; else say what the telescope is busy with, if it shows."""
        running = self._running(wanted)
        if running is not None:
            return StackStart(adopted=True, run=running)
        self._check_not_observing()
        raise refused

    def _look_until(self, wanted: Callable[[StackRun], bool], until: Deadline) -> StackRun:
        """Poll until the run is as wanted, for `SETTLE` at most; give what was seen last."""
        soon = until.or_after(SETTLE)
        run = self.progress()
        with self._connection.subscribed("BatchStack") as events:
            while not wanted(run) and not soon.passed:
                events.take(_LOOK_EVERY)
                run = self.progress()
        return run
