"""The telescope's batch stack: one run at a time, its result kept until it is cleared."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from skyrelay_simulators.telescope.clock import Clock, WallClock
from skyrelay_simulators.telescope.emmc import Emmc, NotOnEmmcError
from skyrelay_simulators.telescope.faults import CancelStack, FailStack, FaultBoard, StallStack, UseFewer
from skyrelay_simulators.telescope.journal import Journal
from skyrelay_simulators.telescope.observation import Activity, Publish
from skyrelay_simulators.telescope.rpc_codes import Code
from skyrelay_simulators.telescope.stacked_files import StackedFiles, UnfitFrameError

if TYPE_CHECKING:
    from skyrelay_simulators.telescope.stacking import GrowingStack

_SUB = "_sub"
_WAIT_FOR_THREAD_S = 5.0  # a frame of 8 Mpx is added well within that


@dataclass(frozen=True, slots=True)
class StackSetting:
    """What ``set_batch_stack_setting`` was given."""

    path: str = ""
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the setting as ``get_batch_stack_setting`` does."""
        return {"path": self.path, "files": [{"name": name} for name in self.names]}


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The ``BatchStack`` of the app state, and of its events."""

    state: Activity
    total_img: int
    stacked_img: int = 0
    remaining_s: float = 0.0
    lapse_s: float = 0.0
    code: Code = Code.GOOD
    output: StackedFiles | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as the firmware names them."""
        percent = 100.0 * self.stacked_img / self.total_img if self.total_img else 0.0
        fields: dict[str, Any] = {
            "state": self.state,
            "lapse_ms": round(self.lapse_s * 1000),
            "percent": 100.0 if self.state is Activity.COMPLETE else round(percent, 1),
            "stacked_img": self.stacked_img,
            "total_img": self.total_img,
            "remaining_sec": round(self.remaining_s),
        }
        return fields | self._failure() | self._output_file()

    def _failure(self) -> dict[str, Any]:
        return {"error": self.code.text, "code": int(self.code)} if self.code is not Code.GOOD else {}

    def _output_file(self) -> dict[str, Any]:
        if self.output is None:
            return {}
        files = [{"name": self.output.fits, "thn": self.output.thumb}]
        return {"output_file": {"path": self.output.folder, "files": files}}


@dataclass(frozen=True, slots=True, eq=False)
class _Fate:
    """What goes wrong with a run: after how many frames it ends how, or that it ends never."""

    breaks_at: int | None = None
    state: Activity = Activity.FAIL
    code: Code = Code.GOOD
    stalls: bool = False
    left_out: int = 0


@dataclass(slots=True, eq=False)
class _Run:
    """One run; once it is ``saving`` nobody can cancel it: its output will be there."""

    setting: StackSetting
    fate: _Fate
    cancelled: threading.Event = field(default_factory=threading.Event)
    saving: bool = False

    @property
    def total(self) -> int:
        """How many frames were given."""
        return len(self.setting.names)


