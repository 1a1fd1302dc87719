"""The audit log: one row for each step that anything took, in the same transaction. Written by all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class AuditEntry(Base):
    """Who did what to which thing, when and why."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_subject_kind_subject_id_at", "subject_kind", "subject_id", "at"),
        Index("ix_audit_log_subject_kind_at", "subject_kind", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]  # the service; `owner`, `token NAME`, `anybody` of the gateway; `person` at a command
    subject_kind: Mapped[str]  # block | delivery | stack | telescope | …
    subject_id: Mapped[int | None]
    event: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str | None]
    reason: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any] | None]
