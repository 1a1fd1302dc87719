"""A lease is renewed for as long as its work goes on, however the database fares meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from skyrelay.outbox import leases as on_rows
from skyrelay.outbox.leases import renewal, renewing
from skyrelay.store import leases as on_telescopes
from skyrelay.store.engine import Store
from support.waiting import eventually

_OFTEN = timedelta(seconds=0.02)
_NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "failure", [OperationalError("", {}, Exception("locked")), PoolTimeout("all are lent")]
)
def test_a_renewal_that_fails_is_not_the_last(failure: Exception) -> None:
    tries = []

    def renew() -> None:
        tries.append(1)
        raise failure

    with renewing(renew, _OFTEN):
        eventually(lambda: len(tries) > 2)


@pytest.mark.parametrize(
    ("lease", "every"),
    [(on_rows.LEASE, on_rows.RENEW_EVERY), (on_telescopes.LEASE, on_telescopes.RENEW_EVERY)],
)
def test_three_renewals_can_wait_their_whole_time_in_vain_and_a_fourth_end_in_time(
    lease: timedelta, every: timedelta
) -> None:
    one_more = on_telescopes.RENEW_WITHIN + on_telescopes.RENEW_AGAIN_AFTER
    assert every + 3 * one_more + on_telescopes.RENEW_WITHIN <= lease


def test_a_takeover_within_a_minute_of_a_kill_stays_possible() -> None:
    assert timedelta(seconds=45) >= on_rows.LEASE


def test_a_lease_runs_from_when_it_is_written_down(store: Store) -> None:
    """Waiting for another writer takes time; the clock is looked at afterwards."""
    is_in_transaction = []

    def clock() -> datetime:
        with pytest.raises(OperationalError), store.write(within=_OFTEN) as session:
            session.connection()
        is_in_transaction.append(True)
        return _NOW

    with renewal(store, clock) as (_, now):
        assert now == _NOW
    assert is_in_transaction
