"""Leases on rows: who works on a stack's fetch or on a delivery, for as long as its process lives.

An upload over a slow line takes as long as it takes, so no fixed lease would fit: a short one is
renewed by a thread while the work goes on, and runs out soon after a process died.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from skyrelay.logs import get_logger
from skyrelay.store.engine import Store
from skyrelay.store.leases import RENEW_AGAIN_AFTER, RENEW_WITHIN

LEASE = timedelta(
    seconds=45
)  # take-over within 60 s of a crash; several renewals may fail before it runs out
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


@contextmanager
def renewal(store: Store, clock: Callable[[], datetime]) -> Iterator[tuple[Session, datetime]]:
    """Give a session that did not wait for long, and the time at which it writes, from which a lease runs."""
    with store.write(within=RENEW_WITHIN) as session:
        session.connection()  # here it waits for its turn
        yield session, clock()


def _keep(renew: Callable[[], None], finished: threading.Event, every: timedelta) -> None:
    pause = every
    while not finished.wait(pause.total_seconds()):
        try:
            renew()
        except SQLAlchemyError as error:
            _log.warning("a lease could not be renewed", problem=str(getattr(error, "orig", error)))
            pause = min(every, RENEW_AGAIN_AFTER)
        else:
            pause = every
