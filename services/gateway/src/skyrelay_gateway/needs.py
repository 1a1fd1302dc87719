"""What goes no further without a person, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, defer

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, FrameState, TelescopeState
from skyrelay.outbox.raw_route import frames_for_raw, why_not_raw
from skyrelay.settings import Settings
from skyrelay.store.held_frames import is_not_ok
from skyrelay.store.late_frames import late_words
from skyrelay.store.tables import Block, Delivery, Destination, Frame, Measurement, Stack, Telescope
from skyrelay.store.tables.destinations import ARCHIVE
from skyrelay_gateway.actions import stack_again
from skyrelay_gateway.delivery_retries import can_be_retried
from skyrelay_gateway.models import Action, NeedsYou, ServiceView
from skyrelay_gateway.readiness import Signs, service_remedy
from skyrelay_gateway.texts import text
from skyrelay_gateway.words import NEEDS_A_PERSON, remedy_words, state_words

_MOST_OF_A_KIND = 10  # a page of them helps nobody; the lists have all
_OFFERED_FOR = timedelta(days=30)
_OFFERED_BLOCKS = frozenset(
    {BlockState.COLLECTING, BlockState.READY, BlockState.SKIPPED, BlockState.FAILED}
)  # of what is stacked the rest came too late
_HELD_FRAMES_FOR = timedelta(days=2)  # then only the receipt of their night tells of them
_GONE = frozenset({BlockState.STACKED, BlockState.RAW})  # more frames come too late
_FIRST_BEAT_WITHIN = timedelta(seconds=45)  # all services are started together
_WAITING_BLOCKS = frozenset({BlockState.COLLECTING, BlockState.READY, BlockState.STACKING, BlockState.FAILED})
# Frames can be seen before their telescope has first answered and is known to be a configured one.
_MEETING = timedelta(hours=1)


def needs_of_setup(settings: Settings) -> Iterator[NeedsYou]:
    """Say that the set-up is not finished, when it is not."""
    if settings.setup == "ask":
        yield NeedsYou(
            what=text("need.setup.what"), reason="setup: ask", what_to_do=text("need.setup.what_to_do")
        )


def needs_of_services(signs: Signs, services: Iterable[ServiceView], up_for: timedelta) -> Iterator[NeedsYou]:
    """Name the services that do not work; a new one has some time from our own start to show itself."""
    if signs.problem is not None:
        yield NeedsYou(
            what=text("need.redis.what"), reason=signs.problem, what_to_do=text("need.redis.what_to_do")
        )
        return
    for service in services:
        remedy = service_remedy(service)
        is_new = service.state == "never seen" and up_for < _FIRST_BEAT_WITHIN
        if remedy is not None and not is_new:
            silent = text("need.service.silent", seconds=service.age_s or 0)
            yield NeedsYou(
                what=text("need.service.what", service=service.service),
                reason=service.state if service.age_s is None else silent,
                what_to_do=remedy,
            )


def needs_of_telescopes(session: Session) -> Iterator[NeedsYou]:
    """Name the telescopes whose state lasts until a person does something."""
    query = select(Telescope).where(Telescope.state.in_(NEEDS_A_PERSON)).order_by(Telescope.name)
    for telescope in session.scalars(query):
        state = TelescopeState(telescope.state)
        yield NeedsYou(
            what=f"{telescope.name}: {state_words(state).lower()}",
            reason=telescope.state_reason,
            what_to_do=remedy_words(state),
        )


def needs_of_destinations(session: Session) -> Iterator[NeedsYou]:
    """Name the destinations that nothing is sent to."""
    query = select(Destination).where(Destination.paused_reason.is_not(None)).order_by(Destination.name)
    for destination in session.scalars(query):
        which = "archive" if destination.name == ARCHIVE else "destination"
        yield NeedsYou(
            what=text(f"need.{which}.what", destination=destination.name),
            reason=destination.paused_reason or "",
            what_to_do=text(f"need.{which}.what_to_do", destination=destination.name),
        )


def needs_of_blocks(session: Session) -> Iterator[NeedsYou]:
    """Name the blocks that are tried no more, though their telescope has an address."""
    query = (
        select(Block, Telescope.name)
        .join_from(Block, Telescope)
        .where(Block.needs_you.is_(True), Telescope.host.is_not(None))
    )
    for block, telescope in session.execute(
        query.options(defer(Block.intent)).order_by(Block.id.desc()).limit(_MOST_OF_A_KIND)
    ):
        yield NeedsYou(
            what=_name_of(block, telescope),
            reason=block.reason,
            what_to_do=text("need.block.what_to_do"),
            action=Action(label=text("need.block.action"), path="api/v1/stack", body={"block_id": block.id}),
        )


def _name_of(block: Block, telescope: str) -> str:
    """Name a block as a person knows it; its time is the telescope's."""
    start_local = block.start_at + timedelta(minutes=block.utc_offset_min)
    return text(
        "need.block.what",
        target=block.target,
        telescope=telescope,
        time=f"{start_local:%H:%M}",
        night=block.night,
    )


