"""What follows from each way to fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.cloud import errors as cloud
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    QuotaExceeded,
    ServerBroken,
    ServerBusy,
    StackUnreadable,
    Unreachable,
    UploadInterrupted,
    UploadRefused,
)
from skyrelay.errors import ConfigurationError, PermanentError, SkyrelayError
from skyrelay.fits_header import HeaderIncomplete, NotFits
from skyrelay.outbox.outcomes import (
    FIRST_DELAY,
    LONGEST_DELAY,
    QUOTA_PROBE,
    WRONG_PLACE_PROBE,
    Blame,
    GiveUp,
    Outcome,
    Pause,
    TryAgain,
    growing_delay,
    has_waited_enough,
    next_look,
    outcome_of,
)

NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CredentialsRefused("401"), Pause(None)),
        (ConfigurationError("crowdsky.base_url is no web address"), Pause(None)),
        (QuotaExceeded("full"), Pause(QUOTA_PROBE)),
        (UploadRefused("422"), GiveUp(server_said_so=True)),
        (NotFits("no FITS"), GiveUp(server_said_so=False)),
        (PermanentError("something else for good"), GiveUp(server_said_so=False)),
        (AnswerLost("sent, no answer"), TryAgain(FIRST_DELAY, ask_first=True, blame=Blame.UNSURE)),
        (Unreachable("away"), TryAgain(FIRST_DELAY, blame=Blame.LINE)),
        (UploadInterrupted("broke"), TryAgain(FIRST_DELAY, blame=Blame.LINE)),
        (ServerBusy("503"), TryAgain(FIRST_DELAY, blame=Blame.LINE)),
        (ServerBroken("redirect"), TryAgain(FIRST_DELAY, blame=Blame.LINE)),
        (ServerBroken("502", may_be_kept=True), TryAgain(FIRST_DELAY, blame=Blame.UNSURE)),
        (StackUnreadable("our disk"), TryAgain(FIRST_DELAY)),
        (HeaderIncomplete("our file"), TryAgain(FIRST_DELAY)),
        (cloud.CredentialsRefused("401"), Pause(None)),
        (cloud.ItemRefused("400"), GiveUp(server_said_so=True)),
        (cloud.CloudRefused("404: another server"), Pause(WRONG_PLACE_PROBE)),
        (cloud.ImageUnreadable("gone"), GiveUp(server_said_so=False)),
        (cloud.CloudAway("no connection"), TryAgain(FIRST_DELAY, blame=Blame.LINE)),
        (cloud.CloudBroken("500"), TryAgain(FIRST_DELAY, blame=Blame.UNSURE)),
        (cloud.CloudAnswerLost("image"), TryAgain(FIRST_DELAY, ask_first=True, blame=Blame.UNSURE)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_type_of_an_error_decides(error: SkyrelayError, outcome: Outcome) -> None:
    assert outcome_of(error, attempts=0, jitter=0.0) == outcome


def after(error: SkyrelayError, attempts: int) -> timedelta:
    outcome = outcome_of(error, attempts, jitter=0.0)
    assert isinstance(outcome, TryAgain)
    return outcome.after


def test_the_server_may_say_when() -> None:
    assert after(ServerBusy("503", retry_after=timedelta(hours=3)), 0) == timedelta(hours=3)
    assert after(ServerBusy("503", retry_after=timedelta(seconds=2)), 0) == timedelta(seconds=2)


def test_a_server_that_says_soon_for_ever_is_not_believed_for_ever() -> None:
    soon = ServerBusy("503", retry_after=timedelta(seconds=1))
    assert after(soon, 10) == LONGEST_DELAY


@given(attempts=st.integers(0, 10_000), jitter=st.floats(0, 1))
def test_waits_lie_between_half_a_minute_and_an_hour_and_grow(attempts: int, jitter: float) -> None:
    wait = growing_delay(attempts, jitter)
    assert FIRST_DELAY <= wait <= LONGEST_DELAY
    assert growing_delay(attempts + 1, 0.0) >= wait or wait == LONGEST_DELAY


def test_what_failed_together_does_not_come_back_together() -> None:
    assert growing_delay(1, 0.0) == timedelta(seconds=60)
    assert growing_delay(1, 1.0) == timedelta(seconds=90)


def test_looks_at_the_list_become_rarer() -> None:
    waits = [next_look(timedelta(minutes=waited), confirm_s=60) for waited in (0, 1, 8, 60, 6000)]
    assert waits == [timedelta(minutes=wait) for wait in (1, 1, 2, 15, 60)]


def test_the_deadline_is_counted_in_hours() -> None:
    assert not has_waited_enough(NOW, NOW + timedelta(hours=23, minutes=59), 24)
    assert has_waited_enough(NOW, NOW + timedelta(hours=24), 24)
