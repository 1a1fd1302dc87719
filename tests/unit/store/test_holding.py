"""A held lease is renewed while its holder lives, and is never trusted beyond what is left of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.leases import LEASE, Lease, LeaseLost, take_lease
from skyrelay.store.tables import Telescope
from support.recorded_night import RecordedNight
from support.waiting import eventually

_OFTEN = timedelta(seconds=0.05)


@pytest.fixture
def telescope_id(store: Store) -> int:
    with store.write() as session:
        return RecordedNight(session).telescope().id


@pytest.fixture
def lease(store: Store, telescope_id: int) -> Lease:
    return take(store, telescope_id, "first")


@pytest.fixture
def keeper(store: Store, lease: Lease) -> Iterator[HeldLease]:
    keeper = HeldLease(store, lease, time.monotonic(), renew_every=_OFTEN)
    yield keeper
    keeper.close()


def take(store: Store, telescope_id: int, holder: str, later: timedelta = timedelta(0)) -> Lease:
    with store.write() as session:
        lease = take_lease(session, telescope_id, holder, utc_now() + later)
    assert lease is not None
    return lease


def lasts(keeper: HeldLease, needed: timedelta = timedelta(0)) -> bool:
    try:
        keeper.check(needed)
    except LeaseLost:
        return False
    return True


def row(store: Store, telescope_id: int) -> Telescope:
    with store.read() as session:
        return session.get_one(Telescope, telescope_id)


def test_it_is_ours_inside_and_free_afterwards(store: Store, telescope_id: int) -> None:
    with held(store, telescope_id, "first") as keeper:
        assert keeper is not None
        keeper.check()
        keeper.check(LEASE / 2)
        with store.write() as session:
            keeper.check_write(session)
        assert row(store, telescope_id).lease_holder == "first"
        with held(store, telescope_id, "second") as refused:
            assert refused is None
    assert row(store, telescope_id).lease_holder is None
    with held(store, telescope_id, "second") as keeper:
        assert keeper is not None
        assert keeper.lease.fence == 2


def test_it_is_given_free_when_the_work_fails(store: Store, telescope_id: int) -> None:
    with pytest.raises(ZeroDivisionError), held(store, telescope_id, "first"):
        _ = 1 / 0
    assert row(store, telescope_id).lease_holder is None


def test_it_is_renewed_while_its_holder_lives(store: Store, telescope_id: int, keeper: HeldLease) -> None:
    until = row(store, telescope_id).lease_until
    assert until is not None
    eventually(lambda: (row(store, telescope_id).lease_until or until) > until)
    keeper.check()


def test_each_renewal_gives_the_whole_lease_again(store: Store, lease: Lease) -> None:
    nearly_over = time.monotonic() - LEASE.total_seconds() + 5.0
    keeper = HeldLease(store, lease, nearly_over, renew_every=_OFTEN)
    eventually(lambda: lasts(keeper, LEASE / 2), within_s=4)
    keeper.close()


def test_what_takes_longer_than_the_lease_is_not_begun(keeper: HeldLease) -> None:
    with pytest.raises(LeaseLost, match="no longer ours"):
        keeper.check(LEASE + timedelta(seconds=1))


def test_a_worker_that_was_stopped_past_its_lease_touches_nothing(store: Store, lease: Lease) -> None:
    """Its clock went on while it stood still, and nobody need have taken the telescope meanwhile."""
    keeper = HeldLease(store, lease, time.monotonic() - LEASE.total_seconds())
    with pytest.raises(LeaseLost):
        keeper.check()
    with store.write() as session, pytest.raises(LeaseLost):
        keeper.check_write(session)
    keeper.close()


def test_a_lease_that_was_taken_over_stops_the_next_write(
    store: Store, telescope_id: int, lease: Lease
) -> None:
    keeper = HeldLease(store, lease, time.monotonic())
    take(store, telescope_id, "second", later=LEASE)
    keeper.check()  # nothing has told it yet …
    with store.write() as session, pytest.raises(LeaseLost, match="taken over"):
        keeper.check_write(session)  # … but no write passes
    keeper.close()
    assert row(store, telescope_id).lease_holder == "second", "closing must not free what is another's"


def test_a_lease_that_was_taken_over_is_noticed_at_the_next_renewal(
    store: Store, telescope_id: int, keeper: HeldLease
) -> None:
    take(store, telescope_id, "second", later=2 * LEASE)

    eventually(lambda: not lasts(keeper), within_s=5)
    assert row(store, telescope_id).lease_holder == "second"
