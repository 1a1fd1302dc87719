"""Runs one telescope's SMB server, and ends it, whole and reaped, when the simulator is gone.

Started by file, not by module, so that it loads nothing but what it needs::

    python -P smb_process.py PLACE smbd PROGRAM CONFIG
    python -P smb_process.py PLACE impacket HOST PORT SHARE ROOT

PLACE is a folder of the server's own. Standard input is a pipe from the simulator: when that closes,
however the simulator ended, the server is killed and the folder removed.
(A parent-death signal alone would not do: it fires when the *thread* that started the process ends.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

# <sys/prctl.h>, Linux
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.5  # seconds between two looks whether smbd still lives
# What an SMB2 CREATE did, by what it was told to do (MS-SMB2 2.2.13, 2.2.14). impacket answers the
# order itself, which strict clients reject; "open or create" counts as opened.
_CREATE_ACTION = {0: 0, 1: 1, 2: 2, 3: 1, 4: 3, 5: 3}
_STATUS_NO_SUCH_FILE = 0xC000000F
_STATUS_OBJECT_NAME_NOT_FOUND = 0xC0000034  # what Samba says, and clients look for


def main(arguments: list[str]) -> int:
    """Serve until standard input closes; give the exit code."""
    match arguments:
        case [place, "smbd", program, config]:
            return _run_smbd(place, program, config)
        case [place, "impacket", host, port, share, root]:
            return _run_impacket(place, host, int(port), share, root)
    raise SystemExit(f"unknown arguments: {arguments}")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


# --- smbd ---


def _run_smbd(place: str, program: str, config: str) -> int:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that smbd's orphans come to us, and none stays a zombie
    smbd = subprocess.Popen(  # noqa: S603 - the program that the simulator found
        [program, "--foreground", "--no-process-group", f"--configfile={config}", f"--log-basename={place}"],
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_follow,  # noqa: PLW1509 - this process has one thread, so nothing can be locked
    )
    while (code := smbd.poll()) is None and not _input_closed(_LOOK_S):
        pass
    _end_group(smbd.pid)
    if code is None:
        shutil.rmtree(place, ignore_errors=True)  # the simulator may not live to do it
    return code or 0


def _follow() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # should this very process be killed


def _input_closed(within_s: float) -> bool:
    ready, _, _ = select.select([0], [], [], within_s)
    return bool(ready) and not os.read(0, 1024)


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # raised when none is left
        while True:
            os.waitpid(-1, 0)


# --- impacket ---


def _run_impacket(place: str, host: str, port: int, share: str, root: str) -> int:
    threading.Thread(target=_end_with_input, args=(place,), daemon=True).start()
    from impacket import smb3structs, smbserver  # heavy, and not needed with smbd

    server = smbserver.SimpleSMBServer(listenAddress=host, listenPort=port)
    server.addShare(share, root)
    server.setSMB2Support(True)
    server.setSMBChallenge("")
    _correct_create(server.getServer(), smb3structs.SMB2_CREATE)
    server.start()
    return 0


def _end_with_input(place: str) -> None:
    while os.read(0, 1024):
        pass
    shutil.rmtree(place, ignore_errors=True)
    os._exit(0)  # its connections' threads do not end by themselves


def _correct_create(server: Any, command: int) -> None:
    original = server.hookSmb2Command(command, None)

    def create(connection: str, smb_server: Any, packet: Any) -> Any:
        replies, packets, status = original(connection, smb_server, packet)
        if status == _STATUS_NO_SUCH_FILE:
            status = _STATUS_OBJECT_NAME_NOT_FOUND
        for reply in replies:
            if "CreateAction" in reply.fields:
                reply["CreateAction"] = _CREATE_ACTION.get(reply["CreateAction"], 1)
        return replies, packets, status

    server.hookSmb2Command(command, create)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
