"""What can go wrong between us and CrowdSky; the type says what to do about it.

None of these ever carries the user's password, and words that came from the server are cleaned
and cut to 300 characters before they get here.
"""

# ruff: noqa: N818 - each names what the caller decides upon

from __future__ import annotations

from datetime import timedelta

from skyrelay.errors import AmbiguousError, PermanentError, TransientError


class CredentialsRefused(PermanentError):
    """The account's user name or password is missing or wrong: pause the account, keep the items."""


class QuotaExceeded(PermanentError):
    """The account is full, or the server takes no file of this size: pause the account, keep the items."""


class UploadRefused(PermanentError):
    """The server will not have this file, in its own words: sending it again would not help."""


class Unreachable(TransientError):
    """The server could not be reached, or broke off before anything was handed over."""


class UploadInterrupted(TransientError):
    """The connection broke while the file was being sent: the server cannot have it."""


class StackUnreadable(TransientError):
    """Our own file could not be read, or became shorter while it was being sent."""


class ServerBusy(TransientError):
    """The server asks us to come back later (``retry_after``, if it said when)."""


class ServerBroken(TransientError):
    """The server, or something in front of it, gave an answer that is not CrowdSky's.

    Parameters
    ----------
    message
        What came, in words for a person.
    retry_after
        How long it asked us to wait, if it did.
    may_be_kept
        Whether a whole file had been sent before this answer came. The file was most likely not
        taken; looking at the server's list before sending it again costs little.
    """

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, may_be_kept: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.may_be_kept = may_be_kept


class AnswerLost(AmbiguousError):
    """The whole file may have arrived, but its answer did not: look at the server's list first."""
