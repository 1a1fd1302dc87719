"""A home whose services all run, as ``skyrelay up`` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from support.ports import free_port
from support.waiting import eventually

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}


class RunningHome:
    """A home with a configuration of its own, in a folder of its own.

    Parameters
    ----------
    folder
        Where configuration, data and log lie; made if need be.
    **sections
        Of the configuration.
    """

    def __init__(self, folder: Path, **sections: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._port, flower = free_port(), free_port()
        self._config, self._log = folder / "config.yaml", folder / "up.log"
        own = {
            "data_dir": str(folder / "data"),
            "gateway": {"host": "127.0.0.1", "port": self._port},
            "flower": {"port": flower, "url": f"http://127.0.0.1:{flower}"},
        }
        self._config.write_text(yaml.safe_dump({**sections, **own}), encoding="utf-8")

    @property
    def address(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self._port}"

    def log(self) -> str:
        """Give what the services have logged."""
        return self._log.read_text(encoding="utf-8")

    def is_ready(self) -> bool:
        """Tell whether all services work."""
        try:
            return requests.get(f"{self.address}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the services until the end of the ``with``."""
        command = [sys.executable, "-m", "skyrelay.cli", "up", "--config", str(self._config)]
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=ENVIRONMENT, start_new_session=True
            )
        try:
            eventually(self.is_ready, within_s=120)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
