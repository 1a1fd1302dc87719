"""The audit log as the API shows it: who did what to which thing, when and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, ConfigDict
from sqlalchemy import ColumnElement, Select, and_, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from skyrelay.store.tables import AuditEntry
from skyrelay_gateway.models import Page, View
from skyrelay_gateway.paging import PageRequest, cut


class AuditView(View):
    """One step that something took; ``event`` is "step" where a state changed, ``detail`` differs."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 4711,
                    "at": "2025-03-27T02:31:00Z",
                    "actor": "stacker",
                    "subject_kind": "block",
                    "subject_id": 7,
                    "event": "step",
                    "from_state": "stacking",
                    "to_state": "stacked",
                    "reason": "30 of 30 frames",
                    "detail": None,
                }
            ]
        },
    )

    id: int
    at: AwareDatetime
    actor: str
    subject_kind: str
    subject_id: int | None
    event: str
    from_state: str | None
    to_state: str | None
    reason: str
    detail: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What of the audit log is wanted; `None` does not confine it. Times are aware, ``until`` is left out."""

    subject_kind: str | None = None
    subject_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit(session: Session, page: PageRequest, filters: AuditFilters) -> Page[AuditView]:
    """List the audit log, the latest first; a cursor is the id of a row."""
    query = _confined(select(AuditEntry), filters)
    if page.after_id is not None:
        query = query.where(_follows(session, page.after_id))
    query = query.order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(page.limit + 1)
    rows, cursor = cut(session.scalars(query).all(), page.limit, lambda row: str(row.id))
    return Page(items=tuple(AuditView.model_validate(row) for row in rows), next_cursor=cursor)


def history_of(
    session: Session, subjects: Collection[tuple[str, Collection[int]]], most: int
) -> tuple[AuditView, ...]:
    """Give what happened to some things, the earliest first; of very much, the latest ``most`` steps."""
    ours = [
        and_(AuditEntry.subject_kind == kind, AuditEntry.subject_id.in_(ids)) for kind, ids in subjects if ids
    ]
    query = select(AuditEntry).where(or_(*ours)).order_by(AuditEntry.id.desc()).limit(most)
    return tuple(AuditView.model_validate(row) for row in reversed(session.scalars(query).all()))


def entries_after(session: Session, after_id: int, up_to: int | None, most: int) -> Sequence[AuditEntry]:
    """Give the next entries by id, without their details."""
    query = select(AuditEntry).where(AuditEntry.id > after_id).order_by(AuditEntry.id).limit(most)
    if up_to is not None:
        query = query.where(AuditEntry.id <= up_to)
    return session.scalars(query).all()


def _follows(session: Session, last_id: int) -> ColumnElement[bool]:
    """Tell what comes after a row in the list, by its id alone where it has been forgotten meanwhile."""
    last_at = session.scalar(select(AuditEntry.at).where(AuditEntry.id == last_id))
    if last_at is None:
        return AuditEntry.id < last_id
    # By time and not by id, as the filters are: an index gives both at once.
    return tuple_(AuditEntry.at, AuditEntry.id) < tuple_(
        literal(last_at, AuditEntry.at.type), literal(last_id)
    )


def _confined(query: Select[AuditEntry], filters: AuditFilters) -> Select[AuditEntry]:
    if filters.subject_kind is not None:
        query = query.where(AuditEntry.subject_kind == filters.subject_kind)
    if filters.subject_id is not None:
        query = query.where(AuditEntry.subject_id == filters.subject_id)
    if filters.since is not None:
        query = query.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        query = query.where(AuditEntry.at < filters.until)
    return query
