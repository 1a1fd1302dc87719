"""What every sender to an account has: the account, the memory of what was sent, the patience to look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from skyrelay.crowdsky.body import Progress
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import CrowdSkyError
from skyrelay.crowdsky.patience import Patience
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.service_books import ServiceBooks
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.service import utc_now

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends to an account.

    Attributes
    ----------
    client, ledger
        The account, and the memory of what was sent to it.
    books
        What the services owe or have delivered; `None`: nothing is known of services.
    scrub_location
        Whether the site's coordinates are removed first.
    look_again
        How long to wait for a stack to be listed whose answer was lost.
    listed_by
        How long after it was sent a stack may be missing in the server's list.
    patience, clock
        For tests of the waiting.
    bar
        Gives, for a name, what shows its progress.
    """

    client: CrowdSkyClient
    ledger: SentLedger
    books: ServiceBooks | None = None
    scrub_location: bool
    look_again: timedelta
    listed_by: timedelta
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], datetime] = utc_now
    bar: Callable[[str], Progress | None] = lambda _: None

    def list_rows(self) -> list[ServerStack]:
        """Ask for the server's list. Raises as `CrowdSkyClient.list_stacks` does."""
        return self.patience.call(self.client.list_stacks)

    def look_twice(
        self, find: Callable[[Sequence[ServerStack]], Found | None], said: str
    ) -> tuple[Found | None, str]:
        """Look for what was sent without an answer, wait, look again.

        Parameters
        ----------
        find
            Finds it in the server's list.
        said
            Why there was no answer.

        Returns
        -------
        tuple
            What was found, if anything was, and words on how it stands.
        """
        try:
            for wait in (timedelta(), self.look_again):
                self.patience.pause(wait.total_seconds())
                found = find(self.list_rows())
                if found is not None:
                    return found, f"{said}; the server lists it"
        except CrowdSkyError as error:
            said = f"{said}; then: {error}"
        return None, f"{said}; it is not listed so far, and may be there all the same: look again later"
