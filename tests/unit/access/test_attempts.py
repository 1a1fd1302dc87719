"""Whose wrong passwords are counted together, and whom they hold up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from skyrelay.access.attempts import book_attempt, forgive, source_of
from skyrelay.access.sessions import begin_session
from skyrelay.domain.login_delay import FREE_TRIES_OF_ALL, LONGEST_OF_ALL
from skyrelay.store.engine import Store
from skyrelay.store.tables import LoginAttempts, LoginSession

NOW = datetime(2026, 3, 1, 20, tzinfo=UTC)


def guess(store: Store, address: str, times: int, now: datetime = NOW) -> list[timedelta | None]:
    """Give the wait of each guess that follows at once on the one before."""
    with store.write() as session:
        return [book_attempt(session, source_of(session, address, None), now) for _ in range(times)]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "no address", True),
    ],
)
def test_one_machine_is_one_source_whatever_address_of_its_network_it_takes(
    store: Store, one: str, other: str, is_same: bool
) -> None:
    with store.read() as session:
        assert (source_of(session, one, None) == source_of(session, other, None)) is is_same


def test_a_crowd_of_addresses_waits_together_for_half_a_minute_at_the_most(store: Store) -> None:
    now, waits = NOW, []
    for number in range(FREE_TRIES_OF_ALL + 10):
        (wait,) = guess(store, f"198.51.100.{number}", 1, now)
        if wait is not None:
            waits.append(wait)
            now += wait
            assert guess(store, f"198.51.100.{number}", 1, now) == [None]
    assert waits[:5] == [timedelta(seconds=each) for each in (1, 2, 4, 8, 16)]
    assert max(waits) == LONGEST_OF_ALL


def test_a_browser_that_has_logged_in_before_does_not_wait_for_the_crowd(store: Store) -> None:
    with store.write() as session:
        forgive(session, source_of(session, "192.0.2.1", None), "its cookie", NOW)
    for number in range(FREE_TRIES_OF_ALL + 1):
        guess(store, f"198.51.100.{number}", 1)
    assert guess(store, "192.0.2.1", 1) != [None]
    with store.write() as session:
        assert book_attempt(session, source_of(session, "192.0.2.1", "its cookie"), NOW) is None
        made_up = source_of(session, "192.0.2.1", "another cookie")
        assert book_attempt(session, made_up, NOW) is not None, "a cookie that we did not give is none"


def test_what_was_wrong_a_day_ago_is_forgotten_and_leaves_no_row(store: Store) -> None:
    assert guess(store, "192.0.2.1", 6)[-1] is not None
    later = NOW + timedelta(hours=25)
    assert guess(store, "192.0.2.2", 5, later) == [None] * 5
    with store.read() as session:
        sources = session.scalars(select(LoginAttempts.source)).all()
    assert sorted(sources) == ["address:192.0.2.2", "all"]


def test_a_clock_that_is_put_back_locks_nobody_out(store: Store) -> None:
    assert guess(store, "192.0.2.1", 6)[-1] is not None
    years_ago = NOW - timedelta(days=20_000)
    assert guess(store, "192.0.2.1", 1, years_ago) == [timedelta(seconds=1)]
    assert guess(store, "192.0.2.1", 1, years_ago + timedelta(seconds=1)) == [None]


def test_neither_browsers_nor_logins_pile_up(store: Store) -> None:
    for number in range(120):
        now = NOW + timedelta(minutes=number)
        with store.write() as session:
            forgive(session, "address:192.0.2.1", f"cookie {number}", now)
            begin_session(session, now=now, address="192.0.2.1", browser="")
    with store.read() as session:
        known = session.scalar(select(func.count()).select_from(LoginAttempts))
        logins = session.scalars(select(LoginSession.last_seen_at)).all()
        assert source_of(session, "192.0.2.1", "cookie 119").startswith("browser:")
        assert source_of(session, "192.0.2.1", "cookie 0").startswith("address:")
    assert known == 50
    assert len(logins) == 100
    assert min(logins) == NOW + timedelta(minutes=20), "the ones used last stay"
