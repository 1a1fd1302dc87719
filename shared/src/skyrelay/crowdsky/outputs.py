"""Find the file that a batch stack left on the telescope."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from skyrelay.crowdsky.claiming import candidates, has_filter
from skyrelay.domain.block import BlockKey
from skyrelay.domain.stack_name import DsoStackedName
from skyrelay.fits_header import FitsError, FitsHeader, date_obs
from skyrelay.logs import get_logger
from skyrelay.seestar.errors import FileMissing
from skyrelay.seestar.stack_run import StackRun
from skyrelay.seestar.telescope import Telescope

_TOLERANCE = timedelta(seconds=2)  # a start that was estimated from a name is good to 1.3 s


@dataclass(frozen=True, slots=True)
class Output:
    """A stack that a run left in its folder, and what else lies there (``names``, itself included)."""

    name: DsoStackedName
    header: FitsHeader
    size_bytes: int | None
    names: frozenset[str]


def find_output(
    seestar: Telescope,
    folder: str,
    key: BlockKey,
    *,
    before: Collection[str],
    frames_given: int,
    span: tuple[datetime, datetime],
    run: StackRun,
) -> Output | None:
    """Find a block's output among what is new in the folder, the one that the run names first.

    Parameters
    ----------
    before
        What lay there before the start, or is booked as another block's.
    frames_given
        How many sub-frames the telescope was given.
    span
        Aware starts of the first and the last of them: a stack carries the DATE-OBS of its first frame, so
        that one of other frames, the owner's say, is never taken for it.
    run
        What the telescope says of the run.

    Raises
    ------
    ListingFailed, Unreachable, TransientError
        A listing that failed is never "no output".
    """
    try:
        listing = seestar.list_folder(folder)
    except FileMissing:  # a target's first stack makes its folder
        return None
    fitting = candidates(listing.names, before, key, frames_given)
    for name in sorted(fitting, key=lambda name: (name.build() not in run.output_files, name.saved_local)):
        header = _read_header(seestar, folder, name.build())
        if header is not None and has_filter(header, key.filter) and _began_within(header, span):
            size = next((file.size_bytes for file in listing.files if file.name == name.build()), None)
            return Output(name, header, size, listing.names)
    return None


def _began_within(header: FitsHeader, span: tuple[datetime, datetime]) -> bool:
    """Tell whether a stack may be made of frames that began within a span; one without DATE-OBS may."""
    began, (first, last) = date_obs(header), span
    return began is None or first - _TOLERANCE <= began <= last + _TOLERANCE


def _read_header(seestar: Telescope, folder: str, file_name: str) -> FitsHeader | None:
    try:
        return seestar.read_header(folder, file_name)
    except (FitsError, FileMissing) as error:
        get_logger(__name__).warning("what came out cannot be read", file=file_name, problem=str(error))
        return None
