"""Runs one telescope's SMB server as a process group of its own, which dies with its parent.

Started by file, not by module, so that it loads nothing but what it needs::

    python -P smb_process.py smbd CONFIG
    python -P smb_process.py impacket HOST PORT SHARE ROOT

Its standard input is a pipe from the simulator. When that closes, however the simulator ended, the
whole group is killed. (A parent-death signal alone would not do: it fires when the *thread* that
started the process ends.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
# What an SMB2 CREATE did, by what it was told to do (MS-SMB2 2.2.13, 2.2.14). impacket answers the
# order itself, which strict clients reject; "open or create" counts as opened.
_CREATE_ACTION = {0: 0, 1: 1, 2: 2, 3: 1, 4: 3, 5: 3}
_STATUS_NO_SUCH_FILE = 0xC000000F
_STATUS_OBJECT_NAME_NOT_FOUND = 0xC0000034  # what Samba says, and clients look for


def main(arguments: list[str]) -> None:
    """Serve until standard input closes."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    match arguments:
        case ["smbd", program, config]:
            _run_smbd(program, config)
        case ["impacket", host, port, share, root]:
            _run_impacket(host, int(port), share, root)
        case _:
            raise SystemExit(f"unknown arguments: {arguments}")


def _die_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _run_smbd(program: str, config: str) -> None:
    command = [program, "--foreground", "--no-process-group", f"--configfile={config}"]
    options = {"stdin": subprocess.DEVNULL, "preexec_fn": _follow}  # only this thread could hold a lock
    raise SystemExit(subprocess.run(command, check=False, **options).returncode)  # type: ignore[call-overload] # noqa: S603 - our own command


def _follow() -> None:
    """Have the kernel stop smbd if this very process is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _run_impacket(host: str, port: int, share: str, root: str) -> None:
    from impacket import smb3structs, smbserver  # heavy, and not needed with smbd

    server = smbserver.SimpleSMBServer(listenAddress=host, listenPort=port)
    server.addShare(share, root)
    server.setSMB2Support(True)
    server.setSMBChallenge("")
    _correct_create(server.getServer(), smb3structs.SMB2_CREATE)
    server.start()


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
    main(sys.argv[1:])
