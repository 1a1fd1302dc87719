"""Leases on rows: who works on a stack's fetch or on a delivery, for as long as its process lives.

An upload over a slow line takes as long as it takes, so no fixed lease would fit: a short one is
renewed by a thread while the work goes on, and runs out soon after a process died.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy.exc import OperationalError

from skyrelay.logs import get_logger

LEASE = timedelta(seconds=45)  # take-over within 60 s of a crash; three renewals may fail before it runs out
RENEW_EVERY = timedelta(seconds=12)

_log = get_logger(__name__)


@contextmanager
def renewing(renew: Callable[[], None], every: timedelta = RENEW_EVERY) -> Iterator[None]:
    """Call ``renew`` again and again inside the ``with``, in a thread."""
    finished = threading.Event()
    arguments = (renew, finished, every)
    keeper = threading.Thread(target=_keep, args=arguments, name="lease-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        finished.set()
        keeper.join()


def _keep(renew: Callable[[], None], finished: threading.Event, every: timedelta) -> None:
    while not finished.wait(every.total_seconds()):
        try:
            renew()
        except OperationalError as error:
            _log.warning("a lease could not be renewed", problem=str(error.orig))
