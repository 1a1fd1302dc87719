"""What can go wrong between us and CrowdSky; the type says what to do about it.

Each is one of Skyrelay's kinds (transient, permanent, ambiguous) and a `RuntimeError` as well, which
is what scripts written for the older client catch. None of these ever carries the user's password, and
words that came from the server are cleaned and cut to 300 characters before they get here.
"""

# ruff: noqa: N818 - each names what the caller decides upon

from __future__ import annotations

from datetime import timedelta

from skyrelay.errors import AmbiguousError, PermanentError, SkyrelayError, TransientError


class CrowdSkyError(SkyrelayError, RuntimeError):
    """Anything that goes wrong with CrowdSky."""


class CredentialsRefused(CrowdSkyError, PermanentError):
    """The account's user name or password is missing or wrong: pause the account, keep the items."""


class QuotaExceeded(CrowdSkyError, PermanentError):
    """The account is full, or the server takes no file of this size: pause the account, keep the items."""


class FileTooLarge(QuotaExceeded):
    """The server, or a proxy in front of it, takes no body of this size (413)."""


class UploadRefused(CrowdSkyError, PermanentError):
    """The server will not have this file, in its own words: sending it again would not help."""


class StackMissing(CrowdSkyError, PermanentError):
    """The server has no stack of that chunk key."""


class SessionUnknown(CrowdSkyError, PermanentError):
    """The server does not know that session of raw frames (any more): start another one."""


class Unreachable(CrowdSkyError, TransientError):
    """The server could not be reached, or broke off before anything was handed over."""


class UploadInterrupted(CrowdSkyError, TransientError):
    """The connection broke while the file was being sent: the server cannot have it."""


class StackUnreadable(CrowdSkyError, TransientError):
    """Our own file could not be read, or became shorter while it was being sent."""


class DownloadIncomplete(CrowdSkyError, TransientError):
    """Less arrived than there is; what did is kept, and resumed by the next call."""


class NotAStack(CrowdSkyError, TransientError):
    """What arrived is no whole FITS file; nothing of it was kept."""


class ServerBusy(CrowdSkyError, TransientError):
    """The server asks us to come back later (``retry_after``, if it said when)."""


class ServerBroken(CrowdSkyError, TransientError):
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


class AnswerLost(CrowdSkyError, AmbiguousError):
    """The whole file may have arrived, but its answer did not: look at the server's list first."""


def may_have_arrived(error: SkyrelayError) -> bool:
    """Tell whether the server may have done what it was asked, though the answer does not say so."""
    return isinstance(error, AmbiguousError) or (isinstance(error, ServerBroken) and error.may_be_kept)
