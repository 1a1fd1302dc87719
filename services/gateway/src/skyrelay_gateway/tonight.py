"""The page of a night as it goes on: what each telescope does, each block, what needs a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.store.receipts import Receipt, build_receipt
from skyrelay.store.tables import Block, Delivery, Destination, Telescope
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.listings import Filters, list_deliveries
from skyrelay_gateway.models import DeliveryView, DestinationView, NeedsYou, ServiceView, TelescopeView
from skyrelay_gateway.nights import known_nights, latest_offset
from skyrelay_gateway.paging import PageRequest
from skyrelay_gateway.pauses import pause_views
from skyrelay_gateway.readiness import read_signs, service_views
from skyrelay_gateway.status import needs_of_all
from skyrelay_gateway.texts import text
from skyrelay_gateway.timeline import Timeline, build_timeline, title_of
from skyrelay_gateway.views import telescope_view

_DELIVERIES_SHOWN = 4
_WAITING = frozenset({BlockState.READY, BlockState.FAILED})


@dataclass(frozen=True, slots=True)
class TelescopeNow:
    """A telescope at this moment; ``percent`` of a stack under way, ``waiting`` blocks that are due."""

    view: TelescopeView
    words: str
    percent: float | None
    waiting: int
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Tonight:
    """All that the page of a night shows; without a night there was never a frame."""

    telescopes: tuple[TelescopeNow, ...]
    unseen: tuple[str, ...]
    needs: tuple[NeedsYou, ...]
    receipt: Receipt | None
    timeline: Timeline | None
    title: str
    earlier: date | None
    later: date | None
    deliveries: tuple[DeliveryView, ...]
    paused_destinations: tuple[DestinationView, ...]


def build_tonight(gateway: Gateway, session: Session, night: date | None) -> Tonight:
    """Look at a night: the one that is asked for, else the latest."""
    now = gateway.clock()
    nights = known_nights(session)
    shown = night or (nights[0] if nights else None)
    receipt = build_receipt(session, shown) if shown else None
    telescopes, offset = telescopes_now(session), latest_offset(session) or timedelta(0)
    return Tonight(
        telescopes=telescopes,
        unseen=unseen_telescopes(gateway, telescopes),
        needs=current_needs(gateway, session),
        receipt=receipt,
        timeline=build_timeline(receipt, now) if receipt else None,
        title=title_of(shown, now + offset) if shown else text("tonight.title"),
        earlier=max((each for each in nights if shown and each < shown), default=None),
        later=min((each for each in nights if shown and each > shown), default=None),
        deliveries=list_deliveries(session, PageRequest(_DELIVERIES_SHOWN, None), Filters(), None).items,
        paused_destinations=paused_destinations(session),
    )


def current_services(gateway: Gateway) -> tuple[tuple[ServiceView, ...], int | None]:
    """Give each service's sign of life, and how many frame events wait; `None` when nobody knows."""
    signs = read_signs(gateway.redis)
    return tuple(service_views(signs, gateway.clock())), signs.backlog


def current_needs(gateway: Gateway, session: Session) -> tuple[NeedsYou, ...]:
    """Name everything that goes no further without a person."""
    signs = read_signs(gateway.redis)
    services = tuple(service_views(signs, gateway.clock()))
    return tuple(needs_of_all(gateway, session, signs, services))


def headline_of(session: Session, needs: Sequence[NeedsYou]) -> tuple[str, str]:
    """Give the state of everything as a class and in words."""
    if needs:
        return "needs", text("headline.needs", n=len(needs))
    stacks, sends = (Block, BlockState.STACKING), (Delivery, DeliveryState.SENDING)
    is_busy = any(_is_any(session, table, state) for table, state in (stacks, sends))
    return ("busy", text("headline.busy")) if is_busy else ("well", text("headline.well"))


def _is_any(session: Session, table: type[Block] | type[Delivery], state: str) -> bool:
    return session.scalar(select(table.id).where(table.state == state).limit(1)) is not None


def telescopes_now(session: Session) -> tuple[TelescopeNow, ...]:
    """Say of each telescope what it is doing."""
    stacking, collecting = _stacking(session), _collecting(session)
    waiting, paused = _waiting(session), _paused(session)
    rows = session.scalars(select(Telescope).where(Telescope.forgotten_at.is_(None)).order_by(Telescope.name))
    return tuple(
        _telescope_now(
            row, stacking.get(row.id), collecting.get(row.id), waiting.get(row.id, 0), _is_held(row, paused)
        )
        for row in rows
    )


def _telescope_now(
    row: Telescope, run: tuple[str, float | None] | None, target: str | None, waiting: int, is_paused: bool
) -> TelescopeNow:
    view, percent = telescope_view(row), None
    words = view.words
    if view.state is TelescopeState.STACKING and run is not None:
        words, percent = text("telescope.stacking", target=run[0]), run[1]
    elif view.state is TelescopeState.OBSERVING and target is not None:
        words = text("telescope.observing", target=target)
    return TelescopeNow(view, words, percent, waiting, is_paused)


def _stacking(session: Session) -> Mapping[int, tuple[str, float | None]]:
    query = select(Block.telescope_id, Block.target, Block.percent).where(Block.state == BlockState.STACKING)
    return {telescope_id: (target, percent) for telescope_id, target, percent in session.execute(query)}


def _collecting(session: Session) -> Mapping[int, str]:
    query = select(Block.telescope_id, Block.target, Block.start_at).where(
        Block.state == BlockState.COLLECTING
    )
    rows = sorted(session.execute(query), key=lambda row: row.start_at)
    return {row.telescope_id: row.target for row in rows}


def _waiting(session: Session) -> Mapping[int, int]:
    query = select(Block.telescope_id, func.count().label("number")).where(Block.state.in_(_WAITING))
    return {row.telescope_id: row.number for row in session.execute(query.group_by(Block.telescope_id))}


def _paused(session: Session) -> frozenset[str | None]:
    return frozenset(pause.telescope for pause in pause_views(session) if pause.target is None)


def _is_held(row: Telescope, paused: frozenset[str | None]) -> bool:
    return None in paused or row.name in paused


def unseen_telescopes(gateway: Gateway, telescopes: Iterable[TelescopeNow]) -> tuple[str, ...]:
    """Name the configured telescopes that no service has laid down yet."""
    known = {telescope.view.name for telescope in telescopes}
    return tuple(each.name for each in gateway.settings.telescopes if each.name not in known)


def paused_destinations(session: Session) -> tuple[DestinationView, ...]:
    """Name where nothing is sent at present."""
    return tuple(_paused_destinations(session))


def _paused_destinations(session: Session) -> Iterator[DestinationView]:
    query = select(Destination).where(Destination.paused_reason.is_not(None)).order_by(Destination.name)
    for row in session.scalars(query):
        yield DestinationView.model_validate(row, from_attributes=True)
