"""Where a whole simulated night lies on disk, and what services that are to meet it are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Stage:
    """The files of one night: of its simulators, and of the services that meet them."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration of the services."""
        return self.folder / "config.yaml"

    @property
    def site(self) -> Path:
        """The description of the telescopes."""
        return self.folder / "site.yaml"

    @property
    def endpoints(self) -> Path:
        """Where the telescopes answer, written by their process."""
        return self.folder / "telescopes.json"

    @property
    def crowdsky(self) -> Path:
        """Where CrowdSky answers, written by its process."""
        return self.folder / "crowdsky.json"


def telescope_settings(name: str, endpoint: dict[str, Any]) -> dict[str, Any]:
    """Configure a telescope by what its simulator announced; one without a share keeps the usual port."""
    settings = {
        "name": name,
        "host": endpoint["host"],
        "rpc_port": endpoint["rpc_port"],
        "http_port": endpoint["http_port"],
    }
    return settings | ({"smb_port": endpoint["smb_port"]} if endpoint["smb_port"] else {})


def watcher_settings(endpoints: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Have the watcher look into the telescopes' own folders."""
    return {
        "enabled": True,
        "watch_path": [str(Path(each["root"]) / "MyWorks") for each in endpoints],
        "debounce_delay": 0.5,
    }
