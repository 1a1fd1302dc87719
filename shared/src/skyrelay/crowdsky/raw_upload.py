"""Send raw frames, a session for each group, and say what the server made of them.

Whatever goes wrong before a session is finalized leaves nothing on the server that counts: an unfinished
session is never stacked. So a session whose frame got no answer is left alone, and another one begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skyrelay.crowdsky.bulk_upload import NOT_DONE, Outcome, left_to_services
from skyrelay.crowdsky.errors import (
    AnswerLost,
    SessionUnknown,
    may_have_arrived,
)
from skyrelay.crowdsky.matching import find_all_ours
from skyrelay.crowdsky.raw_frames import LeftOut, RawFrame, RawGroup
from skyrelay.crowdsky.raw_session import RawAnswer, hand_in, held_by, rows_in_words
from skyrelay.crowdsky.sender import Sender
from skyrelay.crowdsky.stacks import RawFrameUpload, ServerStack
from skyrelay.errors import SkyrelayError

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
class RawUpload(Sender):
    """Sends groups of raw frames; `Sender` has the other attributes. The server is asked to scrub as well.

    Attributes
    ----------
    overwrite
        Whether the stacks that a chunk holds are deleted for it: all of them, others' filters too.
    """

    overwrite: bool

    def plan(self, groups: Sequence[RawGroup]) -> list[RawEntry]:
        """Say what would be sent.

        Raises
        ------
        CrowdSkyError
            If the server's list cannot be had.
        """
        rows = self.list_rows() if groups else []
        largest_first = sorted(groups, key=lambda group: -len(group.frames))
        holders = {key: group for group in reversed(largest_first) for key in group.chunk_keys}
        return [self._decide(group, rows, holders) for group in groups]

    def carry_out(self, plan: Sequence[RawEntry]) -> list[RawEntry]:
        """Send what is to be sent; a group that fails does not stop the others."""
        return [self._send(entry.group) if entry.outcome is Outcome.TO_SEND else entry for entry in plan]

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
        chunk, telescope, _, filter_name, exposure_s = group.frames[0].kind
        books = self.books
        state = books.raw_delivery_of(chunk, telescope, filter_name, exposure_s) if books else None
        if state is not None:
            return RawEntry(group, *left_to_services(state))
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
        """Look for stacks that may have been made, wait, look again, and say how it stands."""

        def find(rows: Sequence[ServerStack]) -> list[ServerStack] | None:
            return None if self.overwrite else find_all_ours(rows, group.identities)

        found, words = self.look_twice(find, said)
        if found is None:
            return RawEntry(group, Outcome.UNSURE, words, left_out=left_out)
        self.ledger.accept(group.fingerprint, self.clock())
        chunks = [row.chunk_key for row in found if row.chunk_key is not None]
        return RawEntry(group, Outcome.UPLOADED, words, chunks, (), left_out)


def _taken(group: RawGroup, reason: str) -> RawEntry:
    return RawEntry(group, Outcome.FAILED, reason, skipped=sorted(group.chunk_keys))
