"""The raw route: a block whose frames go to the server's own stacker, instead of a stack of them.

A block is on one route or on the other: it becomes ``raw`` in the transaction that owes its frames, and
leaves that state, for its telescope to stack it after all, only if a person says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from skyrelay.domain.block import BLOCK_MINUTES
from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, FrameState, TelescopeState
from skyrelay.smb_path import SCHEME
from skyrelay.store.tables import Block, Delivery, Frame, Telescope
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState, move_block, move_delivery

_SENDABLE = (FrameState.OK, FrameState.NOT_ON_TELESCOPE)
_WITHDRAWN = "withdrawn: its block is to be stacked on the telescope instead"


def frames_for_raw(session: Session, block: Block) -> Sequence[Frame]:
    """Give the frames of a block that are good and in no stack, wherever they lie, by start."""
    query = select(Frame).where(
        Frame.block_id == block.id, Frame.stack_id.is_(None), Frame.state.in_(_SENDABLE)
    )
    return session.scalars(query.order_by(Frame.start_at, Frame.file_name)).all()


def is_at_hand(frame: Frame) -> bool:
    """Tell whether a frame was seen in a watched folder of this server, rather than on a share far away."""
    return bool(frame.seen_path and frame.seen_root and not frame.seen_root.startswith(SCHEME))


def why_not_raw(session: Session, block: Block, telescope: Telescope, frames: Sequence[Frame]) -> str | None:
    """Say why a block cannot go by the raw route now; `None` when it can.

    Parameters
    ----------
    frames
        See `frames_for_raw`.
    """
    if owed := _words_of_what_is_owed(raw_delivery_of(session, block.id)):
        return owed
    if block.minutes != BLOCK_MINUTES:
        return f"the server stacks quarter hours, and its blocks have {block.minutes} min"
    if not frames:
        return "none of its frames can be sent"
    chunk = chunk_of(block.start_at)
    if elsewhere := sum(frame.start_at is None or chunk_of(frame.start_at) != chunk for frame in frames):
        return (
            f"{elsewhere} of its {len(frames)} frames began in another quarter hour of UTC, which the server "
            "would file them under (stacking.block_time: name)"
        )
    if away := sum(not _can_be_had(frame, telescope) for frame in frames):
        return (
            f"{away} of its {len(frames)} frames lie neither in a watched folder of this server nor on a "
            "telescope that answers"
        )
    return None


def send_raw(
    session: Session, block: Block, frames: Iterable[Frame], *, now: datetime, actor: str, reason: str
) -> Delivery:
    """Take a block to the raw route and owe its frames, in the caller's transaction.

    Parameters
    ----------
    frames
        Those that go.
    reason
        Why, in words for a person.

    Raises
    ------
    skyrelay.store.transitions.StaleState
        If the block has gone on meanwhile, or raw frames of it are on their way, or at the server.
    """
    if owed := _words_of_what_is_owed(raw_delivery_of(session, block.id, lock=True)):
        raise StaleState(owed)
    frames = list(frames)
    values = {"needs_you": False, "next_attempt_at": None, "percent": None}
    detail = {"frames": len(frames)}
    move_block(session, block, BlockState.RAW, now=now, actor=actor, reason=reason, detail=detail, **values)
    for frame in frames:
        frame.is_sent_raw = True
    delivery = _owe(session, block, now, actor)
    session.flush()
    return delivery


def withdraw_raw(session: Session, block: Block, *, now: datetime, actor: str) -> None:
    """Give up the delivery of a block's raw frames as far as it has not arrived, and free the frames.

    The caller takes the block back from ``raw`` in the same transaction, because a person asked for it.
    """
    session.execute(update(Frame).where(Frame.block_id == block.id).values(is_sent_raw=False))
    delivery = raw_delivery_of(session, block.id, lock=True)
    if delivery is None or delivery.state in {DeliveryState.CONFIRMED, DeliveryState.ACCEPTED}:
        return
    if delivery.state != DeliveryState.DEAD:
        rest = {"lease_until": None, "next_attempt_at": None, "raw_session": None}
        move_delivery(session, delivery, DeliveryState.DEAD, now=now, actor=actor, reason=_WITHDRAWN, **rest)
    delivery.reason, delivery.needs_you = _WITHDRAWN, False


def raw_delivery_of(session: Session, block_id: int, *, lock: bool = False) -> Delivery | None:
    """Give the delivery of a block's raw frames, if there is or was one."""
    query = select(Delivery).where(Delivery.block_id == block_id, Delivery.destination == CROWDSKY)
    return session.scalar(query.with_for_update() if lock else query)


def may_be_at_server(session: Session, block: Block) -> bool:
    """Tell whether raw frames of a block were sent without an answer, and then withdrawn or given up."""
    delivery = raw_delivery_of(session, block.id)
    return delivery is not None and delivery.sent_at is not None and delivery.ask_first


def _words_of_what_is_owed(delivery: Delivery | None) -> str | None:
    """Say why frames cannot join those that went earlier; `None` where none went, or they came to nothing.

    The server stacks no raw frames beside those that it has of a chunk.
    """
    if delivery is None or delivery.state == DeliveryState.DEAD:
        return None
    if delivery.state in {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED}:
        return (
            f"raw frames of it are at the server already (delivery {delivery.id}), which stacks no others "
            "beside them: have the block stacked on its telescope"
        )
    return f"raw frames of it are on their way already (delivery {delivery.id} is {delivery.state})"


def _can_be_had(frame: Frame, telescope: Telescope) -> bool:
    on_telescope = frame.state == FrameState.OK and frame.inventoried_at is not None
    answers = telescope.address is not None and telescope.state != TelescopeState.UNREACHABLE
    return is_at_hand(frame) or (on_telescope and answers)


def _owe(session: Session, block: Block, now: datetime, actor: str) -> Delivery:
    delivery, reason = raw_delivery_of(session, block.id, lock=True), "its raw frames are to be sent"
    if delivery is None:
        delivery = Delivery(
            kind=DeliveryKind.RAW,
            block_id=block.id,
            destination=CROWDSKY,
            state=DeliveryState.PENDING,
            reason=reason,
            created_at=now,
            updated_at=now,
        )
        session.add(delivery)
    else:  # an earlier one, withdrawn or given up
        again: dict[str, Any] = {"needs_you": False, "next_attempt_at": None, "raw_frames": None}
        again |= {"raw_session": None, "ask_first": False, "given_up_at": None}
        move_delivery(session, delivery, DeliveryState.PENDING, now=now, actor=actor, reason=reason, **again)
    return delivery
