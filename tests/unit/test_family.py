"""Services that share what they import: processes of their own that stand and fall together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.waiting import eventually

_PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
import skyrelay.family
from skyrelay.family import run_family
folder = Path(sys.argv[1])

def stays():
    grandchild = subprocess.Popen(["sleep", "600"])
    (folder / "stays").write_text(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)
    return 0

def ends():
    (folder / "ends").write_text(str(os.getpid()))
    while not (folder / "end").exists():
        time.sleep(0.01)
    return 7

def says_why():
    sys.exit("no telescope")

def cannot_flush():
    class Full:
        def flush(self): raise OSError("no space left")
    sys.stdout = Full()
    return 7

def fails():
    raise RuntimeError("on purpose")

def is_deaf():
    skyrelay.family._STOP_WITHIN_S = 0.5
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "deaf").write_text(str(os.getpid()))
    while True:
        time.sleep(600)

def asks_others():
    return sum(subprocess.run(["false"]).returncode for _ in range(200))

members = {
    "stays": stays, "ends": ends, "fails": fails, "says_why": says_why,
    "is_deaf": is_deaf, "asks_others": asks_others, "cannot_flush": cannot_flush,
}
sys.exit(run_family({name: members[name] for name in sys.argv[2:]}))
"""


# What happens to a family between two of its steps.
_TOLD_TO_STOP_BEFORE_THE_FIRST_FORK = """
import os, signal
fork = os.fork

def told_and_fork():
    os.fork = fork
    os.kill(os.getpid(), signal.SIGTERM)
    return fork()

os.fork = told_and_fork
"""
_ONE_IS_TOLD_TO_STOP_AT_ONCE = """
import os, signal
os.setpgid = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
"""
_THE_PARENT_DIES_AT_ONCE = """
import os, signal, sys, time
from pathlib import Path

def lose_parent(*_):
    (Path(sys.argv[1]) / "orphan").write_text(str(os.getpid()))
    parent = os.getppid()
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)

os.setpgid = lose_parent
"""


def _start(folder: Path, *names: str, before: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", before + _PROGRAM, str(folder), *names]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _pids(file: Path) -> list[int]:
    return [int(pid) for pid in eventually(lambda: file.exists() and file.read_text().split())]


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_when_one_ends_all_end_with_its_exit_code(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends") as family:
        (stays, grandchild), (ends,) = _pids(tmp_path / "stays"), _pids(tmp_path / "ends")
        assert ends == family.pid != stays
        (tmp_path / "end").touch()
        assert family.wait(30) == 7
        assert _is_gone(stays)
        eventually(lambda: _is_gone(grandchild))


def test_the_process_that_looks_after_the_others_ends_with_the_first_of_them(tmp_path: Path) -> None:
    with _start(tmp_path, "ends", "stays") as family:
        (ends,), (stays, _) = _pids(tmp_path / "ends"), _pids(tmp_path / "stays")
        assert stays == family.pid != ends
        (tmp_path / "end").touch()
        assert family.wait(30) == 7
        assert _is_gone(ends)


def test_a_first_process_that_hears_nothing_holds_up_no_end(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends", "is_deaf") as family:
        (stays, grandchild), (deaf,) = _pids(tmp_path / "stays"), _pids(tmp_path / "deaf")
        assert deaf == family.pid
        (tmp_path / "end").touch()
        assert family.wait(30) == 7
        eventually(lambda: all(map(_is_gone, (stays, grandchild))))


def test_what_the_first_process_runs_by_itself_ends_with_a_true_exit_code(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "asks_others") as family:
        assert family.wait(60) == 200


@pytest.mark.parametrize("names", [("fails", "stays"), ("stays", "fails")])
def test_one_that_fails_takes_the_others_along(tmp_path: Path, names: tuple[str, str]) -> None:
    with _start(tmp_path, *names) as family:
        assert family.wait(30) == 1


def test_a_killed_one_leaves_no_child_of_its_own_behind(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends") as family:
        stays, grandchild = _pids(tmp_path / "stays")
        os.kill(stays, signal.SIGKILL)
        assert family.wait(30) == 1
        eventually(lambda: _is_gone(grandchild))


def test_told_to_stop_it_tells_all(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends") as family:
        members = [_pids(tmp_path / name)[0] for name in ("stays", "ends")]
        family.terminate()
        family.wait(30)
        eventually(lambda: all(map(_is_gone, members)))


@pytest.mark.parametrize("before", [_TOLD_TO_STOP_BEFORE_THE_FIRST_FORK, _ONE_IS_TOLD_TO_STOP_AT_ONCE])
def test_told_to_stop_while_it_begins_it_stops(tmp_path: Path, before: str) -> None:
    with _start(tmp_path, "stays", "ends", before=before) as family:
        try:
            family.wait(30)
        finally:
            family.kill()


def test_one_whose_parent_has_died_already_does_not_begin(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends", before=_THE_PARENT_DIES_AT_ONCE) as family:
        assert family.wait(30) == -signal.SIGKILL
        [orphan] = _pids(tmp_path / "orphan")
        try:
            eventually(lambda: _is_gone(orphan))
        finally:
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
    assert not (tmp_path / "stays").exists()


@pytest.mark.parametrize(
    ("names", "code"),
    [(("says_why", "stays"), 1), (("stays", "says_why"), 1), (("cannot_flush", "stays"), 7)],
)
def test_however_one_leaves_its_exit_code_is_told(tmp_path: Path, names: tuple[str, str], code: int) -> None:
    with _start(tmp_path, *names) as family:
        assert family.wait(30) == code


_LOADING = """
import os, threading
from skyrelay.service import installed_services
before = set(os.listdir("/proc/self/fd"))
for name in ("stacker", "scheduler"):
    installed_services()[name].load()
print(threading.active_count(), set(os.listdir("/proc/self/fd")) <= before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_is_loaded_before_the_fork_opens_neither_threads_nor_files() -> None:
    ran = subprocess.run([sys.executable, "-c", _LOADING], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "True"]
