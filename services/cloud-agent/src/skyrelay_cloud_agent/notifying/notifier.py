"""Tells people, by Apprise: a thread of its own for each address, so that one that hangs holds up nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from skyrelay.apprise_sending import address_digest, send_notification
from skyrelay.errors import PermanentError, TransientError
from skyrelay.gateway_client import ask_gateway
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_cloud_agent.loop import Loop
from skyrelay_cloud_agent.notifying.notice_books import (
    Letter,
    forget_others,
    letters_due,
    note_failed,
    note_sightings,
    note_told,
)
from skyrelay_cloud_agent.notifying.sightings import Sighting, gone_seen, needs_seen, receipts_seen

LOOK = timedelta(seconds=30)
_STOP_S = 1.0
# For one look's messages; what takes longer goes on by itself. Far below what a turn may last (`Loop.turns`).
_SENDING = timedelta(seconds=20)

_log = get_logger(__name__)


class Notifier:
    """Keeps the owner told.

    Parameters
    ----------
    settings
        With ``notifications``, and the gateway, which knows what needs a person.
    store
        The services' database.
    clock
        Gives the aware time.
    look
        How long to wait between two looks.
    sending
        How long a look waits for its messages to be taken.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], datetime] = utc_now,
        look: timedelta = LOOK,
        sending: timedelta = _SENDING,
    ) -> None:
        self._settings, self._store, self._clock, self._look = settings, store, clock, look
        self._sending_s, self._on_their_way = sending.total_seconds(), dict[str, threading.Thread]()
        self._loop = Loop("notifications", self._turn)
        self.problem = ""

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End; a message that is on its way is left to the end of the process."""
        self._loop.tell_to_stop()
        self._loop.thread.join(_STOP_S)
        self._store.close()

    def _turn(self) -> timedelta:
        try:
            self.tell_what_is_new()
        except Exception:  # noqa: BLE001 - a database that is away must not end the thread; the log has it
            _log.exception("nobody could be told")
        return self._look

    def tell_what_is_new(self) -> None:
        """Look once, and send what is to be sent; an address that still has messages on their way is left."""
        seen, kinds = self._see()
        addresses = {url: address_digest(url) for url in self._settings.notifications.urls}
        for url, address in addresses.items():
            if not self._is_busy(address):
                with self._store.write() as session:
                    forget_others(session, addresses.values(), self._clock())
                    note_sightings(session, seen, kinds, address, self._clock())
                    letters = letters_due(session, address, self._clock())
                self._begin_sending(url, address, letters)
        self._wait_for_senders()

    def _is_busy(self, address: str) -> bool:
        thread = self._on_their_way.get(address)
        return thread is not None and thread.is_alive()

    def _begin_sending(self, url: SecretStr, address: str, letters: Sequence[Letter]) -> None:
        if letters:
            thread = threading.Thread(
                target=self._send_all, args=(url, letters), name=f"notifications {address}", daemon=True
            )
            self._on_their_way[address] = thread
            thread.start()

    def _wait_for_senders(self) -> None:
        until_s = time.monotonic() + self._sending_s
        for thread in self._on_their_way.values():
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _send_all(self, url: SecretStr, letters: Sequence[Letter]) -> None:
        try:
            for letter in letters:
                if not self._loop.is_stopping:
                    self._send(url, letter)
        except Exception:  # noqa: BLE001 - the books are out of reach: the log has it, and the next look tries again
            _log.exception("what was told cannot be noted")

    def _see(self) -> tuple[list[Sighting], frozenset[str]]:
        """Give what there is to tell, and the kinds of it that could be looked for."""
        wanted, now = self._settings.notifications, self._clock()
        seen, kinds = self._see_needs() if wanted.needs_you else ([], {"needs"})
        with self._store.read() as session:
            if wanted.telescope_gone:
                seen += gone_seen(session, self._settings, now)
            if wanted.receipt:
                seen += receipts_seen(session, self._settings, now)
        return seen, frozenset({*kinds, "gone", "receipt"})

    def _see_needs(self) -> tuple[list[Sighting], set[str]]:
        try:
            return list(needs_seen(ask_gateway(self._settings, "/api/v1/status")["needs_you"])), {"needs"}
        except (TransientError, PermanentError) as error:
            _log.info("what needs a person cannot be known now", problem=str(error))
            return [], set()

    def _send(self, url: SecretStr, letter: Letter) -> None:
        try:
            send_notification(url, letter.title, letter.text)
        except (TransientError, PermanentError) as error:
            self.problem = str(error)
            _log.warning("nobody was told", title=letter.title, problem=self.problem)
            with self._store.write() as session:
                note_failed(session, letter, self.problem, self._clock())
            return
        self.problem = ""
        with self._store.write() as session:
            note_told(session, letter, self._clock())
        _log.info("the owner was told", title=letter.title)

    def turns(self) -> bool:
        """Tell whether its work goes round."""
        return self._loop.turns()
