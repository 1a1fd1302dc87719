"""What goes no further without a person, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, defer

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, FrameState, TelescopeState
from skyrelay.domain.telescope_words import TELESCOPE_WORDS
from skyrelay.outbox.raw_route import frames_for_raw, why_not_raw
from skyrelay.settings import Settings
from skyrelay.store.held_frames import is_not_ok
from skyrelay.store.late_frames import late_words
from skyrelay.store.tables import Block, Delivery, Destination, Frame, Measurement, Stack, Telescope
from skyrelay.store.tables.destinations import ARCHIVE
from skyrelay_gateway.delivery_retries import can_be_retried
from skyrelay_gateway.models import Action, NeedsYou, ServiceView
from skyrelay_gateway.readiness import Signs, service_remedy
from skyrelay_gateway.words import SETUP_WHAT_TO_DO, TELESCOPE_REMEDIES

_MOST_OF_A_KIND = 10  # a page of them helps nobody; the lists have all
_OFFERED_FOR = timedelta(days=30)
_OFFERED_BLOCKS = frozenset(
    {BlockState.COLLECTING, BlockState.READY, BlockState.SKIPPED, BlockState.FAILED}
)  # of what is stacked the rest came too late
_HELD_FRAMES_FOR = timedelta(days=2)  # then only the receipt of their night tells of them
_FIRST_BEAT_WITHIN = timedelta(seconds=45)  # all services are started together
_WAITING_BLOCKS = frozenset({BlockState.COLLECTING, BlockState.READY, BlockState.STACKING, BlockState.FAILED})
# Frames can be seen before their telescope has first answered and is known to be a configured one.
_MEETING = timedelta(hours=1)
_HELD_REMEDIES = {
    FrameState.UNREADABLE: "Copy them again from the telescope: they are read again once they change.",
    FrameState.CLOCK_WRONG: "Set the clock right. These frames stay held, since their times cannot be "
    "trusted: release them if you know better.",
    FrameState.NOT_ON_TELESCOPE: "A telescope stacks only what lies on it: put them back, or let them be.",
}


def needs_of_setup(settings: Settings) -> Iterator[NeedsYou]:
    """Say that the set-up is not finished, when it is not."""
    if settings.setup == "ask":
        yield NeedsYou(what="Skyrelay waits for your go", reason="setup: ask", what_to_do=SETUP_WHAT_TO_DO)


def needs_of_services(signs: Signs, services: Iterable[ServiceView], up_for: timedelta) -> Iterator[NeedsYou]:
    """Name the services that do not work; a new one has some time from our own start to show itself."""
    if signs.problem is not None:
        yield NeedsYou(
            what="Redis does not answer",
            reason=signs.problem,
            what_to_do="Start it, or correct redis_url. Nothing is lost: work goes on when it is back.",
        )
        return
    for service in services:
        remedy = service_remedy(service)
        is_new = service.state == "never seen" and up_for < _FIRST_BEAT_WITHIN
        if remedy is not None and not is_new:
            reason = service.state if service.age_s is None else f"no sign of life for {service.age_s:.0f} s"
            yield NeedsYou(what=f"The {service.service} does not work", reason=reason, what_to_do=remedy)


def needs_of_telescopes(session: Session) -> Iterator[NeedsYou]:
    """Name the telescopes whose state lasts until a person does something."""
    query = select(Telescope).where(Telescope.state.in_(TELESCOPE_REMEDIES)).order_by(Telescope.name)
    for telescope in session.scalars(query):
        state = TelescopeState(telescope.state)
        yield NeedsYou(
            what=f"{telescope.name}: {TELESCOPE_WORDS[state].lower()}",
            reason=telescope.state_reason,
            what_to_do=TELESCOPE_REMEDIES[state],
        )


def needs_of_destinations(session: Session) -> Iterator[NeedsYou]:
    """Name the destinations that nothing is sent to."""
    query = select(Destination).where(Destination.paused_reason.is_not(None)).order_by(Destination.name)
    for destination in session.scalars(query):
        if destination.name == ARCHIVE:
            reason = destination.paused_reason or ""
            yield NeedsYou(what="The archive is full", reason=reason, what_to_do=_FULL_REMEDY)
            continue
        yield NeedsYou(
            what=f"Deliveries to {destination.name} wait",
            reason=destination.paused_reason or "",
            what_to_do=f"Check the section {destination.name} of config.yaml, user name and password first; "
            "deliveries go on by themselves once the account works.",
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
        start_local = block.start_at + timedelta(minutes=block.utc_offset_min)
        yield NeedsYou(
            what=f"{block.target} on {telescope}, {start_local:%H:%M} in the night of {block.night}",
            reason=block.reason,
            what_to_do="Put right what the reason names, then have it stacked again.",
            action=Action(label="Stack again", path="api/v1/stack", body={"block_id": block.id}),
        )


def needs_of_late_frames(session: Session, now: datetime) -> Iterator[NeedsYou]:
    """Offer to stack again the blocks that got more frames in the last days after they were stacked."""
    late = _late_frames(session, now - _HELD_FRAMES_FOR)
    query = (
        select(Block, Telescope.name)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .options(defer(Block.intent))
        .where(Block.id.in_(late), Block.state.in_(_TOO_LATE_FOR), Telescope.host.is_not(None))
        .order_by(Block.id.desc())
    )
    for block, telescope in session.execute(query.limit(_MOST_OF_A_KIND)):
        start_local = block.start_at + timedelta(minutes=block.utc_offset_min)
        again = Action(label="Stack again", path="api/v1/stack", body={"block_id": block.id, "again": True})
        yield NeedsYou(
            what=f"{block.target} on {telescope}, {start_local:%H:%M} in the night of {block.night}",
            reason=f"{late_words(late[block.id])} {_TOO_LATE_FOR[BlockState(block.state)]}",
            what_to_do="Have it stacked again, which makes a second stack beside the first, or let it be.",
            action=again,
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
            what=f"{number} block{'' if number == 1 else 's'} of {telescope} cannot be stacked",
            reason=f"{telescope} has no address ({state_reason}); the first is of the night of {night}",
            what_to_do="Put it, with its host, under `telescopes` in config.yaml and start Skyrelay again."
            + (f" If it is {' or '.join(unmet)}, which has never answered: switch that on." if unmet else ""),
        )


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
        name = subject if delivery.kind == DeliveryKind.STACK else f"{delivery.kind} of {subject}".rstrip()
        again = Action(label="Send again", path=f"api/v1/deliveries/{delivery.id}/retry", body={})
        if delivery.kind == DeliveryKind.RAW and delivery.state == DeliveryState.DEAD:
            again = Action(label="Stack instead", path="api/v1/stack", body={"block_id": delivery.block_id})
        yield NeedsYou(
            what=f"{name} to {delivery.destination}",
            reason=delivery.reason or f"{delivery.state}",
            what_to_do=_DELIVERY_REMEDIES.get(DeliveryState(delivery.state), _DELIVERY_REMEDY),
            action=again if can_be_retried(delivery) else None,
        )


_TOO_LATE_FOR = {
    BlockState.STACKED: "for its stack",
    BlockState.RAW: "to be sent with its other raw frames",
}
_FULL_REMEDY = "Free some space on its disk; stacks are fetched again by themselves once there is some."
_DELIVERY_REMEDY = "Put right what the reason names, then have it sent again."
_DELIVERY_REMEDIES = {
    DeliveryState.ACCEPTED: "If it is not on the server's web page, have it sent again: the list is asked "
    "once more before."
}


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
        if why_not_raw(block, telescope, frames) is not None:
            continue
        start_local = block.start_at + timedelta(minutes=block.utc_offset_min)
        yield NeedsYou(
            what=f"{block.target} on {telescope.name}, {start_local:%H:%M} in the night of {block.night}",
            reason=f"not all of its {len(frames)} frames lie on the telescope; a watched folder has them",
            what_to_do="Have the raw frames sent for CrowdSky to stack, put them back, or let them be.",
            action=Action(label="Send raw frames", path="api/v1/raw", body={"block_id": block.id}),
        )


def needs_of_frames(session: Session, now: datetime) -> Iterator[NeedsYou]:
    """Name the frames of the last days that are held."""
    for telescope, state, number, name in session.execute(_held_query(now - _HELD_FRAMES_FOR)):
        yield NeedsYou(
            what=f"{number} frame{'' if number == 1 else 's'} of {telescope}: {state}",
            reason=f"{name}" + (f" and {number - 1} more" if number > 1 else ""),
            what_to_do=_HELD_REMEDIES[FrameState(state)],
        )


def _held_query(since: datetime) -> Select[str, str, int, str]:
    return (
        select(Telescope.name, Frame.state, func.count(), func.min(Frame.file_name))
        .join_from(Frame, Telescope, Telescope.id == func.coalesce(Frame.telescope_id, 0))
        .where(is_not_ok(), Frame.stack_id.is_(None), Frame.is_sent_raw.is_(False), Frame.seen_at >= since)
        .group_by(Telescope.name, Frame.state)
        .order_by(Telescope.name, Frame.state)
    )
