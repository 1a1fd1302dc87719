"""The demo's processes: the simulators and the services, each as a user would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from skyrelay_simulators.demo.errors import DemoFailed

_LOOK_EVERY_S = 0.1
_STOP_WITHIN_S = 15.0
_LAST_LINES = 15
# A person's own settings must not lead the demo to a real telescope or server.
_OURS = ("SKYRELAY_", "CROWDSKY_")


class Processes:
    """Starts processes, watches them, stops the last one first; each writes its log into a file."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._files = ExitStack()

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            _name, process = self._running.pop()
            _stop(process)
        self._files.close()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start ``skyrelay ARGUMENTS``, without the person's own settings in its environment."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        log = self._files.enter_context(self.log(name).open("ab"))
        process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            [sys.executable, "-m", "skyrelay.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**clean, **(environment or {})},
            start_new_session=True,
        )
        self._running.append((name, process))

    def log(self, name: str) -> Path:
        """Give the file that a process writes its log into."""
        return self._logs / f"{name}.log"

    def wait_for(self, what: str, is_so: Callable[[], bool], within_s: float) -> None:
        """Wait until something is so; raise `DemoFailed` when a process ends, or time does, before."""
        deadline = time.monotonic() + within_s
        while not is_so():
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what}: not within {within_s:.0f} s; see {self._logs}")
            time.sleep(_LOOK_EVERY_S)

    def check(self) -> None:
        """Raise `DemoFailed` if a process has ended, with the last lines of its log."""
        for name, process in self._running:
            if process.poll() is not None:
                lines = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
                raise DemoFailed(
                    "\n".join([f"{name} ended with code {process.returncode}:", *lines[-_LAST_LINES:]])
                )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