def needs_of_late_frames(session: Session, now: datetime) -> Iterator[NeedsYou]:
    """Offer to stack again the blocks that got more frames in the last days after they were stacked."""
    late = _late_frames(session, now - _HELD_FRAMES_FOR)
    query = (
        select(Block, Telescope.name)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .options(defer(Block.intent))
        .where(Block.id.in_(late), Block.state.in_(_GONE), Telescope.host.is_not(None))
        .order_by(Block.id.desc())
    )
    for block, telescope in session.execute(query.limit(_MOST_OF_A_KIND)):
        yield NeedsYou(
            what=_name_of(block, telescope),
            reason=text(f"need.late.{block.state}", late=late_words(late[block.id])),
            what_to_do=text("need.late.what_to_do"),
            action=stack_again(block.id, BlockState(block.state)),
        )


def _late_frames(session: Session, since: datetime) -> Mapping[int, int]:
    """Count the good frames that are in no stack, by block.

    They are counted here and not by the database, which would walk through all frames to have them in order.
    """
    is_left = (Frame.stack_id.is_(None), Frame.is_sent_raw.is_(False))
    query = select(Frame.block_id).where(*is_left, Frame.state == FrameState.OK, Frame.seen_at >= since)
    return Counter(block_id for block_id in session.scalars(query) if block_id is not None)


def needs_of_lost_telescopes(session: Session, now: datetime) -> Iterator[NeedsYou]:
    """Name the telescopes without an address that still have blocks to stack."""
    is_unmet = (Telescope.host.is_not(None), Telescope.serial.is_(None))
    unmet = session.scalars(select(Telescope.name).where(*is_unmet).order_by(Telescope.name)).all()
    query = _lost_query().limit(_MOST_OF_A_KIND)
    if unmet:
        query = query.where(Block.updated_at <= now - _MEETING)
    for telescope, state_reason, number, night in session.execute(query):
        yield NeedsYou(
            what=text("need.lost.what", n=number, telescope=telescope),
            reason=text("need.lost.reason", telescope=telescope, reason=state_reason, night=night),
            what_to_do=" ".join((text("need.lost.what_to_do"), *_if_it_is(unmet))),
        )


def _if_it_is(unmet: Sequence[str]) -> Iterator[str]:
    if unmet:
        yield text("need.lost.unmet", names=text("need.lost.or").join(unmet))


def _lost_query() -> Select[str, str, int, str]:
    return (
        select(Telescope.name, Telescope.state_reason, func.count(), func.min(Block.night))
        .join_from(Block, Telescope)
        .where(Telescope.host.is_(None), Block.state.in_(_WAITING_BLOCKS))
        .group_by(Telescope.name, Telescope.state_reason)
        .order_by(Telescope.name)
    )


