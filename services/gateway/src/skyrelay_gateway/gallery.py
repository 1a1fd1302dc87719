"""The gallery: stacks with their pictures, and all that is known of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BLOCK_MINUTES
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.late_frames import count_late
from skyrelay.store.receipts import Stage, stage_of
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay_gateway.actions import send_offered, stack_again
from skyrelay_gateway.audit_log import AuditView, history_of
from skyrelay_gateway.listings import Filters, list_stacks, one_stack
from skyrelay_gateway.models import Action, DeliveryView, StackView
from skyrelay_gateway.paging import PageRequest
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.views import delivery_view

_MOST_STEPS = 60


@dataclass(frozen=True, slots=True)
class Picture:
    """A stack as it hangs on the wall; ``source``: kept (in the archive), drawn (from the file), or none."""

    view: StackView
    stage: Stage
    source: str


@dataclass(frozen=True, slots=True)
class Wall:
    """A part of the gallery, and what it can be confined to."""

    pictures: tuple[Picture, ...]
    next_cursor: str | None
    telescopes: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StackStory:
    """One stack with its deliveries and what happened to it, the earliest first.

    ``offer`` has one sent that another tool made, ``again`` its block stacked with the ``late_frames`` too.
    """

    picture: Picture
    has_file: bool
    deliveries: tuple[DeliveryView, ...]
    offer: Action | None
    again: Action | None
    late_frames: int
    history: tuple[AuditView, ...]


def build_wall(session: Session, page: PageRequest, filters: Filters) -> Wall:
    """Hang a part of the stacks, the latest first."""
    part = list_stacks(session, page, filters)
    return Wall(
        pictures=tuple(_pictures(session, part.items)),
        next_cursor=part.next_cursor,
        telescopes=tuple(session.scalars(select(Telescope.name).order_by(Telescope.name))),
        targets=tuple(session.scalars(select(Block.target).distinct().order_by(Block.target))),
    )


def _pictures(session: Session, views: Sequence[StackView]) -> Iterator[Picture]:
    ids = [view.id for view in views]
    rows = {row.id: row for row in session.scalars(select(Stack).where(Stack.id.in_(ids)))}
    states: dict[int, list[DeliveryState]] = {}
    sent = select(Delivery.stack_id, Delivery.state).where(Delivery.stack_id.in_(ids))
    for stack_id, state in session.execute(sent):
        states.setdefault(stack_id or 0, []).append(DeliveryState(state))
    for view in views:
        yield Picture(view, stage_of(BlockState.STACKED, states.get(view.id, ())), _source(rows[view.id]))


def _source(stack: Stack) -> str:
    if stack.thumbnail_path or stack.picture_path:
        return "kept"
    return "drawn" if _has_file(stack) else "none"


def _has_file(stack: Stack) -> bool:
    return stack.archive_path is not None and stack.removed_at is None


def tell_story(session: Session, stack_id: int) -> StackStory:
    """Tell all of one stack.

    Raises
    ------
    Problem
        404 when there is none of that id.
    """
    view = one_stack(session, stack_id)
    (picture,) = _pictures(session, [view])
    rows = session.scalars(select(Delivery).where(Delivery.stack_id == stack_id).order_by(Delivery.id)).all()
    stack = session.get_one(Stack, stack_id)
    block = session.get_one(Block, stack.block_id)
    late = count_late(session, [block.id]).get(block.id, 0)
    subjects = (("block", [block.id]), ("stack", [stack_id]), ("delivery", [row.id for row in rows]))
    return StackStory(
        picture=picture,
        has_file=_has_file(stack),
        deliveries=tuple(delivery_view(row, stack, block, view.telescope, None) for row in rows),
        offer=send_offered(stack_id) if stack.is_offered and block.minutes == BLOCK_MINUTES else None,
        again=stack_again(block.id, BlockState(block.state)) if late else None,
        late_frames=late,
        history=history_of(session, subjects, _MOST_STEPS),
    )


def file_of(session: Session, stack_id: int) -> Stack:
    """Give the row of a stack whose file is in the archive; raise a 404 `Problem` for any other."""
    stack = session.get(Stack, stack_id)
    if stack is None or not _has_file(stack):
        raise Problem(404, f"There is no file of a stack {stack_id}.", "Look at the gallery again.")
    return stack
