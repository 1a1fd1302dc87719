"""The only way that a block or a delivery changes its state.

Each step is guarded in the database (``UPDATE … WHERE state = …``) and leaves a row in the audit
log in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, insert, update
from sqlalchemy.orm import Session

from skyrelay.domain.states import BLOCK_STEPS, DELIVERY_STEPS, BlockState, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.store.tables import AuditEntry, Block, Delivery


class StaleState(SkyrelayError):  # noqa: N818 - somebody else was quicker; the loser just stops
    """The row is no longer in the state that this step starts from."""


def move_block(
    session: Session,
    block: Block,
    to: BlockState,
    *,
    now: datetime,
    actor: str,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    **values: object,
) -> None:
    """Take a block one step on.

    Parameters
    ----------
    session
        A writing session.
    block
        The row as the caller knows it: its ``state`` is where the step starts.
    to
        Where the step ends.
    now
        Aware time of the step.
    actor
        The service, for the audit log.
    reason
        Shown to people.
    detail
        Kept in the audit log.
    **values
        Other columns that change with the step.

    Raises
    ------
    ValueError
        If the state machine has no such step.
    StaleState
        If the row has left that state meanwhile.
    """
    before = BlockState(block.state)
    if to not in BLOCK_STEPS[before]:
        raise ValueError(f"block {block.id}: there is no step from {before} to {to}")
    changes = {**values, "state": to, "reason": reason, "updated_at": now}
    statement = update(Block).where(Block.id == block.id, Block.state == before)
    _apply(session, block, statement, changes, "block")
    _audit_step(session, "block", block.id, (before, to), now, actor, reason, detail)


def move_delivery(
    session: Session,
    delivery: Delivery,
    to: DeliveryState,
    *,
    now: datetime,
    actor: str,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    **values: object,
) -> None:
    """Take a delivery one step on; parameters and errors as in `move_block`."""
    before = DeliveryState(delivery.state)
    if to not in DELIVERY_STEPS[before]:
        raise ValueError(f"delivery {delivery.id}: there is no step from {before} to {to}")
    changes = {**values, "state": to, "reason": reason, "updated_at": now}
    statement = update(Delivery).where(Delivery.id == delivery.id, Delivery.state == before)
    _apply(session, delivery, statement, changes, "delivery")
    _audit_step(session, "delivery", delivery.id, (before, to), now, actor, reason, detail)


def move_deliveries(
    session: Session,
    ids: Sequence[int],
    before: DeliveryState,
    to: DeliveryState,
    *,
    now: datetime,
    actor: str,
    reason: str = "",
    **values: object,
) -> None:
    """Take many deliveries the same step on, with three statements for all of them.

    Parameters and errors as in `move_delivery`; rows that the session holds are read again when they are
    next looked at. ``ids`` are those that are in the state ``before`` in this very transaction.
    """
    if to not in DELIVERY_STEPS[before]:
        raise ValueError(f"there is no step from {before} to {to}")
    if not ids:
        return
    changes = {**values, "state": to, "reason": reason, "updated_at": now}
    statement = update(Delivery).where(Delivery.id.in_(ids), Delivery.state == before).values(**changes)
    options = {"synchronize_session": False}
    result = cast("CursorResult[Any]", session.execute(statement, execution_options=options))
    if result.rowcount != len(ids):
        raise StaleState(f"{len(ids) - result.rowcount} of {len(ids)} deliveries are no longer {before}")
    step = {"at": now, "actor": actor, "subject_kind": "delivery", "event": "step", "reason": reason}
    step |= {"from_state": before, "to_state": to}
    session.execute(insert(AuditEntry), [{**step, "subject_id": id_} for id_ in ids])
    session.expire_all()


def audit(
    session: Session,
    *,
    now: datetime,
    actor: str,
    subject: tuple[str, int | None],
    event: str,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down something that is no step of a state machine."""
    kind, id_ = subject
    session.add(
        AuditEntry(
            at=now,
            actor=actor,
            subject_kind=kind,
            subject_id=id_,
            event=event,
            reason=reason,
            detail=dict(detail) if detail else None,
        )
    )


def _apply(
    session: Session, row: Block | Delivery, statement: Any, changes: dict[str, Any], kind: str
) -> None:
    result = cast(
        "CursorResult[Any]",
        session.execute(statement.values(**changes), execution_options={"synchronize_session": False}),
    )
    if result.rowcount != 1:
        raise StaleState(f"{kind} {row.id} is no longer {row.state}")
    session.refresh(row)


def _audit_step(
    session: Session,
    kind: str,
    id_: int,
    step: tuple[str, str],
    now: datetime,
    actor: str,
    reason: str,
    detail: Mapping[str, Any] | None,
) -> None:
    session.add(
        AuditEntry(
            at=now,
            actor=actor,
            subject_kind=kind,
            subject_id=id_,
            event="step",
            from_state=step[0],
            to_state=step[1],
            reason=reason,
            detail=dict(detail) if detail else None,
        )
    )
