"""What goes wrong, one after the other."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from rich.console import Console

from skyrelay_simulators.chaos.machine import Machine
from skyrelay_simulators.chaos.mishaps import Event, Kind, Mishap
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.chaos.simulators import Simulators

_PAUSE_S = (0.6, 2.4)  # between two mishaps
_DOWN_S = (0.1, 1.0)  # how long a killed service stays away
_AWAY_S = 15.0  # how long a telescope is gone, or until all else has gone wrong
_REDIS_DOWN_S = 2.0
_HOUR_S = 3600


class Monkey:
    """Lets things go wrong, in the order of a plan.

    Parameters
    ----------
    spell_s
        How long a full disk, a locked database, a lost name, a wrong clock or a stopped service lasts.
    """

    def __init__(
        self,
        services: Services,
        simulators: Simulators,
        machine: Machine,
        serials: tuple[str, ...],
        spell_s: float,
        dice: random.Random,
        console: Console,
    ) -> None:
        self._services, self._simulators, self._serials = services, simulators, serials
        self._machine, self._spell_s = machine, spell_s
        self._dice, self._console = dice, console
        self.happened: Counter[str] = Counter()
        self._happen: dict[Event, Callable[[], None]] = {
            Event.WIPE_REDIS: services.wipe_redis,
            Event.RESTART_REDIS: self._restart_redis,
            Event.REBOOT_TELESCOPE: self._reboot,
            Event.TELESCOPE_LEAVES: self._leave,
            Event.FILL_DISK: partial(machine.fill_disk, spell_s),
            Event.LOCK_DATABASE: partial(machine.lock_database, spell_s),
            Event.LOSE_DNS: self._lose_name,
            Event.CLOCK_FORWARD: partial(self._jump, _HOUR_S),
            Event.CLOCK_BACK: partial(self._jump, -_HOUR_S),
        }

    def play(self, mishaps: Iterable[Mishap]) -> None:
        """Let all of it happen."""
        began = time.monotonic()
        for mishap in mishaps:
            time.sleep(self._dice.uniform(*_PAUSE_S))
            self._console.print(f"{time.monotonic() - began:6.1f} s  {mishap.name}", highlight=False)
            self._let_happen(mishap)
            self.happened[mishap.name] += 1
            self.revive()

    def revive(self) -> None:
        """Start what has ended by itself, as a supervisor does."""
        for name in self._services.ended():
            self._console.print(f"          {name} had ended by itself, and is started again")
            self._services.start(name)

    def help_by_hand(self) -> None:
        """Let frames go on that are held since the clock jumped, as they are until a person says so."""
        if self._machine.has(Kind.CLOCK) and (number := self._machine.release_held_frames()):
            self._console.print(f"          {number} frames were held for the clock: released by hand")

    def _let_happen(self, mishap: Mishap) -> None:
        if mishap.event is Event.KILL:
            self._kill(mishap.service)
        elif mishap.event is Event.FREEZE:
            self._services.freeze(mishap.service, self._spell_s)
        else:
            self._happen[mishap.event]()

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

    def _lose_name(self) -> None:
        self._machine.lose_names(lost=True)
        time.sleep(self._spell_s)
        self._machine.lose_names(lost=False)

    def _jump(self, offset_s: int) -> None:
        self._machine.set_clock(offset_s)
        time.sleep(self._spell_s)
        self._machine.set_clock(0)
