"""What would be stacked if Start were pressed now: a dry run over what the inventories have found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import TelescopeState
from skyrelay.settings import StackingSettings
from skyrelay.store.tables import Telescope
from skyrelay_gateway.models import StackRequest
from skyrelay_gateway.stack_requests import Decision, decide
from skyrelay_gateway.words import telescope_words

_LONGEST = timedelta(minutes=15)  # an inventory of a full telescope takes minutes
_LISTED = frozenset({TelescopeState.READY, TelescopeState.FULL, TelescopeState.CLOCK_WRONG})


@dataclass(frozen=True, slots=True)
class TargetPreview:
    """Of one target on one telescope: what would be stacked, and what would be left."""

    telescope: str
    target: str
    blocks: int
    frames: int
    oldest_at: datetime | None
    skipped: int
    why_skipped: str


@dataclass(frozen=True, slots=True)
class TelescopePreview:
    """How far the look at one telescope is; ``looked_at`` is null before the first."""

    name: str
    words: str
    reason: str
    looked_at: datetime | None
    is_looking: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """All of it."""

    telescopes: tuple[TelescopePreview, ...]
    targets: tuple[TargetPreview, ...]

    @property
    def blocks(self) -> int:
        """How many blocks would be stacked."""
        return sum(each.blocks for each in self.targets)

    @property
    def frames(self) -> int:
        """Of how many frames."""
        return sum(each.frames for each in self.targets)

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest of these blocks began."""
        return min((each.oldest_at for each in self.targets if each.oldest_at), default=None)

    @property
    def is_looked_at(self) -> bool:
        """Whether every telescope has been looked at once."""
        return all(each.looked_at is not None for each in self.telescopes)

    @property
    def is_looking(self) -> bool:
        """Whether a look that was asked for is still to end."""
        return any(each.is_looking for each in self.telescopes)


def build_preview(session: Session, stacking: StackingSettings, now: datetime) -> Preview:
    """Say what would be stacked."""
    by_target: dict[tuple[str, str], list[Decision]] = defaultdict(list)
    for decision in decide(session, StackRequest(all=True), stacking, now):
        by_target[decision.telescope, decision.block.target].append(decision)
    rows = session.scalars(select(Telescope).where(Telescope.host.is_not(None)).order_by(Telescope.name))
    return Preview(
        tuple(_telescope(row, now) for row in rows),
        tuple(_target(*names, some) for names, some in sorted(by_target.items())),
    )


def _target(telescope: str, target: str, decisions: Sequence[Decision]) -> TargetPreview:
    stacked = [each.block for each in decisions if each.would in {"stack", "wait"}]
    skipped = [each for each in decisions if each.would == "skip"]
    return TargetPreview(
        telescope,
        target,
        len(stacked),
        sum(block.frame_count for block in stacked),
        min((block.start_at for block in stacked), default=None),
        len(skipped),
        skipped[0].reason.partition(";")[0] if skipped else "",
    )


def _telescope(row: Telescope, now: datetime) -> TelescopePreview:
    is_well = row.state in {TelescopeState.READY, TelescopeState.STACKING, TelescopeState.UNKNOWN}
    reason = row.inventory_error or ("" if is_well else row.state_reason)
    return TelescopePreview(
        row.name, telescope_words(row), reason, row.inventory_finished_at, _is_looking(row, now)
    )


def _is_looking(row: Telescope, now: datetime) -> bool:
    """Tell whether an inventory is still to come; a look may have found that it cannot be now."""
    asked_at, done_at, looked_at = row.inventory_asked_at, row.inventory_finished_at, row.looked_at
    if asked_at is None or now - asked_at > _LONGEST or (done_at is not None and done_at >= asked_at):
        return False
    was_met = looked_at is not None and looked_at >= asked_at
    return not was_met or (row.state in _LISTED and row.inventory_error is None)
