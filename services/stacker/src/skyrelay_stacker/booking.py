"""Book what a batch stack yielded: the stack, the frames in it and the delivery, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.claiming import Naming, free_name, name_stack, position_of
from skyrelay.crowdsky.outputs import Output, find_output
from skyrelay.domain.block import BLOCK_MINUTES
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.logs import get_logger
from skyrelay.seestar.stack_run import StackRun
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease
from skyrelay.store.runs import COMPLETE, note_outcome
from skyrelay.store.tables import Block, Delivery, Frame, ScriptedStack, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState, move_block
from skyrelay_stacker.planning import key_of
from skyrelay_stacker.recording import ACTOR, link_frames_to_stack
from skyrelay_stacker.workshop import Workshop

_DRIFT = timedelta(days=1)  # how far a start may have moved since it was estimated: a wrong zone, at worst


def book_stack(
    workshop: Workshop, block_id: int, seestar: Seestar, lease: HeldLease, run: StackRun
) -> Stack | None:
    """Find the stack that a run left and book it; `None` when there is none that can be the block's."""
    with workshop.store.read() as session:
        block = session.get_one(Block, block_id)
    output = find_block_output(workshop, seestar, block, run)
    if output is None:
        return None
    naming = _name(block, output)  # before all others wait for us: it may load astropy, which takes seconds
    with workshop.store.write() as session:
        lease.check_write(session)
        block = session.get_one(Block, block_id)
        if block.state != BlockState.STACKING:  # its telescope was taken out of the configuration, say
            raise StaleState(f"block {block.id} is {block.state} by now")
        stack = _new_stack(session, block, output, naming)
        link_frames_to_stack(session, block, files_given(block), stack.id, utc_now())
        reason = f"{output.name.frames} of {len(files_given(block))} frames are in the stack"
        move_block(
            session,
            block,
            BlockState.STACKED,
            now=utc_now(),
            actor=ACTOR,
            reason=reason,
            percent=100.0,
            next_attempt_at=None,
            needs_you=False,
        )
        note_outcome(session, block, COMPLETE, stack_id=stack.id)
        if workshop.settings.crowdsky.enabled and block.minutes == BLOCK_MINUTES:
            _owe_to_crowdsky(session, stack)
    return stack


def find_block_output(workshop: Workshop, seestar: Seestar, block: Block, run: StackRun) -> Output | None:
    """Find the block's output among what is new in its folder and booked as no other block's."""
    with workshop.store.read() as session:
        span = _first_and_last_start(session, block)
    # What is booked already is another block's, even if a clock that was set back let a name come again.
    return find_output(
        seestar,
        target_of_folder(block.folder),
        key_of(block),
        before={*outputs_before(block), *_names_booked(workshop, block)},
        frames_given=len(files_given(block)),
        span=span,
        run=run,
    )


def _names_booked(workshop: Workshop, block: Block) -> list[str]:
    """Give the telescope's own names of all stacks in the folder that are booked, whoever had them made."""
    folder = target_of_folder(block.folder)
    names: list[str] = []
    with workshop.store.read() as session:
        for table in (Stack, ScriptedStack):
            booked = select(table.original_name).where(
                table.telescope_id == block.telescope_id, table.folder == folder
            )
            names += [name for name in session.scalars(booked) if name is not None]
    return names


def _name(block: Block, output: Output) -> Naming:
    position = position_of(output.header)
    if position is None:
        get_logger(__name__).warning(
            "the stack's position is not known: it is named HP000000", block=block.id
        )
    offset = timedelta(minutes=block.utc_offset_min)
    return name_stack(key_of(block), offset, output.name.frames, position, output.name.extension)


def _new_stack(session: Session, block: Block, output: Output, naming: Naming) -> Stack:
    position = position_of(output.header)
    first_start, last_start = _first_and_last_start(session, block)
    stack = Stack(
        block_id=block.id,
        telescope_id=block.telescope_id,
        folder=target_of_folder(block.folder),
        original_name=output.name.build(),
        crowdsky_name=_free_name(session, block, naming.crowdsky_name, output.names),
        chunk_key=str(naming.chunk_key),
        frames_input=len(files_given(block)),
        frames_aligned=output.name.frames,
        exposure_total_s=output.name.frames * block.exposure_s,
        first_start_at=first_start,
        last_end_at=last_start + timedelta(seconds=block.exposure_s),
        ra_deg=position[0] if position else None,
        dec_deg=position[1] if position else None,
        size_bytes=output.size_bytes,
        created_at=utc_now(),
    )
    session.add(stack)
    session.flush()
    return stack


def _first_and_last_start(session: Session, block: Block) -> tuple[datetime, datetime]:
    """Give when the first and the last of the frames given began, aware UTC."""
    given = set(files_given(block))
    starts = session.execute(
        select(Frame.file_name, Frame.start_at).where(
            Frame.telescope_id == block.telescope_id,
            Frame.folder == block.folder,
            Frame.start_at >= block.start_at - _DRIFT,
            Frame.start_at < key_of(block).end + _DRIFT,
        )
    )
    known = [start for file_name, start in starts if start is not None and file_name in given]
    return min(known, default=block.start_at), max(known, default=block.start_at)


def _free_name(session: Session, block: Block, name: str, there: frozenset[str]) -> str:
    """Number the name where it is taken, and where the block has been stacked before."""
    earlier: set[str] = set()
    for _ in range(session.scalar(select(func.count()).where(Stack.block_id == block.id)) or 0):
        earlier.add(free_name(name, earlier))
    return free_name(name, there | _names_given(session, block) | earlier)


def _names_given(session: Session, block: Block) -> frozenset[str]:
    """Give the names that stacks in the folder are to get, though the telescope may not show them yet."""
    folder = target_of_folder(block.folder)
    names = select(Stack.crowdsky_name).where(
        Stack.telescope_id == block.telescope_id, Stack.folder == folder
    )
    return frozenset(session.scalars(names))


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


def has_held_frames(session: Session, block: Block) -> bool:
    """Tell whether any of the frames that were given waits for a person by now."""
    held = select(Frame.file_name).where(
        Frame.telescope_id == block.telescope_id, Frame.folder == block.folder, Frame.needs_release.is_(True)
    )
    return not set(session.scalars(held)).isdisjoint(files_given(block))


def files_given(block: Block) -> list[str]:
    """Give the frames that the telescope was told to stack, as the recorded intent names them."""
    files: list[str] = (block.intent or {}).get("files", [])
    return files


def outputs_before(block: Block) -> list[str]:
    """Give what lay in the stacks' folder before the telescope was told, as the recorded intent names it."""
    names: list[str] = (block.intent or {}).get("outputs_before", [])
    return names
