"""The calendar: the nights of a month, each in figures."""

from __future__ import annotations

import calendar
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.receipts import ARRIVED_DELIVERIES, WAITING_BLOCKS
from skyrelay.store.tables import Block
from skyrelay_gateway.nights import count_deliveries, known_nights

FIRST_NIGHT, LAST_NIGHT = date(2000, 1, 1), date(2999, 12, 31)


@dataclass(frozen=True, slots=True)
class CalendarNight:
    """A night in figures; ``stage`` names the state that tells most of it."""

    night: date
    frames: int
    blocks: int
    stacked: int
    delivered: int
    stage: str


@dataclass(frozen=True, slots=True)
class Month:
    """A month, week by week from Monday; days outside it are `None`, nights without a frame not listed."""

    first: date
    weeks: tuple[tuple[date | None, ...], ...]
    nights: Mapping[date, CalendarNight]
    earlier: date | None
    later: date | None


def build_month(session: Session, wanted: date | None) -> Month | None:
    """Lay a month out: the one of ``wanted``, else of the latest night; `None` if there was never one."""
    known = known_nights(session)
    if not known and wanted is None:
        return None
    first = (wanted or known[0]).replace(day=1)
    days = [day for week in _weeks(first) for day in week if day is not None]
    here = {night for night in known if days[0] <= night <= days[-1]}
    return Month(
        first=first,
        weeks=_weeks(first),
        nights={night.night: night for night in _nights(session, here)},
        earlier=max((night.replace(day=1) for night in known if night < first), default=None),
        later=min((night.replace(day=1) for night in known if night > days[-1]), default=None),
    )


def _weeks(first: date) -> tuple[tuple[date | None, ...], ...]:
    weeks = calendar.Calendar().monthdatescalendar(first.year, first.month)
    return tuple(tuple(day if day.month == first.month else None for day in week) for week in weeks)


def _nights(session: Session, nights: Collection[date]) -> Iterator[CalendarNight]:
    names = [night.isoformat() for night in nights]
    blocks, deliveries = _blocks(session, names), count_deliveries(session, names)
    for night in nights:
        of_night, sent = blocks.get(night.isoformat(), {}), deliveries.get(night.isoformat(), {})
        counts = {state: number for state, (number, _frames) in of_night.items()}
        yield CalendarNight(
            night=night,
            frames=sum(frames for _number, frames in of_night.values()),
            blocks=sum(counts.values()),
            stacked=counts.get(BlockState.STACKED, 0),
            delivered=sum(sent.get(state, 0) for state in ARRIVED_DELIVERIES),
            stage=_stage(counts, sent),
        )


def _stage(blocks: Mapping[str, int], deliveries: Mapping[str, int]) -> str:
    """Say of a night what a person wants to know first: what failed, what goes on, else that it is done."""
    if blocks.get(BlockState.FAILED) or deliveries.get(DeliveryState.DEAD):
        return "failed"
    if any(blocks.get(state) for state in WAITING_BLOCKS):
        return "collecting"
    arrived = sum(deliveries.get(state, 0) for state in ARRIVED_DELIVERIES)
    if arrived < sum(deliveries.values()):
        return "uploading"
    if arrived:
        return "delivered"
    return "stacked" if blocks.get(BlockState.STACKED) else "skipped"


def _blocks(session: Session, nights: Collection[str]) -> Mapping[str, Mapping[str, tuple[int, int]]]:
    query = (
        select(Block.night, Block.state, func.count(), func.sum(Block.frame_count))
        .where(Block.night.in_(nights))
        .group_by(Block.night, Block.state)
    )
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for night, state, number, frames in session.execute(query):
        found.setdefault(night, {})[state] = (number, frames)
    return found


def month_of(text: str) -> date:
    """Read ``YYYY-MM``; raise `ValueError` for what is none, or lies outside the calendar."""
    first = date.fromisoformat(f"{text}-01")
    if not FIRST_NIGHT <= first <= LAST_NIGHT - timedelta(days=31):
        raise ValueError(f"{text} lies outside the calendar")
    return first
