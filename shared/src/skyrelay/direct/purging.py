"""Delete CrowdSky's files from a telescope, because a person asked for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from skyrelay.crowdsky.purging import A_DELETION, crowdsky_files, delete_file, folders_of_stacks
from skyrelay.direct.summaries import PurgeSummary
from skyrelay.direct.telescopes import OwnTelescope
from skyrelay.errors import RefusedByRule, SkyrelayError
from skyrelay.seestar.paths import works_path


def files_to_purge(telescope: OwnTelescope, folders: Sequence[str] | None) -> dict[str, list[str]]:
    """Name the CrowdSky files in each folder; `None` looks into every folder of stacks.

    Raises
    ------
    FileMissing
        If a folder that was named is not there.
    ListingFailed, Unreachable, TransientError
        If any of them cannot be listed.
    """
    if folders is None:
        folders = folders_of_stacks(telescope.folders())
    return {
        folder: [file.name for file in crowdsky_files(telescope.list_folder(folder))] for folder in folders
    }


def purge(
    telescope: OwnTelescope,
    folders: Sequence[str] | None,
    only: Mapping[str, Collection[str]] | None = None,
) -> PurgeSummary:
    """Delete them; see `skyrelay.crowdsky.chunks.purge_crowdsky_stacks`.

    Parameters
    ----------
    only
        What a person was shown, by folder: what came since stays.
    """
    with telescope.leased() as (lease, books):
        doomed = files_to_purge(telescope, folders)
        deleted: list[str] = []
        failed: dict[str, str] = {}
        try:
            for folder, name in _agreed(doomed, only):
                lease.check(A_DELETION)
                problem = _delete(telescope, folder, name)
                if problem is None:
                    deleted.append(works_path(folder, name))
                else:
                    failed[works_path(folder, name)] = problem
        finally:
            if deleted:  # what is gone is written down, however this ends
                books.note_purge(deleted)
    summary: PurgeSummary = {
        "folders_scanned": len(doomed),
        "files_deleted": len(deleted),
        "deleted": deleted,
    }
    return {**summary, "failed": failed} if failed else summary


def _agreed(
    doomed: Mapping[str, Collection[str]], only: Mapping[str, Collection[str]] | None
) -> Iterator[tuple[str, str]]:
    for folder, names in doomed.items():
        for name in sorted(names):
            if only is None or name in only.get(folder, ()):
                yield folder, name


def _delete(telescope: OwnTelescope, folder: str, name: str) -> str | None:
    """Delete a file; give what stood in the way."""
    try:
        delete_file(telescope.seestar, folder, name)
    except RefusedByRule:
        raise
    except SkyrelayError as error:
        return str(error)
    return None
