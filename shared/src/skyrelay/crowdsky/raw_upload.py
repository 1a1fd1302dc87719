"""Send raw frames, a session for each group, and say what the server made of them.

Whatever goes wrong before a session is finalized leaves nothing on the server that counts: an unfinished
session is never stacked. So a session whose frame got no answer is left alone, and another one begun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from skyrelay.crowdsky.body import Progress
from skyrelay.crowdsky.bulk_upload import NOT_DONE, Outcome
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CrowdSkyError,
    SessionUnknown,
    may_have_arrived,
)
from skyrelay.crowdsky.matching import find_all_ours
from skyrelay.crowdsky.patience import Patience
from skyrelay.crowdsky.raw_frames import LeftOut, RawFrame, RawGroup
from skyrelay.crowdsky.raw_session import RawAnswer, hand_in, held_by, rows_in_words
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.stacks import RawFrameUpload, ServerStack
from skyrelay.errors import SkyrelayError
from skyrelay.service import utc_now

_SESSIONS = 2  # tried for one group


@dataclass(frozen=True, slots=True)
class RawEntry:
    """A group and what became of it.

    Attributes
    ----------
    reason
        Why, in words for a person.
    chunks, skipped
        Chunk keys that the server queued, and that it skipped since they hold a stack already.
    left_out
        Frames that the server would not have.
    """

    group: RawGroup
    outcome: Outcome
    reason: str = ""
    chunks: Sequence[str] = ()
    skipped: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()

    @property
    def done(self) -> bool:
        """Whether the server has, or surely has taken in, the whole group."""
        return self.outcome not in NOT_DONE and not self.skipped and not self.left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class RawUpload:
    """Sends groups of raw frames.

    Attributes
    ----------
    client, ledger
        The account, and the memory of what was sent to it.
    scrub_location
        Whether the site's coordinates are removed first, and the server asked to do so too.
    overwrite
        Whether the stacks that a chunk holds are deleted for it: all of them, others' filters too.
    look_again
        How long to wait for a stack to be listed whose answer was lost.
    listed_by
        How long after it was sent a stack may be missing in the server's list.
    patience, clock
        For tests of the waiting.
    bar
        Gives, for a name, what shows its progress.
    """

    client: CrowdSkyClient
    ledger: SentLedger
    scrub_location: bool
    overwrite: bool
    look_again: timedelta
    listed_by: timedelta
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], datetime] = utc_now
    bar: Callable[[str], Progress | None] = lambda _: None

    def plan(self, groups: Sequence[RawGroup]) -> list[RawEntry]:
        """Say what would be sent.

        Raises
        ------
        CrowdSkyError
            If the server's list cannot be had.
        """
        rows = self._list() if groups else []
        largest_first = sorted(groups, key=lambda group: -len(group.frames))
        holders = {key: group for group in reversed(largest_first) for key in group.chunk_keys}
        return [self._decide(group, rows, holders) for group in groups]

    def carry_out(self, plan: Sequence[RawEntry]) -> list[RawEntry]:
        """Send what is to be sent; a group that fails does not stop the others."""
        return [self._send(entry.group) if entry.outcome is Outcome.TO_SEND else entry for entry in plan]

    def _list(self) -> list[ServerStack]:
        return self.patience.call(self.client.list_stacks)

    def _decide(
        self, group: RawGroup, rows: Sequence[ServerStack], holders: Mapping[str, RawGroup]
    ) -> RawEntry:
        """Judge a group; of those that share a chunk key the largest may go: one would delete the other."""
        held = held_by(rows, group.chunk_keys)
        other = next((holders[key] for key in group.chunk_keys if holders[key] is not group), None)
        known = None if self.overwrite else self._known(group, rows)
        if known is not None:
            return known
        if other is not None:
            return _taken(group, f"its chunk goes to {other.title}: a chunk holds one stack of raw frames")
        if held and not self.overwrite:
            return _taken(group, f"the chunk holds {rows_in_words(held)}: --overwrite would delete that")
        return RawEntry(group, Outcome.TO_SEND, f"deletes {rows_in_words(held)}" if held else "")

    def _known(self, group: RawGroup, rows: Sequence[ServerStack]) -> RawEntry | None:
        """Tell what is known of a group that the server has or may have; `None` for one it has not."""
        ours = find_all_ours(rows, group.identities)
        if ours is not None:
            there = ", ".join(f"stack {row.id}" for row in ours)
            return RawEntry(group, Outcome.THERE, f"the server has it as {there}")
        sent = self.ledger.find(group.fingerprint)
        if sent is None or self.clock() - sent.at > self.listed_by:
            return None
        when = f"{sent.at:%Y-%m-%d %H:%M} UTC"
        if sent.accepted:
            return RawEntry(group, Outcome.ACCEPTED, f"the server took it on {when}; it is listed later")
        return RawEntry(group, Outcome.UNSURE, f"its answer was lost on {when}: look at the list later")

    def _send(self, group: RawGroup) -> RawEntry:
        try:
            token, left_out = self._fill_session(group)
            if len(left_out) == len(group.frames):
                return RawEntry(group, Outcome.FAILED, left_out[0].reason, left_out=left_out)
            return self._finalize(group, token, left_out)
        except SkyrelayError as error:
            return RawEntry(group, Outcome.FAILED, f"{error}; nothing of it was stacked")

    def _fill_session(self, group: RawGroup) -> tuple[str, list[LeftOut]]:
        """Send a group's frames into a session, into another one if the first is in doubt."""
        for _ in range(_SESSIONS - 1):
            try:
                return self._fill_one(group)
            except (AnswerLost, SessionUnknown):
                continue
        return self._fill_one(group)

    def _fill_one(self, group: RawGroup) -> tuple[str, list[LeftOut]]:
        token = self.patience.call(self.client.open_raw_session)
        left_out = [
            LeftOut(frame.path, reason) for frame in group.frames if (reason := self._refusal(token, frame))
        ]
        return token, left_out

    def _refusal(self, token: str, frame: RawFrame) -> str:
        """Send a frame; give the server's words if it will not have it, which are no others' matter."""
        upload = RawFrameUpload(token, frame.path, scrub_location=self.scrub_location)
        return self.patience.call(lambda: hand_in(self.client, upload, self.bar(frame.path.name)))

    def _finalize(self, group: RawGroup, token: str, left_out: Sequence[LeftOut]) -> RawEntry:
        self.ledger.begin(group.fingerprint, self.clock())
        try:
            answer = self.patience.call(
                lambda: self.client.finalize_raw_session(
                    token, scrub_location=self.scrub_location, overwrite=self.overwrite
                )
            )
        except SkyrelayError as error:
            if may_have_arrived(error):
                return self._look_for(group, str(error), left_out)
            self.ledger.forget(group.fingerprint)
            raise
        made = RawAnswer.from_answer(answer)
        if not made.chunks:
            self.ledger.forget(group.fingerprint)
            reason = "the server skipped it: its chunk holds a stack already"
            return RawEntry(group, Outcome.FAILED, reason, skipped=made.skipped, left_out=left_out)
        self.ledger.accept(group.fingerprint, self.clock())
        return RawEntry(group, Outcome.UPLOADED, "queued", made.chunks, made.skipped, left_out)

    def _look_for(self, group: RawGroup, said: str, left_out: Sequence[LeftOut]) -> RawEntry:
        """Look for a stack that may have been made, wait, look again, and say how it stands."""
        try:
            for wait in (timedelta(), self.look_again):
                self.patience.pause(wait.total_seconds())
                rows = None if self.overwrite else find_all_ours(self._list(), group.identities)
                if rows is not None:
                    self.ledger.accept(group.fingerprint, self.clock())
                    reason, keys = f"{said}; the server lists it", [row.chunk_key for row in rows]
                    chunks = [key for key in keys if key is not None]
                    return RawEntry(group, Outcome.UPLOADED, reason, chunks, (), left_out)
        except CrowdSkyError as error:
            said = f"{said}; then: {error}"
        reason = f"{said}; it is not listed so far, and may be there all the same: look again later"
        return RawEntry(group, Outcome.UNSURE, reason, left_out=left_out)


def _taken(group: RawGroup, reason: str) -> RawEntry:
    return RawEntry(group, Outcome.FAILED, reason, skipped=sorted(group.chunk_keys))
