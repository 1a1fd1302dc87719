"""Book what a batch stack yielded: the stack, the frames in it and the delivery, in one transaction."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BLOCK_MINUTES
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.stack_name import DsoStackedName
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.fits_header import FitsHeader
from skyrelay.logs import get_logger
from skyrelay.seestar.stack_run import StackRun
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease
from skyrelay.store.tables import Block, Delivery, Frame, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import move_block
from skyrelay_stacker.claiming import candidates, has_filter, name_stack, position_of
from skyrelay_stacker.planning import key_of
from skyrelay_stacker.recording import ACTOR, link_frames_to_stack
from skyrelay_stacker.workshop import Workshop


def book_stack(
    workshop: Workshop, block_id: int, seestar: Seestar, lease: HeldLease, run: StackRun
) -> Stack | None:
    """Find the stack that a run left and book it; `None` when there is none that can be the block's."""
    with workshop.store.read() as session:
        block = session.get_one(Block, block_id)
    found = find_output(seestar, block, run)
    if found is None:
        return None
    output, header, size_bytes = found
    with workshop.store.write() as session:
        lease.check_write(session)
        block = session.get_one(Block, block_id)
        stack = _new_stack(session, block, output, header, size_bytes)
        link_frames_to_stack(session, block.id, files_given(block), stack.id)
        reason = f"{output.frames} of {len(files_given(block))} frames are in the stack"
        move_block(
            session, block, BlockState.STACKED, now=utc_now(), actor=ACTOR, reason=reason, percent=100.0
        )
        if workshop.settings.crowdsky.enabled and block.minutes == BLOCK_MINUTES:
            _owe_to_crowdsky(session, stack)
    return stack


def find_output(
    seestar: Seestar, block: Block, run: StackRun
) -> tuple[DsoStackedName, FitsHeader, int | None] | None:
    """Find the block's output among what is new in the folder, the one that the run names first."""
    folder = target_of_folder(block.folder)
    listing = seestar.list_folder(folder)
    before = (block.intent or {}).get("outputs_before", [])
    fitting = candidates(listing.names, before, key_of(block), len(files_given(block)))
    for name in sorted(fitting, key=lambda name: (name.build() not in run.output_files, name.saved_local)):
        header = seestar.read_header(folder, name.build())
        if has_filter(header, block.filter):
            size = next((file.size_bytes for file in listing.files if file.name == name.build()), None)
            return name, header, size
    return None


def _new_stack(
    session: Session, block: Block, output: DsoStackedName, header: FitsHeader, size_bytes: int | None
) -> Stack:
    position = position_of(header)
    if position is None:
        get_logger(__name__).warning(
            "the stack's position is not known: it is named HP000000", block=block.id
        )
    offset = timedelta(minutes=block.utc_offset_min)
    naming = name_stack(key_of(block), offset, output.frames, position, output.extension)
    starts = session.scalars(
        select(Frame.start_at).where(Frame.block_id == block.id, Frame.file_name.in_(files_given(block)))
    ).all()
    known = [start for start in starts if start is not None]
    stack = Stack(
        block_id=block.id,
        telescope_id=block.telescope_id,
        folder=target_of_folder(block.folder),
        original_name=output.build(),
        crowdsky_name=naming.crowdsky_name,
        chunk_key=str(naming.chunk_key),
        frames_input=len(files_given(block)),
        frames_aligned=output.frames,
        exposure_total_s=output.frames * block.exposure_s,
        first_start_at=min(known),
        last_end_at=max(known) + timedelta(seconds=block.exposure_s),
        ra_deg=position[0] if position else None,
        dec_deg=position[1] if position else None,
        size_bytes=size_bytes,
        created_at=utc_now(),
    )
    session.add(stack)
    session.flush()
    return stack


def _owe_to_crowdsky(session: Session, stack: Stack) -> None:
    now = utc_now()
    session.add(
        Delivery(
            stack_id=stack.id,
            destination=CROWDSKY,
            state=DeliveryState.PENDING,
            reason="to be fetched from the telescope, then sent",
            created_at=now,
            updated_at=now,
        )
    )


def files_given(block: Block) -> list[str]:
    """Give the frames that the telescope was told to stack, as the recorded intent names them."""
    files: list[str] = (block.intent or {}).get("files", [])
    return files
