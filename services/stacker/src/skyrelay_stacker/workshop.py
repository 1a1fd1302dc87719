"""What the stacker's use cases work with, put together once a process."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from typing import Protocol, Self

from celery import Celery

from skyrelay.queue.celery_app import nudge
from skyrelay.queue.live import LiveEvent, tell
from skyrelay.queue.tasks import Message, TaskName
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block


class Flag(Protocol):
    """Something that is set once, seen by all processes of the worker."""

    def is_set(self) -> bool:
        """Tell whether it was set."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """The collaborators of a use case.

    Attributes
    ----------
    shutting_down
        Set when the worker is told to stop: a device task then leaves the run going and returns.
    """

    settings: Settings
    store: Store
    celery: Celery
    shutting_down: Flag

    def in_force(self) -> Self:
        """Give the same with the settings that count now, for one unit of work."""
        return replace(self, settings=settings_in_force(self.settings, self.store, of=()))

    @property
    def may_act(self) -> bool:
        """Whether the set-up is done: before, telescopes are looked at when asked, and nothing is changed."""
        return self.settings.is_set_up

    @property
    def holder(self) -> str:
        """Who holds a lease: this process of this host."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def nudge(self, task: TaskName, message: Message, about: str | None = None) -> bool:
        """Say "look"; give whether the broker took it (if not, the reconciler says it later)."""
        return nudge(self.celery, task, message, about)

    def tell(self, block: Block) -> None:
        """Tell whoever listens how far a block is."""
        event = LiveEvent(
            block_id=block.id, telescope_id=block.telescope_id, state=block.state, percent=block.percent
        )
        tell(self.settings.redis, event)
