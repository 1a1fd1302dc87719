"""Runs: write down what a telescope is given to stack in one go and what comes of it, and sum it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.states import BlockState
from skyrelay.store.tables import Block, Run, RunBlock, Stack

COMPLETE = "complete"
_UNFINISHED = frozenset({"working", "ready"})
_Entry = tuple[RunBlock, Block, Stack | None]


def open_run(session: Session, telescope_id: int) -> Run | None:
    """Give the run of a telescope that goes on."""
    return session.scalar(select(Run).where(Run.telescope_id == telescope_id, Run.ended_at.is_(None)))


def join_run(session: Session, block: Block, now: datetime) -> None:
    """Write down that a block is begun, in the telescope's open run or in a new one."""
    run = open_run(session, block.telescope_id)
    if run is None:
        run = Run(telescope_id=block.telescope_id, night=block.night, began_at=now)
        session.add(run)
        session.flush()
    entry = session.get(RunBlock, (run.id, block.id))
    if entry is None:
        session.add(RunBlock(run_id=run.id, block_id=block.id, status="working"))
    else:
        entry.status, entry.error = "working", None
    session.flush()


def note_outcome(
    session: Session, block: Block, status: str, *, stack_id: int | None = None, error: str | None = None
) -> None:
    """Write down what became of a block in the run that goes on, if it is in it."""
    run = open_run(session, block.telescope_id)
    entry = session.get(RunBlock, (run.id, block.id)) if run is not None else None
    if entry is not None:
        entry.status, entry.stack_id, entry.error = status, stack_id, error


def end_run(session: Session, run: Run, now: datetime) -> None:
    """Close a run with its summary."""
    session.flush()
    run.ended_at, run.summary = now, build_summary(session, run)


def forget_block(session: Session, block_id: int) -> None:
    """Take a block that goes, because it never was one, out of the runs."""
    session.execute(delete(RunBlock).where(RunBlock.block_id == block_id))


def build_summary(session: Session, run: Run) -> dict[str, Any]:
    """Sum a run up, with the keys of `skyrelay.direct.summaries.AllSummary`; times are ISO texts.

    ``blocks_skipped`` counts the blocks of the run's targets and nights that were not worth stacking.
    """
    query = (
        select(RunBlock, Block, Stack)
        .join(Block, Block.id == RunBlock.block_id)
        .outerjoin(Stack, Stack.id == RunBlock.stack_id)
        .where(RunBlock.run_id == run.id)
        .order_by(Block.target, Block.start_at, Block.id)
    )
    by_target: dict[str, list[_Entry]] = defaultdict(list)
    for entry, block, stack in session.execute(query):
        by_target[target_of_folder(block.folder)].append((entry, block, stack))
    skipped = _count_skipped(session, run, [row[1] for rows in by_target.values() for row in rows])
    per_target = [
        _target_summary(target, rows, skipped.get(target, 0)) for target, rows in sorted(by_target.items())
    ]
    return {
        "targets_processed": len(per_target),
        "targets_with_work": len(per_target),
        "total_blocks_stacked": sum(each["blocks_stacked"] for each in per_target),
        "total_blocks_failed": sum(each["blocks_failed"] for each in per_target),
        "total_blocks_skipped": sum(each["blocks_skipped"] for each in per_target),
        "per_target": per_target,
    }


def _count_skipped(session: Session, run: Run, blocks: Iterable[Block]) -> Mapping[str, int]:
    nights = {block.night for block in blocks}
    query = (
        select(Block.folder, func.count())
        .where(
            Block.telescope_id == run.telescope_id,
            Block.state == BlockState.SKIPPED,
            Block.night.in_(nights),
        )
        .group_by(Block.folder)
    )
    return {target_of_folder(folder): number for folder, number in session.execute(query)}


def _target_summary(target: str, rows: Sequence[_Entry], skipped: int) -> dict[str, Any]:
    results = [_result(*row) for row in rows]
    stacked = sum(result["status"] == COMPLETE for result in results)
    unfinished = sum(result["status"] in _UNFINISHED for result in results)
    return {
        "target": target,
        "blocks_stacked": stacked,
        "blocks_failed": len(results) - stacked - unfinished,
        "blocks_skipped": skipped,
        "results": results,
    }


def _result(entry: RunBlock, block: Block, stack: Stack | None) -> dict[str, Any]:
    zone = timezone(timedelta(minutes=block.utc_offset_min))
    result: dict[str, Any] = {
        "block_start": block.start_at.astimezone(zone).isoformat(),
        "block_end": (block.start_at + timedelta(minutes=block.minutes)).astimezone(zone).isoformat(),
        "exposure": block.exposure,
        "filter": block.filter,
        "status": entry.status,
    }
    if stack is not None:
        is_named = stack.renamed_at is not None
        result |= {
            "frames": stack.frames_aligned,
            "output_file": stack.crowdsky_name if is_named else None,
            "rename_failed": not is_named,
        }
    return result if entry.error is None else {**result, "error": entry.error}
