"""The server's list, had once for all the deliveries that follow each other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.outbox.accounts import Account

# A home with hundreds of stacks asks a few times an hour instead of once for each; what another tool sends at
# the same moment would not be listed any sooner.
_RECENT = timedelta(minutes=2)


class ServerList:
    """Remembers the list for a moment; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, str] | None = None
        self._at: datetime | None = None
        self._rows: Sequence[ServerStack] = ()

    def ask(self, client: CrowdSkyClient, account: Account, now: datetime) -> Sequence[ServerStack]:
        """Ask the server. Raises as `CrowdSkyClient.list_stacks` does."""
        rows = client.list_stacks()
        with self._lock:
            self._of, self._at, self._rows = (account.address, account.user), now, rows
        return rows

    def recent(self, account: Account, now: datetime) -> Sequence[ServerStack] | None:
        """Give the list if it was had a moment ago; `None` when the server is to be asked."""
        with self._lock:
            if self._of != (account.address, account.user) or self._at is None:
                return None
            is_recent = timedelta(0) <= now - self._at <= _RECENT
            if not is_recent:
                self._of, self._at, self._rows = None, None, ()
            return self._rows if is_recent else None
