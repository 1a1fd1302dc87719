"""What comes out of the database is the aware UTC time that went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from sqlalchemy import select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError

from skyrelay.store.columns import UtcDateTime
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry
from support.strategies import instants

_MOMENT = datetime(2025, 3, 27, 1, 15, 32, 955368, tzinfo=UTC)


def entry(at: datetime) -> AuditEntry:
    return AuditEntry(at=at, actor="test", subject_kind="block", event="step")


@settings(deadline=None)
@given(instants)
def test_an_instant_survives_the_way_there_and_back(instant: datetime) -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    stored = column.process_bind_param(instant, dialect)
    assert stored is not None
    assert stored.tzinfo is None
    found = column.process_result_value(stored, dialect)
    # Python calls an instant of the hour that comes twice unequal to the same in another zone.
    assert found == instant.astimezone(UTC)
    assert found.tzinfo is UTC


def test_a_local_time_is_stored_as_utc(store: Store) -> None:
    with store.write() as session:
        session.add(entry(_MOMENT.astimezone(timezone(timedelta(hours=9)))))
    with store.read() as session:
        found = session.scalars(select(AuditEntry.at)).one()
        raw = session.scalar(text("SELECT at FROM audit_log"))
    assert found == _MOMENT
    assert found.tzinfo is UTC
    assert str(raw) == "2025-03-27 01:15:32.955368"


def test_instants_are_compared_as_such(store: Store) -> None:
    later = (_MOMENT + timedelta(minutes=1)).astimezone(
        timezone(timedelta(hours=-4))
    )  # an earlier wall clock
    with store.write() as session:
        session.add_all([entry(later), entry(_MOMENT)])
    with store.read() as session:
        in_order = session.scalars(select(AuditEntry.at).order_by(AuditEntry.at)).all()
        from_later_on = session.scalars(select(AuditEntry.at).where(AuditEntry.at >= later)).all()
    assert list(in_order) == [_MOMENT, later]
    assert list(from_later_on) == [later]


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with store.read() as session, pytest.raises(StatementError, match="has no time zone"):
        session.scalar(select(AuditEntry).where(AuditEntry.at == _MOMENT.replace(tzinfo=None)))


def test_no_time_stays_no_time() -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None
