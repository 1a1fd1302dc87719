"""Everything at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.store.held_frames import is_not_ok
from skyrelay.store.tables import Block, Delivery, Destination, Frame, IgnoredFile, Stack, Telescope
from skyrelay.version import __version__
from skyrelay_gateway import needs
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.models import (
    DestinationView,
    IgnoredFiles,
    IgnoredFileView,
    NeedsYou,
    ServiceView,
    SetupView,
    StackCounts,
    StatusView,
)
from skyrelay_gateway.pauses import pause_views
from skyrelay_gateway.readiness import Signs, read_signs, service_views
from skyrelay_gateway.texts import text
from skyrelay_gateway.views import telescope_view

_IGNORED_SHOWN = 10


def build_status(gateway: Gateway) -> StatusView:
    """Look at everything once."""
    now = gateway.clock()
    signs = read_signs(gateway.redis)
    services = tuple(service_views(signs, now))
    asks = gateway.settings.setup == "ask"
    with gateway.store.read() as session:
        return StatusView(
            version=__version__,
            at=now,
            setup=SetupView(
                state=gateway.settings.setup, what_to_do=text("need.setup.what_to_do") if asks else None
            ),
            auth=gateway.settings.gateway.auth,
            services=services,
            telescopes=tuple(telescope_view(row) for row in session.scalars(_telescopes())),
            frames=count_frames(session),
            blocks=count_states(session, Block.state, BlockState),
            stacks=_count_stacks(session),
            deliveries=count_states(session, Delivery.state, DeliveryState),
            destinations=tuple(_destinations(session)),
            pauses=tuple(pause_views(session)),
            ignored_files=ignored_files(session),
            stream_backlog=signs.backlog,
            needs_you=tuple(needs_of_all(gateway, session, signs, services)),
        )


def _telescopes() -> Select[Telescope]:
    return select(Telescope).where(Telescope.forgotten_at.is_(None)).order_by(Telescope.name)


def needs_of_all(
    gateway: Gateway, session: Session, signs: Signs, services: Iterable[ServiceView]
) -> Iterator[NeedsYou]:
    """Name everything that goes no further without a person."""
    yield from needs.needs_of_setup(gateway.settings)
    yield from needs.needs_of_services(signs, services, gateway.clock() - gateway.started_at)
    yield from needs.needs_of_telescopes(session)
    yield from needs.needs_of_destinations(session)
    yield from needs.needs_of_blocks(session)
    yield from needs.needs_of_late_frames(session, gateway.clock())
    yield from needs.needs_of_lost_telescopes(session, gateway.clock())
    yield from needs.needs_of_deliveries(session)
    yield from needs.needs_of_frames_that_are_only_here(session, gateway.settings, gateway.clock())
    yield from needs.needs_of_frames(session, gateway.clock())


def count_frames(session: Session) -> dict[str, int]:
    """Count the frames by state: all but those that are ok, which are counted as the rest.

    Of a million frames nearly all are ok: counting those few, and all, reads no row.
    """
    held = [state for state in FrameState if state is not FrameState.OK]
    counts = dict.fromkeys((state.value for state in FrameState), 0)
    for state in held:
        query = select(func.count()).select_from(Frame).where(Frame.state == state, is_not_ok())
        counts[state] = session.scalar(query) or 0
    total = session.scalar(select(func.count()).select_from(Frame)) or 0
    return {**counts, FrameState.OK.value: total - sum(counts.values())}


def count_states(
    session: Session, state: InstrumentedAttribute[str], states: type[StrEnum]
) -> dict[str, int]:
    """Count rows by state; each state is there."""
    counts = dict.fromkeys((each.value for each in states), 0)
    for value, number in session.execute(select(state, func.count()).group_by(state)):
        counts[value] = number
    return counts


def _count_stacks(session: Session) -> StackCounts:
    offered = func.count(case((Stack.is_offered.is_(True), 1)))
    query = select(func.count(), func.count(Stack.fetched_at), func.count(Stack.renamed_at), offered)
    total, archived, renamed, number_offered = session.execute(query.select_from(Stack)).one()
    return StackCounts(total=total, archived=archived, not_renamed=total - renamed, offered=number_offered)


def _destinations(session: Session) -> Iterator[DestinationView]:
    for row in session.scalars(select(Destination).order_by(Destination.name)):
        yield DestinationView.model_validate(row, from_attributes=True)


def ignored_files(session: Session) -> IgnoredFiles:
    """Count the files that are no light frames, and name the latest."""
    count = session.scalar(select(func.count()).select_from(IgnoredFile)) or 0
    query = select(IgnoredFile).order_by(IgnoredFile.id.desc()).limit(_IGNORED_SHOWN)
    latest = (IgnoredFileView.model_validate(row, from_attributes=True) for row in session.scalars(query))
    return IgnoredFiles(count=count, latest=tuple(latest))
