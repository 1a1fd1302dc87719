"""The simulators' control ports: what goes wrong with a telescope, and what everybody has written down."""

from __future__ import annotations

from typing import Any

import requests

_TIMEOUT_S = 30.0


class Simulators:
    """The telescopes' and the server's own side of the story.

    Parameters
    ----------
    site, crowdsky
        Base URLs of their control ports.
    """

    def __init__(self, site: str, crowdsky: str) -> None:
        self._site, self._crowdsky = site, crowdsky
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy of the environment stands between us and ourselves

    def start_night(self) -> None:
        """Let the frames begin to fall."""
        self._post("/night/start")

    def night_is_over(self) -> bool:
        """Tell whether all frames have fallen."""
        return bool(self._get(f"{self._site}/night")["done"])

    def reboot(self, serial: str) -> None:
        """Reboot a telescope; it is back when this returns."""
        self._post("/reboot", serial=serial, seconds=2)

    def switch_off(self, serial: str) -> None:
        """Let a telescope fall silent, as one without Wi-Fi does."""
        self._post("/faults", serial=serial, switch="switched_off")

    def switch_on(self, serial: str) -> None:
        """Let it answer again."""
        self._post("/faults", serial=serial, switch="switched_off", on=False)

    def journal(self, serial: str) -> list[dict[str, Any]]:
        """Give what a telescope was asked and did."""
        entries: list[dict[str, Any]] = self._get(f"{self._site}/journal?serial={serial}")["entries"]
        return entries

    def conduct(self, serial: str) -> list[str]:
        """Say which rules were broken towards a telescope."""
        broken: list[str] = self._get(f"{self._site}/conduct?serial={serial}")["broken"]
        return broken

    def kept(self) -> list[str]:
        """Name the stacks that the server has kept, each as often as it has it."""
        return [upload["file_name"] for upload in self._get(f"{self._crowdsky}/_sim/uploads")]

    def _get(self, url: str) -> Any:
        response = self._session.get(url, timeout=_TIMEOUT_S)
        response.raise_for_status()
        return response.json()

    def _post(self, path: str, **fields: object) -> None:
        self._session.post(self._site + path, json=fields, timeout=_TIMEOUT_S).raise_for_status()