def needs_of_deliveries(session: Session) -> Iterator[NeedsYou]:
    """Name the deliveries that were given up, or that the server keeps silent about."""
    is_dead = and_(Delivery.state == DeliveryState.DEAD, Delivery.given_up_at.is_(None))
    waits = or_(Delivery.needs_you.is_(True), is_dead)
    query = (
        select(Delivery, func.coalesce(Stack.crowdsky_name, Measurement.target, Block.target))
        .outerjoin_from(Delivery, Stack, Stack.id == Delivery.stack_id)
        .outerjoin(Block, Block.id == Delivery.block_id)
        .outerjoin(Measurement, Measurement.id == Delivery.measurement_id)
        .where(waits)
    )
    for delivery, subject in session.execute(query.order_by(Delivery.id.desc()).limit(_MOST_OF_A_KIND)):
        yield NeedsYou(
            what=text(
                "need.delivery.what", what=_what_of(delivery, subject), destination=delivery.destination
            ),
            reason=delivery.reason or f"{delivery.state}",
            what_to_do=text(
                "need.delivery.unlisted"
                if delivery.state == DeliveryState.ACCEPTED
                else "need.delivery.what_to_do"
            ),
            action=_again(delivery) if can_be_retried(delivery) else None,
        )


def _what_of(delivery: Delivery, subject: str | None) -> str:
    if delivery.kind == DeliveryKind.STACK:
        return subject or ""
    return text("tonight.deliveries.of", kind=delivery.kind, target=subject or "").rstrip()


def _again(delivery: Delivery) -> Action:
    if delivery.kind == DeliveryKind.RAW and delivery.state == DeliveryState.DEAD:
        body = {"block_id": delivery.block_id}
        return Action(label=text("need.delivery.instead"), path="api/v1/stack", body=body)
    return Action(label=text("deliveries.retry"), path=f"api/v1/deliveries/{delivery.id}/retry", body={})


def needs_of_frames_that_are_only_here(
    session: Session, settings: Settings, now: datetime
) -> Iterator[NeedsYou]:
    """Offer the raw route for blocks of the last days whose frames a watched folder has, and no telescope."""
    if not settings.crowdsky.enabled:
        return
    only_here = (Frame.state == FrameState.NOT_ON_TELESCOPE, Frame.seen_path.is_not(None))
    query = (
        select(Block, Telescope)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .where(exists().where(Frame.block_id == Block.id, Frame.stack_id.is_(None), *only_here))
        .where(Block.state.in_(_OFFERED_BLOCKS), Block.created_at >= now - _OFFERED_FOR)
    )
    for block, telescope in session.execute(query.order_by(Block.id.desc()).limit(_MOST_OF_A_KIND)):
        frames = frames_for_raw(session, block)
        if why_not_raw(session, block, telescope, frames) is not None:
            continue
        yield NeedsYou(
            what=_name_of(block, telescope.name),
            reason=text("need.only_here.reason", n=len(frames)),
            what_to_do=text("need.only_here.what_to_do"),
            action=Action(
                label=text("need.only_here.action"), path="api/v1/raw", body={"block_id": block.id}
            ),
        )


def needs_of_frames(session: Session, now: datetime) -> Iterator[NeedsYou]:
    """Name the frames of the last days that are held."""
    for telescope, state, number, name in session.execute(_held_query(now - _HELD_FRAMES_FOR)):
        yield NeedsYou(
            what=text(
                "need.held.what", frames=text("count.frames", n=number), telescope=telescope, state=state
            ),
            reason=f"{name} {text('and_more', n=number - 1)}" if number > 1 else f"{name}",
            what_to_do=text("need.held." + state.replace(" ", "_")),
        )


def _held_query(since: datetime) -> Select[str, str, int, str]:
    return (
        select(Telescope.name, Frame.state, func.count(), func.min(Frame.file_name))
        .join_from(Frame, Telescope, Telescope.id == func.coalesce(Frame.telescope_id, 0))
        .where(is_not_ok(), Frame.stack_id.is_(None), Frame.is_sent_raw.is_(False), Frame.seen_at >= since)
        .group_by(Telescope.name, Frame.state)
        .order_by(Telescope.name, Frame.state)
    )
