"""The telescope's share: a real ``smbd`` where there is one, else impacket's server.

A telescope gives it a port of its own; its clients come through `smb_wire`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from skyrelay_simulators.telescope.spec import SmbBackend, TelescopeSpec

_PROGRAM = Path(__file__).with_name("smb_process.py")
_WHERE_SMBD_IS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # often not on a user's PATH
_START_S = 15.0  # seconds; half a second is usual, more on a loaded machine
_POLL_S = 0.02
_STOP_S = 2.0

_SMBD_CONFIG = """\
[global]
    server role = standalone server
    server string = Seestar
    smb ports = {port}
    {binding}
    private dir = {state}
    lock directory = {state}
    state directory = {state}
    cache directory = {state}
    pid directory = {state}
    ncalrpc dir = {state}/ncalrpc
    log file = {state}/log
    max log size = 1000
    map to guest = Bad User
    guest account = {user}
    server min protocol = SMB2_02
    server signing = auto
    disable netbios = yes
    disable spoolss = yes
    load printers = no
    printing = bsd
    printcap name = /dev/null
    rpc start on demand helpers = no
    usershare max shares = 0
    strict sync = no

[{share}]
    path = {root}
    guest ok = yes
    guest only = yes
    read only = no
"""


class SmbStartError(RuntimeError):
    """The SMB server did not come up."""


def find_smbd() -> str | None:
    """Find Samba's server program."""
    return shutil.which("smbd") or shutil.which("smbd", path=os.pathsep.join(_WHERE_SMBD_IS))


def choose_backend(wanted: SmbBackend) -> SmbBackend:
    """Turn ``auto`` into what this machine has (smbd also needs an account name for its guest)."""
    if wanted is not SmbBackend.AUTO:
        return wanted
    return SmbBackend.SMBD if find_smbd() and _account() else SmbBackend.IMPACKET


def _account() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container run under a bare number
        return None


class SmbServer:
    """One telescope's share, in a process group of its own.

    Parameters
    ----------
    spec
        Says which folder, under which name, on which host and port, by which program.
    """

    def __init__(self, spec: TelescopeSpec) -> None:
        self._spec = spec
        self._backend = choose_backend(spec.smb_backend)
        self._process: subprocess.Popen[bytes] | None = None
        self._state: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens once it is started; `None` if there is no share at all."""
        return (self._connectable_host(), self.port) if self.port else None

    def _connectable_host(self) -> str:
        return "127.0.0.1" if self._spec.host == "0.0.0.0" else self._spec.host  # noqa: S104 - compared, not bound

    def start(self) -> None:
        """Start serving, without waiting for it (`await_ready` does); raises `OSError`, `SmbStartError`."""
        if self._backend is SmbBackend.OFF:
            return
        self.port = _free_port(self._spec.host, self._spec.smb_port)
        # Not under the root: Samba's sockets want short paths, and the share must not show them.
        self._state = tempfile.TemporaryDirectory(prefix="seestar-smb-", ignore_cleanup_errors=True)
        with (Path(self._state.name) / "output").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [
                    sys.executable,
                    "-P",
                    str(_PROGRAM),
                    self._state.name,
                    *self._arguments(Path(self._state.name)),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _arguments(self, state: Path) -> list[str]:
        root = str(self._spec.root.resolve())
        if self._backend is SmbBackend.IMPACKET:
            return ["impacket", self._spec.host, str(self.port), self._spec.share, root]
        program, user = find_smbd(), _account()
        if program is None or user is None:
            raise SmbStartError("smbd is not installed here, or this user has no name: use impacket")
        (state / "ncalrpc").mkdir()
        config = state / "smb.conf"
        config.write_text(_smbd_config(self._spec, self.port, state, user), encoding="utf-8")
        return ["smbd", program, str(config)]

    def await_ready(self) -> None:
        """Wait until a client can connect; raises `SmbStartError`."""
        if self._process is None:
            return
        deadline_s = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                output = self._output()
                self.stop()
                raise SmbStartError(f"the SMB server ({self._backend}) did not start: {output}")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._connectable_host(), self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _output(self) -> str:
        if self._state is None:
            return ""
        return (Path(self._state.name) / "output").read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        """End the server; what it kept of itself goes with it."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None  # noqa: S101 - it was started with a pipe
            process.stdin.close()
            _await_end(process)
        if self._state is not None:
            self._state.cleanup()


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _smbd_config(spec: TelescopeSpec, port: int, state: Path, user: str) -> str:
    return _SMBD_CONFIG.format(
        port=port,
        binding=_binding(spec.host),
        state=state,
        user=user,
        share=spec.share,
        root=spec.root.resolve(),
    )


def _binding(host: str) -> str:
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return ""
    # 127.0.0.2 and its like are no interface of their own, but lie in the loopback's network.
    network = f"{host}/8" if host.startswith("127.") else host
    return f"interfaces = {network}\n    bind interfaces only = yes"


def _free_port(host: str, wanted: int) -> int:
    """Give the wanted port, or any for 0; raises `OSError` if it is taken, which the server would not say."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, wanted))
        port: int = probe.getsockname()[1]
        return port
