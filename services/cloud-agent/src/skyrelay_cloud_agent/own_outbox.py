"""The outbox of a `CloudCommunicator` that is used by itself: an SQLite file, and who empties it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import update

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.domain.states import DeliveryState
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.draining import send_due_measurements
from skyrelay.outbox.images import send_due_image
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Delivery
from skyrelay_cloud_agent.older_files import take_over_queue

DATABASE = "cloud_communicator.db"
_BATCH = 20  # between two looks at whether to stop


class OwnOutbox:
    """Opens the outbox in a folder; readable by its owner alone.

    Parameters
    ----------
    folder
        Of the node's data; made if need be. Several processes may share it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / DATABASE
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = os.open(folder / f".{DATABASE}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        self.store = Store(f"sqlite:///{file.resolve()}")
        migrate(self.store)
        if self._is_alone():
            self._take_up_lost()
        take_over_queue(folder, self.store, utc_now())

    def close(self) -> None:
        """Close it."""
        self.store.close()
        os.close(self._lock)

    def empty(
        self,
        client: CloudClient,
        credentials: NodeCredentials,
        account: Account,
        *,
        scrub_location: bool,
        should_pause: Callable[[], bool],
    ) -> None:
        """Send what is due, oldest first, until nothing is or ``should_pause`` says so."""
        send = partial(client.send_measurement, credentials)
        while not should_pause():
            done = send_due_measurements(self.store, account, send, clock=utc_now, most=_BATCH)
            if not done.more:
                break

        def send_image(file: Path, name: str) -> str | None:
            return client.send_image(credentials, file, name, scrub_location=scrub_location)

        while not should_pause() and send_due_image(self.store, account, send_image, clock=utc_now):
            pass

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _take_up_lost(self) -> None:
        """End the leases of a process that is no more: what it was sending is sent again at once."""
        with self.store.write() as session:
            lost = update(Delivery).where(Delivery.state == DeliveryState.SENDING)
            session.execute(lost.values(lease_until=utc_now()))


def paused_after(seconds: float, is_stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Give a question that is answered with yes after a time, or when the thread is to stop."""
    end_s = time.monotonic() + seconds
    return lambda: is_stopping() or time.monotonic() > end_s
