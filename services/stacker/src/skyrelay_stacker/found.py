"""Take stacks into the books that another tool made and that cover a block of ours."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.domain.chunk import ChunkKey, chunk_of
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from skyrelay.store.tables import Block, Frame, Stack
from skyrelay.store.transitions import audit

_ACTOR = "stacker"


def book_found(session: Session, block: Block, file_name: str, now: datetime) -> None:
    """Book the stack that covers a block; it is offered, and nothing of it is sent before a person wants
    it so.

    Its frames are known by number only: the block's are not said to be in it.
    """
    name = parse_stack_name(file_name)
    folder = target_of_folder(block.folder)
    if not isinstance(name, CrowdSkyName | CrowdSkyLegacyName) or _is_booked(
        session, block, folder, file_name
    ):
        return
    first_start, last_start = _first_and_last_start(session, block)
    stack = Stack(
        block_id=block.id,
        telescope_id=block.telescope_id,
        folder=folder,
        original_name=file_name,
        crowdsky_name=file_name,
        renamed_at=now,
        chunk_key=str(
            name.key if isinstance(name, CrowdSkyName) else ChunkKey(chunk_of(block.start_at), None)
        ),
        frames_input=block.frame_count,
        frames_aligned=name.frames,
        exposure_total_s=name.frames * block.exposure_s,
        first_start_at=first_start,
        last_end_at=last_start + timedelta(seconds=block.exposure_s),
        found_at=now,
        is_offered=True,
        created_at=now,
    )
    session.add(stack)
    session.flush()
    reason = f"{file_name} was made by another tool"
    audit(session, now=now, actor=_ACTOR, subject=("stack", stack.id), event="found", reason=reason)


def _is_booked(session: Session, block: Block, folder: str, file_name: str) -> bool:
    query = select(Stack.id).where(
        Stack.telescope_id == block.telescope_id, Stack.folder == folder, Stack.original_name == file_name
    )
    return session.scalar(query.limit(1)) is not None


def _first_and_last_start(session: Session, block: Block) -> tuple[datetime, datetime]:
    """Give when the first and the last frame of the block began, aware UTC."""
    query = select(func.min(Frame.start_at), func.max(Frame.start_at)).where(Frame.block_id == block.id)
    first, last = session.execute(query).one()
    return first or block.start_at, last or block.start_at
