"""Look at the running demo: the gateway's API on one side, the simulators' books on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table

from skyrelay.access.local_token import read_local_token
from skyrelay.store.receipts import Receipt

_TIMEOUT_S = 10.0


class _Peer:
    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy of the environment stands between us and ourselves

    def _credentials(self) -> dict[str, str]:
        return {}

    def _get(self, url: str) -> Any:
        response = self._session.get(url, headers=self._credentials(), timeout=_TIMEOUT_S)
        response.raise_for_status()
        return response.json()


class Gateway(_Peer):
    """The gateway, as any client sees it.

    Parameters
    ----------
    address
        Base URL.
    data_dir
        The services' folder, in which the gateway lays a token for programs of its machine.
    """

    def __init__(self, address: str, data_dir: Path) -> None:
        super().__init__()
        self.address = address
        self._data_dir = data_dir

    def _credentials(self) -> dict[str, str]:
        token = read_local_token(self._data_dir)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def is_ready(self) -> bool:
        """Tell whether all services work."""
        try:
            return self._session.get(f"{self.address}/readyz", timeout=_TIMEOUT_S).ok
        except requests.ConnectionError:
            return False

    def status(self) -> dict[str, Any]:
        """Give everything at a glance."""
        status: dict[str, Any] = self._get(f"{self.address}/api/v1/status")
        return status

    def receipts(self) -> list[Receipt]:
        """Give the receipt of each night."""
        nights = self._get(f"{self.address}/api/v1/nights")["items"]
        answers = [self._get(f"{self.address}/api/v1/nights/{night['night']}/receipt") for night in nights]
        return [Receipt.model_validate(answer) for answer in answers]


class Simulators(_Peer):
    """The simulators' control ports.

    Parameters
    ----------
    site, crowdsky, cloud
        Their base URLs.
    """

    def __init__(self, site: str, crowdsky: str, cloud: str) -> None:
        super().__init__()
        self._site, self._crowdsky, self._cloud = site, crowdsky, cloud

    def start_night(self) -> None:
        """Let the frames begin to fall."""
        self._session.post(f"{self._site}/night/start", timeout=_TIMEOUT_S).raise_for_status()

    def night(self) -> dict[str, Any]:
        """Give how far the nights are."""
        night: dict[str, Any] = self._get(f"{self._site}/night")
        return night

    def kept(self) -> list[str]:
        """Name the stacks that the server has kept."""
        return [upload["file_name"] for upload in self._get(f"{self._crowdsky}/_sim/uploads")]

    def heartbeats(self) -> int:
        """Count the signs of life that the network's cloud has taken from the node."""
        entries = self._get(f"{self._cloud}/_sim/journal?endpoint=heartbeat")
        return sum(entry["status"] == requests.codes.ok for entry in entries)


def render_progress(night: dict[str, Any], status: dict[str, Any]) -> RenderableType:
    """Draw how far the night and its blocks are."""
    frames = Table.grid(padding=(0, 1))
    written, total = night["written"], night["total"]
    frames.add_row(
        "Sub-frames", ProgressBar(total=max(total, 1), completed=written, width=40), f"{written} of {total}"
    )
    telescopes = Table.grid(padding=(0, 2))
    for telescope in status["telescopes"]:
        telescopes.add_row(telescope["name"], telescope["words"])
    counts = Table.grid(padding=(0, 2))
    for what in ("frames", "blocks", "deliveries"):
        counts.add_row(
            what, ", ".join(f"{count} {state}" for state, count in status[what].items() if count) or "none"
        )
    return Group(frames, telescopes, counts)
