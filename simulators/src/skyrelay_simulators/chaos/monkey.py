"""What goes wrong, and in which order."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console

from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.chaos.simulators import Simulators

_PAUSE_S = (0.6, 2.4)  # between two mishaps
_DOWN_S = (0.1, 1.0)  # how long a killed service stays away
_AWAY_S = 15.0  # how long a telescope is gone, or until all else has gone wrong
_REDIS_DOWN_S = 2.0


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that goes wrong."""

    name: str
    happen: Callable[[], None]


class Monkey:
    """Lets things go wrong, in an order that the dice decide.

    Parameters
    ----------
    kills
        How often each service is killed.
    """

    def __init__(
        self,
        services: Services,
        simulators: Simulators,
        serials: tuple[str, ...],
        kills: int,
        dice: random.Random,
        console: Console,
    ) -> None:
        self._services, self._simulators, self._serials = services, simulators, serials
        self._dice, self._console = dice, console
        self.happened: Counter[str] = Counter()
        self._mishaps = [*self._all(kills)]
        dice.shuffle(self._mishaps)

    def play(self) -> None:
        """Let all of it happen."""
        began = time.monotonic()
        for mishap in self._mishaps:
            time.sleep(self._dice.uniform(*_PAUSE_S))
            self._console.print(f"{time.monotonic() - began:6.1f} s  {mishap.name}", highlight=False)
            mishap.happen()
            self.happened[mishap.name] += 1
            for name in self._services.ended():
                self._console.print(f"          {name} had ended by itself, and is started again")
                self._services.start(name)

    def _all(self, kills: int) -> Iterator[Mishap]:
        for name in self._services.names:
            for _ in range(kills):
                yield Mishap(f"kill {name}", lambda name=name: self._kill(name))  # type: ignore[misc] # a default binds it
        yield Mishap("wipe Redis", self._services.wipe_redis)
        for _ in range(2):
            yield Mishap("restart Redis", self._restart_redis)
        yield Mishap("reboot a telescope", self._reboot)
        yield Mishap("a telescope leaves for a while", self._leave)

    def _kill(self, name: str) -> None:
        self._services.kill(name, with_children=self._dice.random() < 0.5)
        time.sleep(self._dice.uniform(*_DOWN_S))
        self._services.start(name)

    def _restart_redis(self) -> None:
        self._services.stop_redis()
        time.sleep(_REDIS_DOWN_S)
        self._services.start_redis()

    def _reboot(self) -> None:
        self._simulators.reboot(self._dice.choice(self._serials))

    def _leave(self) -> None:
        serial = self._dice.choice(self._serials)
        self._simulators.switch_off(serial)
        time.sleep(_AWAY_S)
        self._simulators.switch_on(serial)
