"""Which telescopes were seen, which of them are configured, and what to do about each: no I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from skyrelay.domain.asked import Asked
from skyrelay.domain.states import HOST_ANSWERS, Reach, TelescopeState
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus
from skyrelay.seestar.discovery import Discovered
from skyrelay.settings import TelescopeSettings

_NOT_IN_TIME = TelescopeStatus(
    TelescopeState.UNREACHABLE, "it did not say in time what it does", reach=Reach.SILENT
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking at one address: who is there (`None` if it did not say), and what it does."""

    device: DeviceInfo | None = None
    status: TelescopeStatus = _NOT_IN_TIME


@dataclass(frozen=True, slots=True)
class Sighting:
    """One telescope, by its serial number where that is known.

    Attributes
    ----------
    hosts
        The addresses that it answers from; empty when it does not answer.
    name, configured_host
        What the configuration calls it, and where that has it; `None` when it is not configured.
    what_to_do
        For a person; empty when all is well.
    """

    serial: str | None
    status: TelescopeStatus
    model: str = ""
    hosts: tuple[str, ...] = ()
    name: str | None = None
    configured_host: str | None = None
    clients: int | None = None
    locked: bool | None = None
    what_to_do: str = ""

    @property
    def answers(self) -> bool:
        """Whether a telescope is there."""
        return bool(self.hosts)

    def as_json(self) -> dict[str, Any]:
        """Give it for machines."""
        return {
            "serial": self.serial,
            "model": self.model,
            "hosts": list(self.hosts),
            "name": self.name,
            "configured_host": self.configured_host,
            "state": str(self.status.state),
            "reach": str(self.status.reach),
            "reason": self.status.reason,
            "clients": self.clients,
            "connect_lock": self.locked,
            "what_to_do": self.what_to_do,
        }


def sight(
    configured: Iterable[TelescopeSettings],
    found: Iterable[Discovered],
    *,
    answers: Mapping[str, Answer],
    elsewhere: Mapping[str, Answer],
    recorded: Mapping[str, str],
) -> list[Sighting]:
    """Match those that were found with those that are configured.

    Parameters
    ----------
    answers
        By name: what came of asking each configured telescope at its address.
    elsewhere
        By serial number: what came of asking those that were found at the address of their last answer.
    recorded
        Serial numbers by name, as the services have them on record.
    """
    left = {telescope.serial: telescope for telescope in found}
    sightings = []
    for settings in configured:
        answer = answers.get(settings.name, Answer())
        serial = settings.serial or recorded.get(settings.name) or _serial(answer)
        seen = left.pop(serial, None) if serial else _at(settings.host, left)
        sightings.append(_configured(settings, serial, seen, answer, elsewhere.get(serial or "", Answer())))
    return sightings + [_new(telescope, elsewhere) for telescope in left.values()]


def _serial(answer: Answer) -> str | None:
    return answer.device.serial if answer.device else None


def _at(host: str, left: dict[str, Discovered]) -> Discovered | None:
    """Take whoever was found at that address, for a telescope that could not say who it is."""
    serial = next((telescope.serial for telescope in left.values() if host in telescope.hosts), None)
    return left.pop(serial) if serial else None


def _configured(
    settings: TelescopeSettings,
    serial: str | None,
    seen: Discovered | None,
    answer: Answer,
    new_answer: Answer,
) -> Sighting:
    stranger = _serial(answer) not in {None, serial}
    moved = seen is not None and (stranger or _is_elsewhere(settings, seen, answer))
    is_there = answer.device is not None and not stranger
    return Sighting(
        serial=serial or (seen.serial if seen else None),
        status=new_answer.status if moved else _stranger(answer) if stranger else answer.status,
        model=seen.model if seen else answer.device.model if answer.device and is_there else "",
        hosts=seen.hosts if seen else (settings.host,) if is_there else (),
        name=settings.name,
        configured_host=settings.host,
        clients=seen.clients if seen else None,
        locked=seen.locked if seen else None,
        what_to_do=_follow(settings, seen) if moved and seen else "",
    )


def _is_elsewhere(settings: TelescopeSettings, seen: Discovered, answer: Answer) -> bool:
    """Tell whether one that did not say who it is at its address answers from others only.

    A host name cannot be compared with addresses: there the name has to lead to nobody.
    """
    if answer.device is not None or settings.host in seen.hosts:
        return False
    return not Asked(settings.host).is_name or answer.status.reach not in HOST_ANSWERS


def _follow(settings: TelescopeSettings, seen: Discovered) -> str:
    return (
        f"address changed: configured {settings.host}, answers at {seen.host}: set "
        f"telescopes[{settings.name}].host (the services follow it meanwhile)"
    )


def _stranger(answer: Answer) -> TelescopeStatus:
    words = f"another telescope ({_serial(answer)}) answers at its address"
    return TelescopeStatus(TelescopeState.UNREACHABLE, words, reach=Reach.STRANGER)


def _new(telescope: Discovered, elsewhere: Mapping[str, Answer]) -> Sighting:
    entry = f"{{name: …, host: {telescope.host}, serial: {telescope.serial}}}"
    return Sighting(
        serial=telescope.serial,
        status=elsewhere.get(telescope.serial, Answer()).status,
        model=telescope.model,
        hosts=telescope.hosts,
        clients=telescope.clients,
        locked=telescope.locked,
        what_to_do=f"not configured: add {entry} to telescopes in config.yaml",
    )
