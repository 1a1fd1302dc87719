"""At most one holds a telescope; who was too late finds out before anything is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from skyrelay.store.engine import Store
from skyrelay.store.leases import (
    LEASE,
    Lease,
    LeaseLost,
    check_lease,
    release_lease,
    renew_lease,
    take_lease,
)
from skyrelay.store.tables import Telescope
from support.recorded_night import RecordedNight

_NOW = datetime(2025, 3, 27, 4, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@pytest.fixture
def telescope_id(store: Store) -> int:
    with store.write() as session:
        return RecordedNight(session).telescope().id


def take(store: Store, telescope_id: int, holder: str, now: datetime) -> Lease | None:
    with store.write() as session:
        return take_lease(session, telescope_id, holder, now)


def taken(store: Store, telescope_id: int, holder: str = "first", now: datetime = _NOW) -> Lease:
    lease = take(store, telescope_id, holder, now)
    assert lease is not None
    return lease


def held_until(store: Store) -> tuple[str | None, datetime | None]:
    with store.read() as session:
        row = session.execute(select(Telescope.lease_holder, Telescope.lease_until)).one()
    return row[0], row[1]


def test_a_free_telescope_can_be_taken(store: Store, telescope_id: int) -> None:
    assert taken(store, telescope_id) == Lease(telescope_id, "first", 1)
    assert held_until(store) == ("first", _NOW + LEASE)


def test_a_held_telescope_cannot_be_taken_until_the_lease_ends(store: Store, telescope_id: int) -> None:
    taken(store, telescope_id)
    assert take(store, telescope_id, "second", _NOW) is None
    assert take(store, telescope_id, "second", _NOW + LEASE - _TICK) is None
    assert take(store, telescope_id, "first", _NOW + LEASE - _TICK) is None, (
        "not even by its own holder twice"
    )
    assert taken(store, telescope_id, "second", _NOW + LEASE) == Lease(telescope_id, "second", 2)


def test_each_taking_raises_the_fence(store: Store, telescope_id: int) -> None:
    fences = [taken(store, telescope_id, "first", _NOW + number * LEASE).fence for number in range(4)]
    assert fences == [1, 2, 3, 4]


def test_telescopes_are_leased_each_for_itself(store: Store, telescope_id: int) -> None:
    with store.write() as session:
        other_id = RecordedNight(session).telescope("roof").id
    assert taken(store, telescope_id, "first").fence == 1
    assert taken(store, other_id, "second").fence == 1


def test_a_telescope_that_is_not_there_cannot_be_taken(store: Store) -> None:
    assert take(store, 99, "first", _NOW) is None


def test_a_renewed_lease_lasts_longer(store: Store, telescope_id: int) -> None:
    lease = taken(store, telescope_id)
    later = _NOW + LEASE - _TICK
    with store.write() as session:
        renew_lease(session, lease, later)
    assert held_until(store) == ("first", later + LEASE)
    assert take(store, telescope_id, "second", _NOW + LEASE) is None


def test_an_expired_lease_cannot_be_renewed(store: Store, telescope_id: int) -> None:
    lease = taken(store, telescope_id)
    with pytest.raises(LeaseLost, match="taken over"), store.write() as session:
        renew_lease(session, lease, _NOW + LEASE)


@pytest.mark.parametrize("next_holder", ["second", "first"])
def test_after_a_take_over_the_old_lease_is_worth_nothing(
    store: Store, telescope_id: int, next_holder: str
) -> None:
    """Not even under the same name: a worker that started again is another holder of the lease."""
    old = taken(store, telescope_id)
    new = taken(store, telescope_id, next_holder, _NOW + LEASE)
    with store.write() as session:
        check_lease(session, new)
        with pytest.raises(LeaseLost):
            check_lease(session, old)
        with pytest.raises(LeaseLost):
            renew_lease(session, old, _NOW + LEASE)
        release_lease(session, old)
    assert held_until(store) == (next_holder, _NOW + 2 * LEASE)


def test_a_released_telescope_is_free_at_once(store: Store, telescope_id: int) -> None:
    lease = taken(store, telescope_id)
    with store.write() as session:
        release_lease(session, lease)
    assert held_until(store) == (None, None)
    with store.read() as session, pytest.raises(LeaseLost):
        check_lease(session, lease)
    assert taken(store, telescope_id, "second").fence == 2


def test_the_lease_of_a_telescope_that_is_gone_is_lost(store: Store) -> None:
    with store.read() as session, pytest.raises(LeaseLost):
        check_lease(session, Lease(99, "first", 1))


def test_a_lease_of_a_clock_that_was_set_back_since_holds_nobody_off(store: Store, telescope_id: int) -> None:
    taken(store, telescope_id, now=_NOW + timedelta(hours=1))
    assert taken(store, telescope_id, "second", _NOW) == Lease(telescope_id, "second", 2)


def test_a_lease_of_another_host_whose_clock_is_a_little_ahead_is_respected(
    store: Store, telescope_id: int
) -> None:
    taken(store, telescope_id, now=_NOW + timedelta(seconds=59))
    assert take(store, telescope_id, "second", _NOW) is None
