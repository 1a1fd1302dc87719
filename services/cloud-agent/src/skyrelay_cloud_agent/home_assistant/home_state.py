"""What Home Assistant is to show, as it stands in the database: no coordinates, no names of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from skyrelay.domain.states import (
    IN_TOUCH,
    OWED_DELIVERIES,
    BlockState,
    DeliveryState,
    Reach,
    TelescopeState,
)
from skyrelay.domain.telescope_words import words_of
from skyrelay.store.receipts import ARRIVED_DELIVERIES, WAITING_BLOCKS, ReceiptTotals, build_receipt
from skyrelay.store.tables import Block, Delivery, Pause, Telescope

_RECEIPT_LASTS = timedelta(minutes=1)  # it takes five queries over a night


@dataclass(frozen=True, slots=True)
class TelescopeFacts:
    """One telescope; ``key`` is its name in topics. What is not known now is `None`."""

    id: int
    key: str
    name: str
    serial: str | None
    model: str | None
    firmware: str | None
    state: TelescopeState
    doing: str
    battery_percent: int | None
    charging: bool | None
    temperature_c: float | None
    free_mb: int | None
    is_paused: bool


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """The receipt of the newest night."""

    night: date
    complete: bool
    totals: ReceiptTotals


@dataclass(frozen=True, slots=True)
class HomeState:
    """All that is shown."""

    telescopes: tuple[TelescopeFacts, ...]
    blocks_waiting: int
    blocks_stacked: int
    blocks_failed: int
    deliveries_pending: int
    deliveries_delivered: int
    deliveries_dead: int
    is_paused: bool
    receipt: ReceiptFacts | None


class HomeReader:
    """Reads the state; the receipt, which is costly, at most once a minute."""

    def __init__(self) -> None:
        self._receipt: ReceiptFacts | None = None
        self._read_at: datetime | None = None

    def read(self, session: Session, now: datetime) -> HomeState:
        """Give the state.

        Parameters
        ----------
        session
            A reading session.
        now
            Aware time.
        """
        blocks, deliveries = _count(session, Block.state), _count(session, Delivery.state)
        paused = set(session.scalars(select(Pause.telescope_id).where(Pause.target.is_(None))))
        return HomeState(
            telescopes=_telescopes(session, paused),
            blocks_waiting=sum(blocks.get(state, 0) for state in WAITING_BLOCKS),
            blocks_stacked=blocks.get(BlockState.STACKED, 0),
            blocks_failed=blocks.get(BlockState.FAILED, 0),
            deliveries_pending=sum(deliveries.get(state, 0) for state in OWED_DELIVERIES),
            deliveries_delivered=sum(deliveries.get(state, 0) for state in ARRIVED_DELIVERIES),
            deliveries_dead=deliveries.get(DeliveryState.DEAD, 0),
            is_paused=None in paused,
            receipt=self._receipt_now(session, now),
        )

    def _receipt_now(self, session: Session, now: datetime) -> ReceiptFacts | None:
        if self._read_at is None or now - self._read_at >= _RECEIPT_LASTS:
            self._receipt, self._read_at = _newest_receipt(session), now
        return self._receipt


def _newest_receipt(session: Session) -> ReceiptFacts | None:
    night = session.scalar(select(func.max(Block.night)))
    if night is None:
        return None
    receipt = build_receipt(session, date.fromisoformat(night))
    return ReceiptFacts(receipt.night, receipt.complete, receipt.totals)


def _count(session: Session, state: InstrumentedAttribute[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(select(state, func.count()).group_by(state))}


def _telescopes(session: Session, paused: set[int | None]) -> tuple[TelescopeFacts, ...]:
    is_stacking = select(Block.telescope_id, Block.target).where(Block.state == BlockState.STACKING)
    stacking = {row[0]: row[1] for row in session.execute(is_stacking)}
    return tuple(
        _facts(row, stacking.get(row.id), is_paused=row.id in paused) for row in session.scalars(_shown())
    )


def telescope_of(session: Session, key: str) -> int | None:
    """Give the id of the telescope that has this key in topics; `None` when there is none."""
    return next((row.id for row in session.scalars(_shown()) if _key(row) == key), None)


def _shown() -> Select[Telescope]:
    """Select those that are wanted and have an address."""
    is_shown = (Telescope.forgotten_at.is_(None), Telescope.host.is_not(None))
    return select(Telescope).where(*is_shown).order_by(Telescope.id)


def _facts(row: Telescope, target: str | None, *, is_paused: bool) -> TelescopeFacts:
    state = TelescopeState(row.state)
    knows = state in IN_TOUCH  # of one that is away the figures are of another time
    words = words_of(state, Reach(row.reach) if row.reach else None)
    return TelescopeFacts(
        id=row.id,
        key=_key(row),
        name=row.name,
        serial=row.serial,
        model=row.model,
        firmware=row.firmware,
        state=state,
        doing=f"Stacking {target}" if target and state is TelescopeState.STACKING else words,
        battery_percent=row.battery_percent if knows else None,
        charging=row.charging if knows else None,
        temperature_c=row.temperature_c if knows else None,
        free_mb=row.free_mb if knows else None,
        is_paused=is_paused,
    )


def _key(row: Telescope) -> str:
    """Name a telescope as a topic can: by its serial number, before its first answer by our own."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", row.serial) if row.serial else f"new-{row.id}"
