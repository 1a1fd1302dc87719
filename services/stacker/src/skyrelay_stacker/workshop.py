"""What the stacker's use cases work with, put together once a process."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Protocol

import structlog
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError

from skyrelay.queue.celery_app import nudge
from skyrelay.queue.tasks import Message, TaskName
from skyrelay.settings import Settings
from skyrelay.store.engine import Store

_log = structlog.stdlib.get_logger(__name__)


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

    @property
    def holder(self) -> str:
        """Who holds a lease: this process of this host."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def nudge(self, task: TaskName, message: Message) -> None:
        """Say "look"; where the broker is away the reconciler says it later."""
        try:
            nudge(self.celery, task, message)
        except BrokerError as error:
            _log.warning(
                "the broker is away; the reconciler will say it again", task=task, problem=str(error)
            )
