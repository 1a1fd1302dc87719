"""What tells a delivery's stack from all others on the server, and what the server's list says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.claims import Claim, share_rows
from skyrelay.crowdsky.matching import Finding, StackIdentity, find_ours, listed_row
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.outbox.raw_progress import Manifest
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay.store.tables.destinations import CROWDSKY


@dataclass(frozen=True, slots=True)
class Found:
    """What the server's list says of a delivery.

    Attributes
    ----------
    rows
        Its rows, when all of them are surely there: one of a stack, of raw frames one for each chunk key.
    may_be
        A row that says too little to tell that it is another's.
    shared_with
        How many other sends of the same block there were.
    """

    rows: tuple[ServerStack, ...] = ()
    may_be: ServerStack | None = None
    shared_with: int = 0


def find_delivery(session: Session, delivery: Delivery, rows: Sequence[ServerStack]) -> Found:
    """Look for a delivery in the server's list.

    A row that another delivery of the same block has, or is nearer to, is not this one's: a block that was
    stacked again has two stacks of one span.
    """
    identities = identities_of(session, delivery)
    others = _others(session, delivery)
    has = {id_ for other in others for id_ in (other.server_id or "").split(",") if id_}
    free = [row for row in rows if str(row.id) not in has] if has else rows
    sent = [other for other in others if other.sent_at is not None]
    waiting = [other for other in sent if other.state != DeliveryState.CONFIRMED or other.server_id is None]
    findings = _share(session, delivery, identities, waiting, free)
    # Where nobody else waits for a row, one that lacks nothing but its end is this one's.
    pairs = zip(findings, identities, strict=True)
    listed = [finding.row if waiting else listed_row(finding, identity) for finding, identity in pairs]
    found = tuple(row for row in listed if row is not None)
    if found and len(found) == len(findings):
        return Found(found, shared_with=len(sent))
    may_be = next((finding.may_be for finding in findings if finding.may_be is not None), None)
    return Found(may_be=may_be, shared_with=len(sent))


def identities_of(session: Session, delivery: Delivery) -> tuple[StackIdentity, ...]:
    """Give what tells a delivery's stacks from all others; none of raw frames whose headers were not read."""
    if delivery.kind == DeliveryKind.RAW:
        return () if delivery.raw_frames is None else Manifest.read(delivery.raw_frames).identities
    return (identity_of(session, delivery),)


def identity_of(session: Session, delivery: Delivery) -> StackIdentity:
    """Give what tells a delivery's stack from all others on the server."""
    query = (
        select(Stack, Telescope.serial, Block.filter)
        .join_from(Stack, Telescope)
        .join(Block, Block.id == Stack.block_id)
    )
    stack, serial, filter_name = session.execute(query.where(Stack.id == delivery.stack_id)).one()
    keys = {stack.chunk_key, delivery.server_chunk_key}
    return StackIdentity(
        telescope_serial=serial or "",
        filter_name=filter_name,
        first_start_at=stack.first_start_at,
        last_start_at=stack.last_start_at if stack.knows_frames else None,
        chunk_keys=frozenset(key for key in keys if key is not None),
        total_exptime_s=stack.exposure_total_s,
    )


def _share(
    session: Session,
    delivery: Delivery,
    identities: Sequence[StackIdentity],
    waiting: Sequence[Delivery],
    rows: Sequence[ServerStack],
) -> list[Finding]:
    if len(identities) != 1 or not waiting:
        return [find_ours(rows, identity) for identity in identities]
    mine = _claim(session, delivery, identities[0])
    theirs = [
        _claim(session, other, identity) for other in waiting for identity in identities_of(session, other)
    ]
    in_order = sorted([mine, *theirs], key=lambda claim: claim.key)
    return [share_rows(rows, in_order)[mine.key]]


def _claim(session: Session, delivery: Delivery, identity: StackIdentity) -> Claim:
    stack = session.get(Stack, delivery.stack_id) if delivery.stack_id is not None else None
    if stack is not None:
        return Claim(delivery.id, identity, stack.frames_input, stack.frames_aligned)
    frames = None if delivery.raw_frames is None else len(delivery.raw_frames["frames"])
    return Claim(delivery.id, identity, frames)


def _others(session: Session, delivery: Delivery) -> Sequence[Delivery]:
    """Give the other deliveries of the block to CrowdSky: of its other stacks, and of its raw frames."""
    block_id = delivery.block_id or session.scalar(
        select(Stack.block_id).where(Stack.id == delivery.stack_id)
    )
    stacks = select(Stack.id).where(Stack.block_id == block_id)
    ours = (Delivery.destination == CROWDSKY, Delivery.id != delivery.id)
    found = [
        delivery
        for of_block in (Delivery.stack_id.in_(stacks), Delivery.block_id == block_id)
        for delivery in session.scalars(select(Delivery).where(*ours, of_block))
    ]
    return sorted(found, key=lambda other: other.id)
