"""Which rows of the server's list belong to which of several sends of one block. Pure.

A block that was stacked again has two stacks of one span, or nearly: telescope, filter, start and end then
agree with either row, and one row must not confirm both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skyrelay.crowdsky.matching import Finding, StackIdentity, find_ours
from skyrelay.crowdsky.stacks import ServerStack


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that was sent, or is about to be.

    Attributes
    ----------
    key
        Names it for the caller.
    frames_input, frames_aligned
        As they are told to the server; `None` if they are not.
    """

    key: int
    identity: StackIdentity
    frames_input: int | None = None
    frames_aligned: int | None = None


def share_rows(rows: Sequence[ServerStack], claims: Sequence[Claim]) -> dict[int, Finding]:
    """Give each claim a row of its own, first where the numbers of frames agree, then as far as rows go.

    Parameters
    ----------
    rows
        The server's list, without the rows that are known to be others'.
    claims
        Those that were sent first come first: of rows that could be either's they get theirs before.
    """
    left = list(rows)
    found: dict[int, Finding] = {}
    for fits in (_has_its_frames, _is_any):
        for claim in claims:
            if claim.key not in found:
                _take(left, claim, fits, found)
    # What may be there is asked among the rows that are nobody's.
    return {claim.key: found.get(claim.key) or find_ours(left, claim.identity) for claim in claims}


def _take(
    left: list[ServerStack],
    claim: Claim,
    fits: Callable[[ServerStack, Claim], bool],
    found: dict[int, Finding],
) -> None:
    finding = find_ours([row for row in left if fits(row, claim)], claim.identity)
    if finding.row is not None:
        left.remove(finding.row)
        found[claim.key] = finding


def _has_its_frames(row: ServerStack, claim: Claim) -> bool:
    theirs, ours = (row.n_frames_input, row.n_frames_aligned), (claim.frames_input, claim.frames_aligned)
    return None not in ours and theirs == ours


def _is_any(_row: ServerStack, _claim: Claim) -> bool:
    return True
