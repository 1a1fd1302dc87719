"""What follows from a failed delivery: the exception's type decides, and how often it was tried. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from skyrelay.cloud import errors as cloud
from skyrelay.crowdsky.errors import (
    CredentialsRefused,
    QuotaExceeded,
    ServerBroken,
    StackUnreadable,
    UploadRefused,
)
from skyrelay.errors import AmbiguousError, ConfigurationError, SkyrelayError, TransientError
from skyrelay.fits_header import FitsError

FIRST_DELAY = timedelta(seconds=30)  # what a restarting server or router takes
LONGEST_DELAY = timedelta(hours=1)  # a server that comes back in the night still gets the night
QUOTA_PROBE = timedelta(hours=6)  # room appears when a person makes some
WRONG_PLACE_PROBE = timedelta(hours=1)  # an address that answers and is not the cloud's, for now
NEEDS_YOU_AFTER = 12  # attempts, some eight hours of them; it is still tried by itself
GIVE_UP_AFTER_FAULTS = 8  # of one item in a row while others pass: some two hours of them
_TRUSTED_RETRY_AFTERS = 3  # a server that keeps asking for one second is not believed for ever


class Blame(Enum):
    """Whose trouble it is."""

    LINE = auto()  # the server's or the line's: everything waits
    UNSURE = auto()  # this item's or the server's: several in a row tell
    ITEM = auto()  # ours, with this item: the others go on


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Later, by itself.

    Attributes
    ----------
    after
        How long this item waits.
    ask_first
        The server may have it: it is looked for there before it is sent again.
    blame
        What it says about the destination.
    asked
        How long the server asked us to wait, if it did.
    """

    after: timedelta
    ask_first: bool = False
    blame: Blame = Blame.ITEM
    asked: timedelta | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Not again by itself; ``server_said_so``: the account works, it is this item that is not wanted."""

    server_said_so: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """The account takes nothing now; ``probe_after`` is `None` when only a person can change that."""

    probe_after: timedelta | None


Outcome = TryAgain | GiveUp | Pause


def outcome_of(error: SkyrelayError, attempts: int, jitter: float) -> Outcome:
    """Decide what happens to a delivery after an error.

    Parameters
    ----------
    attempts
        How often it was tried before this time.
    jitter
        A random number from 0 to 1, so that what failed together does not come back together.
    """
    match error:
        case AmbiguousError():
            return TryAgain(growing_delay(attempts, jitter), ask_first=True, blame=Blame.UNSURE)
        case TransientError():
            after = wait_asked(error.retry_after, attempts, jitter)
            return TryAgain(after, blame=_blame(error), asked=error.retry_after)
        case _:
            return _for_good(error)


def growing_delay(
    attempts: int, jitter: float, longest: timedelta = LONGEST_DELAY, first: timedelta = FIRST_DELAY
) -> timedelta:
    """Give the wait after an attempt that was preceded by ``attempts``: doubling, up to half as much more.

    Examples
    --------
    >>> growing_delay(2, 0.0)
    datetime.timedelta(seconds=120)
    """
    doublings = min(attempts, 20)  # beyond that every sensible `longest` is passed
    return min(first * (1 << doublings) * (1 + jitter / 2), longest)


def wait_asked(asked: timedelta | None, attempts: int, jitter: float) -> timedelta:
    """Give the wait that a server asked for, but not less than the growing one for ever."""
    if asked is None:
        return growing_delay(attempts, jitter)
    wait = asked * (1 + jitter / 10)
    return wait if attempts < _TRUSTED_RETRY_AFTERS else max(wait, growing_delay(attempts, jitter))


def next_look(waited: timedelta, confirm_s: float) -> timedelta:
    """Give the wait before the server's list is looked at again: a quarter of the time waited so far.

    Parameters
    ----------
    waited
        Since it was sent or accepted.
    confirm_s
        Seconds between two looks at first.
    """
    return min(max(waited / 4, timedelta(seconds=confirm_s)), LONGEST_DELAY)


def has_waited_enough(since: datetime, now: datetime, confirm_after_h: float) -> bool:
    """Tell whether the server has had all the time that its queue is given to list a stack."""
    return now - since >= timedelta(hours=confirm_after_h)


def _for_good(error: SkyrelayError) -> GiveUp | Pause:
    match error:
        case CredentialsRefused() | cloud.CredentialsRefused() | ConfigurationError():
            return Pause(None)
        case QuotaExceeded():
            return Pause(QUOTA_PROBE)
        case UploadRefused() | cloud.ItemRefused():
            return GiveUp(server_said_so=True)
        case cloud.CloudRefused():
            return Pause(WRONG_PLACE_PROBE)
        case _:
            return GiveUp(server_said_so=False)


def _blame(error: TransientError) -> Blame:
    match error:
        case StackUnreadable() | FitsError():
            return Blame.ITEM
        case ServerBroken(may_be_kept=True) | cloud.CloudBroken():
            return Blame.UNSURE
        case _:
            return Blame.LINE
