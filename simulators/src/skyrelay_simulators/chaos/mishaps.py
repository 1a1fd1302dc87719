"""What can go wrong, and a night's plan of it: pure, so that the same dice give the same night."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of mishaps, as ``--mishap`` names them."""

    KILL = "kill"
    FREEZE = "freeze"
    REDIS = "redis"
    TELESCOPE = "telescope"
    DISK = "disk"
    DATABASE = "database"
    DNS = "dns"
    CLOCK = "clock"


class Event(StrEnum):
    """What happens, in the words of the report; the first two name a service behind them."""

    KILL = "kill"
    FREEZE = "freeze"
    WIPE_REDIS = "wipe Redis"
    RESTART_REDIS = "restart Redis"
    REBOOT_TELESCOPE = "reboot a telescope"
    TELESCOPE_LEAVES = "a telescope leaves for a while"
    FILL_DISK = "fill the disk"
    LOCK_DATABASE = "lock the database"
    LOSE_DNS = "lose CrowdSky's name"
    CLOCK_FORWARD = "the clock jumps an hour ahead"
    CLOCK_BACK = "the clock jumps an hour back"


_ONCE: dict[Kind, Sequence[Event]] = {
    Kind.REDIS: (Event.WIPE_REDIS, Event.RESTART_REDIS, Event.RESTART_REDIS),
    Kind.TELESCOPE: (Event.REBOOT_TELESCOPE, Event.TELESCOPE_LEAVES),
    Kind.DISK: (Event.FILL_DISK,),
    Kind.DATABASE: (Event.LOCK_DATABASE,),
    Kind.DNS: (Event.LOSE_DNS,),
    Kind.CLOCK: (Event.CLOCK_FORWARD, Event.CLOCK_BACK),
}


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that goes wrong; ``service`` is empty where it is no service's."""

    event: Event
    service: str = ""

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.event} {self.service}".rstrip()


def plan_mishaps(
    kinds: Collection[Kind], services: Sequence[str], kills: int, dice: random.Random
) -> list[Mishap]:
    """Give a night's mishaps in the order in which they happen.

    Parameters
    ----------
    kills
        How often each service is killed; each is stopped and let go on (``freeze``) once.
    """
    mishaps = [*_of_services(kinds, services, kills)]
    for kind in Kind:
        mishaps += [Mishap(event) for event in _ONCE.get(kind, ()) if kind in kinds]
    dice.shuffle(mishaps)
    return mishaps


def _of_services(kinds: Collection[Kind], services: Sequence[str], kills: int) -> Iterator[Mishap]:
    for name in services:
        if Kind.KILL in kinds:
            yield from [Mishap(Event.KILL, name)] * kills
        if Kind.FREEZE in kinds:
            yield Mishap(Event.FREEZE, name)
