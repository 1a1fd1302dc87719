"""The telescope's batch stack: one run at a time, its result kept until it is cleared."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from skyrelay_simulators.telescope.clock import Clock, WallClock
from skyrelay_simulators.telescope.emmc import Emmc, NotOnEmmcError
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
class _Run:
    setting: StackSetting
    cancelled: threading.Event = field(default_factory=threading.Event)


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
    wants_full_names
        Whether the firmware wants names from the eMMC's root.
    stack_seconds
        How long a run takes, at least.
    rejects
        How many frames, the last of each run, do not align.
    """

    def __init__(
        self,
        *,
        emmc: Emmc,
        clock: Clock,
        wall_clock: WallClock,
        publish: Publish,
        wants_full_names: bool,
        stack_seconds: float,
        rejects: int = 0,
    ) -> None:
        self._emmc = emmc
        self._clock = clock
        self._wall_clock = wall_clock
        self._publish = publish
        self._wants_full_names = wants_full_names
        self.stack_seconds = stack_seconds
        self.rejects = rejects
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
            run = self._run = _Run(self._setting)
            if self._status is None:
                self._status = StackStatus(Activity.WORKING, len(run.setting.names))
            thread = threading.Thread(target=self._work, args=(run,), name="batch-stack", daemon=True)
            self._threads = [*(old for old in self._threads if old.is_alive()), thread]
            thread.start()
            return True

    def cancel(self) -> None:
        """Abort the run, if any: another may start at once."""
        with self._lock:
            run, last = self._run, self._status
        if run is not None:
            run.cancelled.set()
            stacked = last.stacked_img if last is not None else 0
            total = len(run.setting.names)
            self._end(run, StackStatus(Activity.CANCEL, total, stacked, code=Code.INTERRUPT))

    def stop(self) -> None:
        """Abort the run, if any, and wait until nothing works any more."""
        self.cancel()
        for thread in self._threads:
            thread.join(_WAIT_FOR_THREAD_S)

    def _work(self, run: _Run) -> None:
        final = self._stack(run)
        if final is not None:
            self._end(run, final)

    def _end(self, run: _Run, final: StackStatus) -> None:
        with self._lock:
            if self._run is not run:  # it was cancelled, and perhaps another has begun
                return
            self._status, self._run = final, None
        self._publish("BatchStack", final.to_json())

    def _stack(self, run: _Run) -> StackStatus | None:
        """Give the run's end, or `None` when it was cancelled."""
        from skyrelay_simulators.telescope.stacking import GrowingStack  # heavy: most telescopes never stack

        began_s = self._clock.monotonic_s()
        total = len(run.setting.names)
        stack = GrowingStack()
        for index, name in enumerate(run.setting.names):
            if self._pause(run, began_s, index):
                return None
            self._add(stack, run.setting.path, name, rejected=index >= total - self.rejects)
            self._step(run, began_s, index + 1, stack.count)
        if self._pause(run, began_s, total):
            return None
        return self._finish(run, stack, began_s)

    def _pause(self, run: _Run, began_s: float, index: int) -> bool:
        """Wait until frame ``index`` is due; whether the run was cancelled meanwhile."""
        share = index / max(len(run.setting.names), 1)
        due_s = began_s + self.stack_seconds * share
        return run.cancelled.wait(max(0.0, due_s - self._clock.monotonic_s()))

    def _add(self, stack: GrowingStack, path: str, name: str, *, rejected: bool) -> None:
        if rejected or ("/" in name) != self._wants_full_names:
            return
        try:
            stack.add(self._emmc.locate(name if self._wants_full_names else f"{path}/{name}"))
        except (NotOnEmmcError, UnfitFrameError):
            return  # the firmware leaves such frames out and stacks the others

    def _step(self, run: _Run, began_s: float, done: int, stacked: int) -> None:
        total = len(run.setting.names)
        lapse_s = self._clock.monotonic_s() - began_s
        remaining_s = max(0.0, self.stack_seconds * (1 - done / total))
        status = StackStatus(Activity.WORKING, total, stacked, remaining_s, lapse_s)
        with self._lock:
            if self._run is not run:
                return
            self._status = status
        self._publish("BatchStack", status.to_json())

    def _finish(self, run: _Run, stack: GrowingStack, began_s: float) -> StackStatus:
        status = StackStatus(Activity.COMPLETE, len(run.setting.names), stack.count)
        status = replace(status, lapse_s=self._clock.monotonic_s() - began_s)
        target = PurePosixPath(run.setting.path).name.removesuffix(_SUB)
        folder = str(PurePosixPath(run.setting.path).with_name(target)) if target else ""
        try:
            self._emmc.locate(run.setting.path)
            output = stack.save(self._emmc.root, folder, target, self._wall_clock.now_local())
        except (NotOnEmmcError, UnfitFrameError):
            return replace(status, state=Activity.FAIL, code=Code.NO_IMAGE)
        return replace(status, output=output)
