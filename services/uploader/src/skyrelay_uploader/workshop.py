"""What the uploader's use cases work with, put together once a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.queue.tasks import Message, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_uploader.archive import Archive

ACTOR = "uploader"
UPLOADS_AT_ONCE = 2  # more would only share the same line, and the server's patience
FETCHES_AT_ONCE = 2  # a telescope's Wi-Fi carries one; two telescopes are common


class Slots:
    """A number of places for long work; whoever finds none free goes away instead of waiting.

    The threads of the worker thus never all hang in slow transfers, and short tasks are always served.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Hold a place inside the ``with``; gives `False` when there is none."""
        held = self._free.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                self._free.release()


@dataclass(frozen=True, slots=True)
class Workshop:
    """The collaborators of a use case.

    Attributes
    ----------
    say
        Says "look" to a task's workers; see `skyrelay.queue.celery_app.nudge`.
    clock
        Gives the aware time.
    """

    settings: Settings
    store: Store
    say: Callable[[TaskName, Message], object]
    clock: Callable[[], datetime] = utc_now
    uploads: Slots = field(default_factory=lambda: Slots(UPLOADS_AT_ONCE))
    fetches: Slots = field(default_factory=lambda: Slots(FETCHES_AT_ONCE))
    confirmations: Slots = field(default_factory=lambda: Slots(1))

    @property
    def may_act(self) -> bool:
        """Whether the set-up is done: before, nothing is fetched and nothing leaves the house."""
        return self.settings.setup == "done"

    @property
    def may_send(self) -> bool:
        """Whether anything may be sent to CrowdSky at all."""
        return self.may_act and self.settings.crowdsky.enabled

    @property
    def archive(self) -> Archive:
        """The archive."""
        return Archive(self.settings.archive_path)

    def crowdsky(self) -> CrowdSkyClient:
        """Give a client of the configured account.

        Raises
        ------
        skyrelay.errors.ConfigurationError
            If its address or user name cannot be used.
        """
        account = self.settings.crowdsky
        return CrowdSkyClient(account.base_url, account.username, account.password)
