"""A service as the process it is, with a configuration file of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

STOPS_WITHIN_S = 15.0  # a service takes under two seconds; a loaded machine gets time to say so


class ServiceProcess:
    """Runs ``python -m skyrelay.service NAME --config FILE``; a context that kills what is left of it.

    Parameters
    ----------
    name
        Of the service.
    folder
        Where the configuration and the log are written.
    settings
        The configuration.
    """

    def __init__(self, name: str, folder: Path, settings: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._config = folder / f"{name}.yaml"
        self._config.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it (again); its log goes on in the same file."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
        command = [sys.executable, "-m", "skyrelay.service", self._name, "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def log(self) -> str:
        """Give what it has logged so far."""
        return self._log.read_text(encoding="utf-8")

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)

    def wait(self, within_s: float) -> int:
        """Wait for its end; give its exit code."""
        return self._running.wait(within_s)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._running.kill()
        self._running.wait(10)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError(f"{self._name} was never started")
        return self._process

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
