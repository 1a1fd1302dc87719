"""How far a purge is: on each telescope, and with each file."""

from __future__ import annotations

from enum import StrEnum


class PurgeState(StrEnum):
    """How far a purge is on one telescope."""

    LISTING = "listing"  # the stacker is to list what would be removed
    LISTED = "listed"  # a person has to confirm it
    REMOVING = "removing"  # confirmed; the stacker is to remove it
    DONE = "done"
    CHANGED = "changed"  # what lay there was no longer what was confirmed: nothing (more) was removed
    FAILED = "failed"


class PurgedFile(StrEnum):
    """What becomes of one file."""

    DOOMED = "doomed"  # removed once that is confirmed
    KEPT = "kept"  # named, and not removed: its reason says why
    REMOVING = "removing"  # the telescope is about to be told
    REMOVED = "removed"
    FAILED = "failed"