class BatchStack:
    """Stacks in a thread of its own.

    Parameters
    ----------
    emmc
        Where frames are and stacks go.
    clock, wall_clock
        The world's clock for the pace, the telescope's for the name of the output.
    publish
        Tells the connected clients of every step.
    journal
        Is told of each run's beginning and end.
    faults
        What goes wrong with a run, asked once at its start.
    wants_full_names
        Whether the firmware wants names from the eMMC's root.
    has_room
        Whether a stack can be saved.
    stack_seconds
        How long a run takes, at least.
    """

    def __init__(
        self,
        *,
        emmc: Emmc,
        clock: Clock,
        wall_clock: WallClock,
        publish: Publish,
        journal: Journal,
        faults: FaultBoard,
        wants_full_names: Callable[[], bool],
        has_room: Callable[[], bool],
        stack_seconds: float,
    ) -> None:
        self._emmc = emmc
        self._clock = clock
        self._wall_clock = wall_clock
        self._publish = publish
        self._journal = journal
        self._faults = faults
        self._wants_full_names = wants_full_names
        self._has_room = has_room
        self.stack_seconds = stack_seconds
        self._setting = StackSetting()
        self._status: StackStatus | None = None
        self._run: _Run | None = None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def setting(self) -> StackSetting:
        """What would be (or is being) stacked."""
        with self._lock:
            return self._setting

    @property
    def status(self) -> StackStatus | None:
        """The present or last run; `None` after clearing."""
        with self._lock:
            return self._status

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        with self._lock:
            return self._run is not None

    def set(self, setting: StackSetting) -> bool:
        """Take a setting; `False` while a run is under way."""
        with self._lock:
            if self._run is None:
                self._setting = setting
            return self._run is None

    def clear(self) -> bool:
        """Forget the last result; `False` while a run is under way."""
        with self._lock:
            if self._run is None:
                self._status = None
            return self._run is None

    def start(self) -> bool:
        """Begin a run of the setting; `False` while one is under way.

        A result that was not cleared keeps showing until the run's first step, as the firmware keeps
        it: who looks too early takes the old result for the new one.
        """
        with self._lock:
            if self._run is not None:
                return False
            run = self._run = _Run(self._setting, self._draw_fate(len(self._setting.names)))
            if self._status is None:
                self._status = StackStatus(Activity.WORKING, run.total)
            self._note("begin", run)
            thread = threading.Thread(target=self._work, args=(run,), name="batch-stack", daemon=True)
            self._threads = [*(old for old in self._threads if old.is_alive()), thread]
            thread.start()
            return True

    def cancel(self) -> None:
        """Abort the run, if any and if it is not about to be saved: another may start at once."""
        with self._lock:
            run, last = self._run, self._status
            if run is None or run.saving:
                return
            run.cancelled.set()
        stacked = last.stacked_img if last is not None else 0
        self._end(run, StackStatus(Activity.CANCEL, run.total, stacked, code=Code.INTERRUPT))

    def stop(self) -> None:
        """Abort the run, if any, and wait until nothing works any more."""
        self.cancel()
        for thread in self._threads:
            thread.join(_WAIT_FOR_THREAD_S)

    def forget(self) -> None:
        """Lose the run, its result and the setting, as a reboot does."""
        self.stop()
        with self._lock:
            self._status, self._setting = None, StackSetting()

    def _draw_fate(self, total: int) -> _Fate:
        fewer = self._faults.take(UseFewer)
        left_out = fewer.frames if fewer else 0
        if fail := self._faults.take(FailStack):
            return _Fate(round(fail.share * total), Activity.FAIL, fail.code, left_out=left_out)
        if cancel := self._faults.take(CancelStack):
            return _Fate(round(cancel.share * total), Activity.CANCEL, Code.INTERRUPT, left_out=left_out)
        if stall := self._faults.take(StallStack):
            return _Fate(round(stall.share * total), stalls=True, left_out=left_out)
        return _Fate(left_out=left_out)

    def _note(self, event: str, run: _Run, final: StackStatus | None = None) -> None:
        """Write a run's beginning or end into the journal; names are bare, to be the same by any firmware."""
        names = [name.rpartition("/")[2] for name in run.setting.names]
        output = final.output.fits if final is not None and final.output is not None else None
        params = {"path": run.setting.path, "names": names, "output": output}
        self._journal.note("stack", "", event, params=params, code=final.code if final is not None else 0)

    def _work(self, run: _Run) -> None:
        final = self._stack(run)
        if final is not None:
            self._end(run, final)

    def _end(self, run: _Run, final: StackStatus) -> None:
        with self._lock:
            if self._run is not run:  # it was cancelled, and perhaps another has begun
                return
            self._status, self._run = final, None
            self._note(final.state, run, final)
        self._publish("BatchStack", final.to_json())

    def _stack(self, run: _Run) -> StackStatus | None:
        """Give the run's end, or `None` when it was cancelled."""
        from skyrelay_simulators.telescope.stacking import GrowingStack  # heavy: most telescopes never stack

        began_s = self._clock.monotonic_s()
        stack = GrowingStack()
        for index, name in enumerate(run.setting.names):
            if self._pause(run, began_s, index):
                return None
            if index == run.fate.breaks_at:
                return self._break_off(run, stack.count)
            self._add(stack, run.setting.path, name, rejected=index >= run.total - run.fate.left_out)
            self._step(run, began_s, index + 1, stack.count)
        if self._pause(run, began_s, run.total):
            return None
        if run.fate.breaks_at is not None:
            return self._break_off(run, stack.count)
        return self._finish(run, stack, began_s)

    def _break_off(self, run: _Run, stacked: int) -> StackStatus | None:
        """End a run as its fate will have it; a stalled one when it is cancelled."""
        if run.fate.stalls:
            run.cancelled.wait()
            return None
        return StackStatus(run.fate.state, run.total, stacked, code=run.fate.code)

    def _pause(self, run: _Run, began_s: float, index: int) -> bool:
        """Wait until frame ``index`` is due; whether the run was cancelled meanwhile."""
        share = index / max(run.total, 1)
        due_s = began_s + self.stack_seconds * share
        left_s = max(0.0, due_s - self._clock.monotonic_s())
        return run.cancelled.wait(self._clock.real_s(left_s))

    def _add(self, stack: GrowingStack, path: str, name: str, *, rejected: bool) -> None:
        full = self._wants_full_names()
        if rejected or ("/" in name) != full:
            return
        try:
            stack.add(self._emmc.locate(name if full else f"{path}/{name}"))
        except (NotOnEmmcError, UnfitFrameError):
            return  # the firmware leaves such frames out and stacks the others

    def _step(self, run: _Run, began_s: float, done: int, stacked: int) -> None:
        lapse_s = self._clock.monotonic_s() - began_s
        remaining_s = max(0.0, self.stack_seconds * (1 - done / run.total))
        status = StackStatus(Activity.WORKING, run.total, stacked, remaining_s, lapse_s)
        with self._lock:
            if self._run is not run:
                return
            self._status = status
        self._publish("BatchStack", status.to_json())

    def _finish(self, run: _Run, stack: GrowingStack, began_s: float) -> StackStatus | None:
        with self._lock:
            if run.cancelled.is_set():
                return None
            run.saving = True
        status = StackStatus(Activity.COMPLETE, run.total, stack.count)
        status = replace(status, lapse_s=self._clock.monotonic_s() - began_s)
        if not self._has_room():
            return replace(status, state=Activity.FAIL, code=Code.FAIL_TO_OPERATE)  # guessed: its code
        target = PurePosixPath(run.setting.path).name.removesuffix(_SUB)
        folder = str(PurePosixPath(run.setting.path).with_name(target)) if target else ""
        try:
            self._emmc.locate(run.setting.path)
            output = stack.save(self._emmc.root, folder, target, self._wall_clock.now_local())
        except (NotOnEmmcError, UnfitFrameError):
            return replace(status, state=Activity.FAIL, code=Code.NO_IMAGE)
        return replace(status, output=output)
