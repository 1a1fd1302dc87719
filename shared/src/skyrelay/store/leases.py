"""The lease on a telescope: who may drive or list it by RPC.

It expires unless its holder renews it; each taking raises the fencing number, and what a late holder
writes afterwards trips over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from skyrelay.errors import RefusedByRule
from skyrelay.store.tables import Telescope

LEASE = timedelta(seconds=30)  # take-over within 60 s of a crash: lease + the longest command deadline
RENEW_EVERY = timedelta(seconds=8)
# A renewal gives up soon and is tried again soon, so that one that waits cannot outlast any lease of ours.
RENEW_WITHIN = timedelta(seconds=4)
RENEW_AGAIN_AFTER = timedelta(seconds=2)
CLOCKS_MAY_DIFFER = timedelta(seconds=60)  # those of two hosts
# A lease that ends later was given before this host's clock was set back: it would hold for as long as
# that. Nobody's good lease is taken for such a one.
_LONGEST = LEASE + CLOCKS_MAY_DIFFER


class LeaseLost(RefusedByRule):
    """Somebody else holds the telescope now: touch nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One holding of one telescope."""

    telescope_id: int
    holder: str
    fence: int


def take_lease(session: Session, telescope_id: int, holder: str, now: datetime) -> Lease | None:
    """Take the lease if it is free, has expired or cannot be; `None` when another holds it."""
    taken = _rows(
        session,
        update(Telescope)
        .where(
            Telescope.id == telescope_id,
            or_(
                Telescope.lease_until.is_(None),
                Telescope.lease_until <= now,
                Telescope.lease_until > now + _LONGEST,
            ),
        )
        .values(lease_holder=holder, lease_until=now + LEASE, lease_fence=Telescope.lease_fence + 1),
    )
    if not taken:
        return None
    fence = session.scalar(select(Telescope.lease_fence).where(Telescope.id == telescope_id))
    return Lease(telescope_id, holder, cast("int", fence))


def renew_lease(session: Session, lease: Lease, now: datetime) -> None:
    """Hold the lease for longer; raise `LeaseLost` if it is no longer ours."""
    if not _rows(session, _ours(lease).where(Telescope.lease_until > now).values(lease_until=now + LEASE)):
        raise LeaseLost(f"telescope {lease.telescope_id} was taken over by another worker")


def check_lease(session: Session, lease: Lease) -> None:
    """Raise `LeaseLost` unless the lease is still ours, in the transaction of the write it guards."""
    current = session.execute(
        select(Telescope.lease_holder, Telescope.lease_fence).where(Telescope.id == lease.telescope_id)
    ).one_or_none()
    if current is None or tuple(current) != (lease.holder, lease.fence):
        raise LeaseLost(f"telescope {lease.telescope_id} was taken over by another worker")


def release_lease(session: Session, lease: Lease) -> None:
    """Give the telescope free, if it is still ours."""
    _rows(session, _ours(lease).values(lease_holder=None, lease_until=None))


def is_held(telescope: Telescope, now: datetime) -> bool:
    """Tell whether somebody holds the telescope, so that `take_lease` would give nothing."""
    return telescope.lease_until is not None and now < telescope.lease_until <= now + _LONGEST


def _ours(lease: Lease) -> Any:
    return update(Telescope).where(
        Telescope.id == lease.telescope_id,
        Telescope.lease_holder == lease.holder,
        Telescope.lease_fence == lease.fence,
    )


def _rows(session: Session, statement: Any) -> int:
    result = cast(
        "CursorResult[Any]", session.execute(statement, execution_options={"synchronize_session": False})
    )
    return result.rowcount
