"""Telescopes: identity, address, last known state and the lease. Written by the stacker.

Rows of configured telescopes are also laid down by whichever service starts first.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from skyrelay.domain.states import TelescopeState
from skyrelay.store.tables.base import Base


class Telescope(Base):
    """One telescope.

    ``serial`` is its identity; it is null until a configured telescope was first in touch. A
    telescope that is known from its frames only has a serial and no ``host``.
    """

    __tablename__ = "telescopes"

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    host: Mapped[str | None]  # as configured
    found_host: Mapped[str | None]  # where it answered after it had moved; null while it is at `host`
    rpc_port: Mapped[int]
    http_port: Mapped[int]
    smb_port: Mapped[int]
    smb_share: Mapped[str]
    key_path: Mapped[str | None]  # where the key lies, never the key
    timezone: Mapped[str]  # an IANA name, or "auto"
    # As it told us itself. Somebody's home: for the dawn, never for an answer, a log or a page.
    latitude_deg: Mapped[float | None]
    longitude_deg: Mapped[float | None]
    zone: Mapped[str | None]  # IANA name of its clock's zone, as it told us
    model: Mapped[str | None]
    firmware_int: Mapped[int | None]
    firmware: Mapped[str | None]

    state: Mapped[str] = mapped_column(default=TelescopeState.UNKNOWN)
    state_reason: Mapped[str] = mapped_column(default="not asked yet")
    state_since: Mapped[datetime | None]
    reach: Mapped[str | None]  # how far it could be reached when last asked; null: never asked
    last_seen_at: Mapped[datetime | None]
    idle_since: Mapped[datetime | None]
    clock_checked_at: Mapped[datetime | None]  # of the last check that found its clock right
    clock_wrong_since: Mapped[datetime | None]  # when a check first found it wrong; null while it is right
    battery_percent: Mapped[int | None]
    charging: Mapped[bool | None]
    temperature_c: Mapped[float | None]
    free_mb: Mapped[int | None]

    inventory_started_at: Mapped[datetime | None]  # of the last inventory that was completed
    inventory_finished_at: Mapped[datetime | None]
    inventory_error: Mapped[str | None]  # of the last try, if it failed
    inventory_asked_at: Mapped[datetime | None]  # when a person last wanted one
    looked_at: Mapped[datetime | None]  # when it was last asked, whatever came of it
    served_at: Mapped[datetime | None]  # when a worker last had a turn at stacking on it
    next_look_at: Mapped[datetime | None]  # when the reconciler wants this telescope asked again

    # A person's: added through the gateway, so that it is in no file; no longer wanted.
    added_at: Mapped[datetime | None]
    forgotten_at: Mapped[datetime | None]

    lease_holder: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    lease_fence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]

    @property
    def address(self) -> str | None:
        """The host at which it is spoken to: where it was found, else where it is configured."""
        return self.found_host or self.host
