"""Settings that a person changed on the page, every version of each. Written by the gateway and the CLI."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.store.tables.base import Base


class SettingChange(Base):
    """One setting, changed once. The newest row of a key is in force, where file and environment leave it.

    Rows are only ever added: the greatest ``id`` is the version of the whole.
    """

    __tablename__ = "setting_changes"
    __table_args__ = (Index("ix_setting_changes_key_id", "key", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]  # such as stacking.when
    value: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))  # null: unset, the default counts
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]
