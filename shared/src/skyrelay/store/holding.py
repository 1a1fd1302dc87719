"""Hold a telescope's lease for as long as a piece of work takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.leases import (
    LEASE,
    RENEW_AGAIN_AFTER,
    RENEW_EVERY,
    RENEW_WITHIN,
    Lease,
    LeaseLost,
    check_lease,
    release_lease,
    renew_lease,
    take_lease,
)


class HeldLease:
    """A lease that a thread renews; `check` says whether it is still worth anything.

    A worker that was stopped (SIGSTOP) past its lease wakes with `check` raising: what is left of the
    lease is measured on the monotonic clock, from before the renewal that succeeded last.
    """

    def __init__(
        self, store: Store, lease: Lease, taken_at: float, *, renew_every: timedelta = RENEW_EVERY
    ) -> None:
        self.lease = lease
        self._store = store
        self._renew_every_s = renew_every.total_seconds()
        self._good_until = taken_at + LEASE.total_seconds()
        self._is_lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease-keeper", daemon=True)
        self._thread.start()

    def check(self, needed: timedelta = timedelta(0)) -> None:
        """Raise `LeaseLost` unless the lease is ours for at least ``needed``."""
        if self._is_lost or time.monotonic() + needed.total_seconds() >= self._good_until:
            raise LeaseLost(f"the lease on telescope {self.lease.telescope_id} is no longer ours")

    def check_write(self, session: Session) -> None:
        """Raise `LeaseLost` unless the lease is ours in the transaction of a write."""
        self.check()
        check_lease(session, self.lease)

    def close(self) -> None:
        """Stop renewing and give the telescope free."""
        self._stop.set()
        self._thread.join()
        with self._store.write() as session:
            release_lease(session, self.lease)

    def _renew(self) -> None:
        pause_s = self._renew_every_s
        while not self._stop.wait(pause_s):
            asked_at = time.monotonic()
            try:
                with self._store.write(within=RENEW_WITHIN) as session:
                    renew_lease(session, self.lease, utc_now())
            except LeaseLost:
                self._is_lost = True
                return
            except SQLAlchemyError as error:
                get_logger(__name__).warning("the lease could not be renewed", problem=str(error))
                pause_s = min(self._renew_every_s, RENEW_AGAIN_AFTER.total_seconds())
            else:
                pause_s = self._renew_every_s
                self._good_until = asked_at + LEASE.total_seconds()


@contextmanager
def held(store: Store, telescope_id: int, holder: str) -> Iterator[HeldLease | None]:
    """Hold a telescope's lease inside the ``with``; gives `None` when another holds it."""
    asked_at = time.monotonic()
    with store.write() as session:
        lease = take_lease(session, telescope_id, holder, utc_now())
    if lease is None:
        yield None
        return
    keeper = HeldLease(store, lease, asked_at)
    try:
        yield keeper
    finally:
        keeper.close()
