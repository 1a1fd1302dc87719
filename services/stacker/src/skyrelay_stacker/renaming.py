"""Give stacks their CrowdSky names on the telescope, now or when its share answers again."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from skyrelay.errors import SkyrelayError
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease
from skyrelay.store.leases import LeaseLost
from skyrelay.store.tables import ScriptedStack, Stack
from skyrelay.store.transitions import audit
from skyrelay_stacker.recording import ACTOR
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
_A_RENAME = timedelta(seconds=15)  # what must be left of the lease to begin one
_GIVE_UP_AFTER = timedelta(days=14)  # by then its owner has moved or deleted it


def rename_what_waits(workshop: Workshop, telescope_id: int, seestar: Seestar, lease: HeldLease) -> None:
    """Rename each stack of the telescope that still has its own name, also those that scripts had made."""
    since = utc_now() - _GIVE_UP_AFTER
    ours = (Stack.telescope_id == telescope_id, Stack.renamed_at.is_(None), Stack.created_at > since)
    scripts = (
        ScriptedStack.telescope_id == telescope_id,
        ScriptedStack.renamed_at.is_(None),
        ScriptedStack.stacked_at > since,
    )
    with workshop.store.read() as session:
        waiting = [
            *session.scalars(select(Stack).where(*ours)),
            *session.scalars(select(ScriptedStack).where(*scripts)),
        ]
    for stack in waiting:
        rename_stack(workshop, stack, seestar, lease)


def rename_stack(
    workshop: Workshop, stack: Stack | ScriptedStack, seestar: Seestar, lease: HeldLease
) -> None:
    """Rename a stack and its pictures; what does not work is remembered and tried again at the next look."""
    try:
        if not _has_its_name(stack, seestar):
            lease.check(_A_RENAME)
            deadline = Deadline.after(_A_RENAME)
            seestar.rename(*_names(stack), deadline=deadline)
    except LeaseLost:
        raise
    except SkyrelayError as error:
        _log.warning("a stack keeps its own name for now", stack_name=stack.crowdsky_name, problem=str(error))
        _record(workshop, stack, None, str(error))
    else:
        _record(workshop, stack, utc_now(), None)


def _names(stack: Stack | ScriptedStack) -> tuple[str, str, str]:
    """Give folder, present and wanted name; a scripted stack has both names as soon as it is stacked."""
    return stack.folder, stack.original_name or "", stack.crowdsky_name or ""


def _has_its_name(stack: Stack | ScriptedStack, seestar: Seestar) -> bool:
    """Tell whether an earlier rename was carried out though its answer, or we, got lost."""
    folder, original_name, crowdsky_name = _names(stack)
    names = seestar.list_folder(folder).names
    return crowdsky_name in names and original_name not in names


def _record(
    workshop: Workshop, stack: Stack | ScriptedStack, renamed_at: datetime | None, problem: str | None
) -> None:
    with workshop.store.write() as session:
        row = (
            session.get_one(Stack, stack.id)
            if isinstance(stack, Stack)
            else session.get_one(ScriptedStack, stack.id)
        )
        row.renamed_at, row.rename_error = renamed_at, problem
        if renamed_at is not None:
            audit(
                session,
                now=renamed_at,
                actor=ACTOR,
                subject=("stack" if isinstance(row, Stack) else "scripted stack", row.id),
                event="renamed",
                reason=f"{row.original_name} is {row.crowdsky_name} now",
            )
