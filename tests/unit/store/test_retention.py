"""What of the past is forgotten, and what never is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from skyrelay.store.engine import Store
from skyrelay.store.retention import forget_history
from skyrelay.store.tables import AuditEntry, Run
from skyrelay.store.transitions import audit
from support.recorded_night import RecordedNight

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def steps(store: Store, *ages: timedelta) -> None:
    with store.write() as session:
        for age in ages:
            audit(session, now=NOW - age, actor="stacker", subject=("block", 1), event="step")


def ages(store: Store) -> list[timedelta]:
    with store.read() as session:
        return [NOW - at for at in session.scalars(select(AuditEntry.at).order_by(AuditEntry.id))]


def test_steps_older_than_the_limit_go_and_the_others_stay(store: Store) -> None:
    steps(store, 4 * YEAR, 2 * YEAR, timedelta(days=1))
    with store.write() as session:
        assert forget_history(session, NOW - 3 * YEAR) == 1
    assert ages(store) == [2 * YEAR, timedelta(days=1)]


def test_many_old_steps_go_in_portions_the_oldest_first(store: Store) -> None:
    steps(store, 6 * YEAR, 5 * YEAR, 4 * YEAR, YEAR)
    with store.write() as session:
        assert forget_history(session, NOW - 3 * YEAR, most=2) == 2
    assert ages(store) == [4 * YEAR, YEAR]


def test_no_number_of_a_step_is_given_twice(store: Store) -> None:
    """A live page's place in the log is a number: it would not see a step whose number it has seen."""
    steps(store, 5 * YEAR, 4 * YEAR)
    place = latest(store)
    with store.write() as session:
        forget_history(session, NOW - 3 * YEAR)
    steps(store, timedelta(0))
    assert latest(store) > place
    assert ages(store) == [4 * YEAR, timedelta(0)]


def latest(store: Store) -> int:
    with store.read() as session:
        return session.scalars(select(AuditEntry.id).order_by(AuditEntry.id.desc())).first() or 0


@pytest.mark.parametrize(("ended_ago", "left"), [(4 * YEAR, 0), (YEAR, 1), (None, 1)])
def test_a_run_goes_once_it_has_ended_long_ago(store: Store, ended_ago: timedelta | None, left: int) -> None:
    with store.write() as session:
        telescope = RecordedNight(session).telescope()
        session.flush()
        ended_at = None if ended_ago is None else NOW - ended_ago
        session.add(
            Run(telescope_id=telescope.id, night="2020-01-01", began_at=NOW - 5 * YEAR, ended_at=ended_at)
        )
    with store.write() as session:
        forget_history(session, NOW - 3 * YEAR)
        assert session.scalar(select(func.count()).select_from(Run)) == left
