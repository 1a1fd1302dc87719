"""Services that share what they import: processes of their own that stand and fall together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from support.waiting import eventually

_PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
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

def fails():
    raise RuntimeError("on purpose")

members = {"stays": stays, "ends": ends, "fails": fails}
sys.exit(run_family({name: members[name] for name in sys.argv[2:]}))
"""


def _start(folder: Path, *names: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, str(folder), *names], stderr=subprocess.DEVNULL)


def _pids(file: Path) -> list[int]:
    return [int(pid) for pid in eventually(lambda: file.exists() and file.read_text().split())]


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_when_one_ends_all_end_with_its_exit_code(tmp_path: Path) -> None:
    with _start(tmp_path, "stays", "ends") as family:
        (stays, _), (ends,) = _pids(tmp_path / "stays"), _pids(tmp_path / "ends")
        assert len({family.pid, stays, ends}) == 3
        (tmp_path / "end").touch()
        assert family.wait(30) == 7
        assert _is_gone(stays)


def test_one_that_fails_takes_the_others_along(tmp_path: Path) -> None:
    with _start(tmp_path, "fails", "stays") as family:
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
