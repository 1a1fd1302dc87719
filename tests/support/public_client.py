"""The public client `seestarpy`, unmodified, in an environment of its own (GPL-3: never in our process)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.left_out import left_out

_PROOF = Path(__file__).parents[1] / "proof"
_LOCK = _PROOF / "requirements-seestarpy.lock"
_DRIVER = _PROOF / "drive_public_client.py"
_CACHE_VARIABLE = "TESTS_CACHE"  # where environments for tests are kept; .cache in the checkout without it
_INSTALL_S, _RUN_S = 600.0, 180.0
_STANDARD_PORTS = ((socket.SOCK_STREAM, (4700, 80, 445)), (socket.SOCK_DGRAM, (4720,)))


@dataclass(frozen=True, slots=True)
class ClientRun:
    """How a run of the client ended: its report by action, and all that it said."""

    exit_code: int
    report: dict[str, Any]
    said: str


@dataclass(frozen=True, slots=True)
class PublicClient:
    """The client's environment.

    Attributes
    ----------
    python
        Its interpreter.
    """

    python: Path

    def run(self, folder: Path, order: dict[str, Any], *, key_path: Path, timezone: str) -> ClientRun:
        """Run the client with a key and a local zone; its files go below ``folder``."""
        order_path, report_path = folder / "order.json", folder / "report.json"
        order_path.write_text(json.dumps(order | {"folder": str(folder)}))
        report_path.unlink(missing_ok=True)
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "TZ": timezone,
            "SEESTAR_KEY_PATH": str(key_path),
            "PYTHONUTF8": "1",
        }
        done = subprocess.run(
            [self.python, _DRIVER, order_path, report_path],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_RUN_S,
            check=False,
        )
        report = json.loads(report_path.read_text()) if report_path.exists() else {}
        return ClientRun(done.returncode, report, done.stdout)


def public_client() -> PublicClient:
    """Give the client's environment, made where it is not there yet; leaves the test out without it."""
    fingerprint = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get(_CACHE_VARIABLE) or Path(__file__).parents[2] / ".cache")
    place = cache / f"seestarpy-{fingerprint}"
    with _alone(cache / "seestarpy.lock"):
        if not (place / "complete").exists():
            _make(place)
    return PublicClient(place / "bin" / "python")


def need_standard_ports(host: str) -> None:
    """Leave the test out where a telescope's own ports cannot be had on a loopback address."""
    for kind, ports in _STANDARD_PORTS:
        for port in ports:
            try:
                with socket.socket(type=kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
            except PermissionError:
                left_out(f"the public client wants port {port}, which needs root here")
            except OSError as error:
                left_out(f"the public client wants port {port} of {host}: {error.strerror}")


def _make(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=False)
    python = str(place / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    done = subprocess.run(
        [
            *pip,
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
            str(_LOCK),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        last = done.stdout.strip().splitlines()[-1:] or ["no word of pip"]
        left_out(f"the public client cannot be installed here: {last[0]}")
    (place / "complete").touch()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let no other run make the same environment meanwhile."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
