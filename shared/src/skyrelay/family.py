"""Several services in processes of their own, forked from one that has imported what all of them need.

What they import is then held once (docs/decisions/0028-footprint.md). They stand and fall together: when one
ends, all end, and whoever started the family starts it again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

from skyrelay.logs import get_logger

_STOP_WITHIN_S = 15.0  # compose kills after 20
_LOOK_EVERY_S = 0.1
_PR_SET_PDEATHSIG = 1
_TO_STOP = (signal.SIGTERM, signal.SIGINT)

_log = get_logger(__name__)


def run_family(members: Mapping[str, Callable[[], int]]) -> int:
    """Run each in a process of its own until SIGTERM or SIGINT, or until one ends; give that one's exit code.

    Nothing that cannot be carried through a fork (threads, connections) may be open.

    Parameters
    ----------
    members
        What each does, by name; it gives the exit code.
    """
    share_what_is_imported()
    family = _Family()
    signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)  # what comes now is for all, once all are there
    for number in _TO_STOP:
        signal.signal(number, family.stop)
    for name, work in members.items():
        family.add(name, work)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
    return family.wait()


def share_what_is_imported() -> None:
    """Leave alone, for good, what is there before a fork: the collector's marks would copy the pages."""
    gc.collect()
    gc.freeze()


class _Family:
    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._is_stopping = False

    def add(self, name: str, work: Callable[[], int]) -> None:
        """Fork one that works."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _work_and_leave(work, parent)
        self._names[pid] = name

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Tell all to stop."""
        self._is_stopping = True
        self._signal_all(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until one ends, then for the others; give the first one's exit code."""
        pid, status = os.wait()
        while pid not in self._names:  # an orphan of one of them, where we are a container's first process
            pid, status = os.wait()
        name, code = self._names.pop(pid), os.waitstatus_to_exitcode(status)
        if not self._is_stopping:
            _log.warning("a process has ended, and so do those beside it", process=name, exit_code=code)
        self._end_others()
        _signal_group(pid, signal.SIGKILL)  # a dead worker's children must not work on
        return code if code >= 0 else 1

    def _end_others(self) -> None:
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN_S
        while self._names and time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                time.sleep(_LOOK_EVERY_S)
            elif self._names.pop(pid, None):
                _signal_group(pid, signal.SIGKILL)  # what it left behind
        for pid in self._names:
            _signal_group(pid, signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in list(self._names):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _work_and_leave(work: Callable[[], int], parent: int) -> None:
    """Do what a process of its own does, and never come back into what the parent was doing."""
    code = 1
    try:
        _begin(parent)
        code = work()
    except SystemExit as leaving:
        code = _exit_code(leaving)
    except Exception:  # noqa: BLE001 - said here, since nobody is above
        _log.exception("a service failed")
    finally:
        try:
            _flush()
        finally:
            os._exit(code)


def _begin(parent: int) -> None:
    """Be a process of one's own: the parent's signals reach it again once they no longer mean all."""
    os.setpgid(0, 0)  # with all that it forks, to be ended with it
    for number in _TO_STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
    _die_with_parent()
    if os.getppid() != parent:  # it died before that, and nobody would tell
        raise SystemExit(1)


def _exit_code(leaving: SystemExit) -> int:
    """Give what the interpreter would leave with: words are an error, which it says."""
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    _log.error("a service ended", problem=str(leaving.code))
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, a reader that has gone, a closed stream
            stream.flush()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _die_with_parent() -> None:
    """Ask the kernel to stop this process when its parent dies without having stopped it (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
