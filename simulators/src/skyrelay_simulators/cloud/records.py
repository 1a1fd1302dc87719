"""What the simulated cloud keeps, as typed values, and how they are read from its index."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

_ONLINE_FOR = timedelta(minutes=15)  # after a heartbeat


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node of the registry.

    Attributes
    ----------
    card
        What it said of itself when it registered.
    conditions
        Of its latest heartbeat that had any.
    registered_at, last_heartbeat
        ISO 8601, UTC.
    revoked
        Whether its key is not accepted any more.
    """

    node_id: str
    api_key: str = field(repr=False)
    card: dict[str, Any]
    conditions: dict[str, Any]
    registered_at: str
    last_heartbeat: str
    revoked: bool

    def to_json(self) -> dict[str, Any]:
        """Give the registry's entry; the key is not in it."""
        online = datetime.now(UTC) - datetime.fromisoformat(self.last_heartbeat) < _ONLINE_FOR
        return self.card | {
            "node_id": self.node_id,
            "status": "disabled" if self.revoked else "active",
            "registered_at": self.registered_at,
            "last_heartbeat": self.last_heartbeat,
            "last_conditions": self.conditions,
            "online": online and not self.revoked,
        }


@dataclass(frozen=True, slots=True)
class StoredInterrupt:
    """A target that is to be observed at once.

    Attributes
    ----------
    ra_deg, dec_deg
        As they were given: the server checks nothing.
    node_ids
        Whom it is for; empty: everybody.
    created_at, expires_at
        ISO 8601, UTC.
    acked_by
        The nodes that acknowledged it.
    """

    id: int
    name: str
    ra_deg: float
    dec_deg: float
    mag: float | None
    reason: str
    node_ids: tuple[str, ...]
    created_at: str
    expires_at: str
    acked_by: tuple[str, ...]

    def to_row(self, node_id: str) -> dict[str, object]:
        """Give it as a node sees it."""
        return {
            "id": self.id,
            "name": self.name,
            "ra_deg": self.ra_deg,
            "dec_deg": self.dec_deg,
            "ra": round(self.ra_deg / 15.0, 4),
            "dec": round(self.dec_deg, 4),
            "mag": self.mag,
            "reason": self.reason,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "acked": node_id in self.acked_by,
        }


@dataclass(frozen=True, slots=True)
class StoredMeasurement:
    """A measurement with the conditions it was made under; ``received_at`` is ISO 8601, UTC."""

    id: int
    node_id: str
    measurement: dict[str, Any]
    conditions: dict[str, Any]
    received_at: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a node sent.

    Attributes
    ----------
    kind
        ``image`` or ``aavso``.
    day
        UTC day of its arrival, ``YYYY-MM-DD``.
    name
        What the server files it under; never a path of its own folder.
    times_sent
        How often one of this name came; the earlier ones are gone.
    """

    kind: str
    node_id: str
    day: str
    name: str
    stored_as: str
    size: int
    sha256: str
    times_sent: int


def node_of(row: sqlite3.Row) -> StoredNode:
    """Read a row of ``nodes``."""
    return StoredNode(
        node_id=row["node_id"],
        api_key=row["api_key"],
        card=json.loads(row["card"]),
        conditions=json.loads(row["conditions"]),
        registered_at=row["registered_at"],
        last_heartbeat=row["last_heartbeat"],
        revoked=bool(row["revoked"]),
    )


def interrupt_of(row: sqlite3.Row, acks: Sequence[sqlite3.Row]) -> StoredInterrupt:
    """Read a row of ``interrupts``, with all rows of ``acknowledgements``."""
    values = dict(row)
    values["node_ids"] = tuple(json.loads(values["node_ids"]))
    acked_by = tuple(ack["node_id"] for ack in acks if ack["interrupt_id"] == row["id"])
    return StoredInterrupt(**values, acked_by=acked_by)


def measurement_of(row: sqlite3.Row) -> StoredMeasurement:
    """Read a row of ``measurements``."""
    return StoredMeasurement(
        id=row["id"],
        node_id=row["node_id"],
        measurement=json.loads(row["measurement"]),
        conditions=json.loads(row["conditions"]),
        received_at=row["received_at"],
    )
