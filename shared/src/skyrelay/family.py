"""Several services in processes of their own, forked from one that has imported what all of them need.

What they import is then held once (docs/decisions/0028-footprint.md), and the first process, which looks
after the others, does the work of one of them. They stand and fall together: when one ends, all end, and
whoever started the family starts it again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

from skyrelay.logs import get_logger

_STOP_WITHIN_S = 15.0  # compose kills after 20
_PR_SET_PDEATHSIG = 1
_TO_STOP = (signal.SIGTERM, signal.SIGINT)

_log = get_logger(__name__)


def run_family(members: Mapping[str, Callable[[], int]]) -> int:
    """Run all until SIGTERM or SIGINT, or until one ends; give the exit code of the one that ended first.

    The last one works in this process, each of the others in one of its own.

    Parameters
    ----------
    members
        What each does, by name; it gives the exit code. Nothing that cannot be carried through a fork
        (threads, connections) may be open.
    """
    *others, (_, own) = members.items()
    share_what_is_imported()
    family = _Family()
    signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)  # what comes now is for all, once all are there
    for number in _TO_STOP:
        signal.signal(number, _leave)
    for name, work in others:
        family.add(name, work)
    code = family.work_beside(own)
    return family.end(code)


def share_what_is_imported() -> None:
    """Leave alone, for good, what is there before a fork: the collector's marks would copy the pages."""
    gc.collect()
    gc.freeze()


class _Family:
    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._is_changed = threading.Condition()
        self._first_code: int | None = None
        self._is_stopping = False

    def add(self, name: str, work: Callable[[], int]) -> None:
        """Fork one that works."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _work_and_leave(work, parent)
        self._names[pid] = name

    def work_beside(self, own: Callable[[], int]) -> int:
        """Work in this process until told to stop, or until one of the others ends; give the exit code."""
        for pid in list(self._names):
            threading.Thread(target=self._await_end, args=(pid,), name="family", daemon=True).start()
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
            return own()
        except SystemExit as leaving:
            return _exit_code(leaving)
        except Exception:  # noqa: BLE001 - said here, as for the others
            _log.exception("a service failed")
            return 1
        finally:
            for number in _TO_STOP:
                signal.signal(number, signal.SIG_IGN)  # it is stopping

    def end(self, own_code: int) -> int:
        """End the others; give the exit code of the one that ended first, which may be this process."""
        with self._is_changed:
            self._is_stopping = True
            self._tell_to_stop()
            self._is_changed.wait_for(lambda: not self._names, _STOP_WITHIN_S)
            self._kill()
            return own_code if self._first_code is None else self._first_code

    def _await_end(self, pid: int) -> None:
        """Note when one ends, and then end all: this process may be deaf (a disk that hangs, say)."""
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with self._is_changed:
            _, status = os.waitpid(pid, 0)
            self._note_end(self._names.pop(pid), pid, os.waitstatus_to_exitcode(status))
            is_first, self._is_stopping = not self._is_stopping, True
            if not is_first:
                return
            self._tell_to_stop()
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP_WITHIN_S)  # a thread that ends with the process, as it should by then
        self._kill()
        os._exit(self._first_code or 1)

    def _note_end(self, name: str, pid: int, code: int) -> None:
        _signal_group(pid, signal.SIGKILL)  # what it left behind must not work on
        self._is_changed.notify_all()
        if not self._is_stopping:
            _log.warning("a process has ended, and so do those beside it", process=name, exit_code=code)
            self._first_code = code if code >= 0 else 1

    def _tell_to_stop(self) -> None:
        for pid in self._names:
            os.kill(pid, signal.SIGTERM)  # it is there: its end would have been noted under the lock

    def _kill(self) -> None:
        for pid in list(self._names):
            _signal_group(pid, signal.SIGKILL)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Stop before the service of this process has said itself how it is stopped."""
    raise SystemExit(0)


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
