"""The errors that decide what happens next: their type is the retry decision.

An adapter catches what its library raises and wraps it (``raise … from error``)
into exactly one of these, with a message that names the thing and what to do.
"""

from __future__ import annotations

from datetime import timedelta


class SkyrelayError(Exception):
    """Anything that Skyrelay raises on purpose."""


class TransientError(SkyrelayError):
    """It may work later: try again.

    Parameters
    ----------
    message
        What went wrong, in words for a person.
    retry_after
        How long the other side asked us to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(SkyrelayError):
    """It will not work by itself: tell the person what to do."""


class AmbiguousError(SkyrelayError):
    """It may have been done already: ask the other side before doing it again."""


class RefusedByRule(SkyrelayError):  # noqa: N818 - it is a decision, not a fault
    """One of our own rules says no (observing, leased elsewhere, clock wrong)."""


class ConfigurationError(PermanentError):
    """A setting is wrong: the process stops and names it."""
