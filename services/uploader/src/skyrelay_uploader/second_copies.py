"""A stack that is in the books as fetched, and whose file is not in this host's archive.

It lies in the archive of another host (each may have its own), of one that died, or somebody has taken it
away. The telescope has it still, so it is fetched once more: what is owed waits for nobody's disk.
"""

from __future__ import annotations

from skyrelay.crowdsky.errors import StackUnreadable
from skyrelay.errors import PermanentError, SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.store.tables import Stack
from skyrelay_uploader.fetching import bring, job_of
from skyrelay_uploader.making_room import ensure_room
from skyrelay_uploader.workshop import Workshop

_log = get_logger(__name__)


def ensure_here(workshop: Workshop, stack_id: int) -> bool:
    """Have a fetched stack's file in this archive; tell whether it had to be fetched again.

    Raises
    ------
    StackUnreadable
        If it cannot be fetched now.
    PermanentError
        If it is another file by now.
    """
    with workshop.store.read() as session:
        stack, job = session.get_one(Stack, stack_id), job_of(session, stack_id)
    try:
        with workshop.archive.on_disk():
            if workshop.archive.locate(stack.archive_path or "").is_file():
                return False
            ensure_room(workshop, job.telescope, job.size_bytes)
            kept = bring(workshop, job).stack
    except SkyrelayError as error:  # this stack's trouble, not the server's: the others go on
        raise StackUnreadable(f"{stack.archive_path} is not in this archive, and {error}") from error
    if (kept.path, kept.sha256) != (stack.archive_path, stack.sha256):
        raise PermanentError(
            f"{stack.archive_path} is not in this archive, and {job.telescope} has another file of that name "
            "by now: put the archived one back, or share one archive between the hosts"
        )
    _log.info("a stack was not in this archive, and was fetched again", path=kept.path)
    return True
