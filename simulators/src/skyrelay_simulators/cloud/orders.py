"""What the controls of the simulated cloud are told, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from skyrelay_simulators.cloud.records import StoredInterrupt
from skyrelay_simulators.cloud.storage import EVERY_NODE


class PlanOrder(BaseModel):
    """A plan to give out from now on.

    Attributes
    ----------
    items
        As the API gives them; nothing is checked, so that bad plans can be tried.
    night
        Local date of the evening, ``YYYY-MM-DD``; today's in UTC when left out.
    node_id
        Whose it is; everybody's when left out.
    plan_id
        Its name; made up when left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: list[dict[str, Any]]
    night: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    node_id: str = EVERY_NODE
    plan_id: str = ""


class InterruptOrder(BaseModel):
    """An interrupt to broadcast.

    Attributes
    ----------
    ra_deg, dec_deg
        Not checked: the real server took an RA of 999.
    expires_hours
        Hours from now; negative for one that has expired.
    node_ids
        Whom it is for; empty: everybody.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ra_deg: float
    dec_deg: float
    mag: float | None = None
    reason: str = ""
    expires_hours: float = 12.0
    node_ids: tuple[str, ...] = ()

    def begun(self, now: datetime, expires_at: datetime) -> StoredInterrupt:
        """Give the interrupt that this makes; its number comes when it is stored."""
        return StoredInterrupt(
            id=0,
            name=self.name,
            ra_deg=self.ra_deg,
            dec_deg=self.dec_deg,
            mag=self.mag,
            reason=self.reason,
            node_ids=self.node_ids,
            created_at=now.isoformat(),
            expires_at=expires_at.isoformat(),
            acked_by=(),
        )
