"""Upload all stacks of a place, each once.

A stack is there already when the server lists one of the same telescope, filter, start and end. A file
alone does not tell its end; then the total exposure stands in for it. What the server says too little
about to tell is not sent: it may be there. What was sent before is remembered, since the server lists it
late. And without the server's list nothing is sent at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from skyrelay.crowdsky.errors import (
    CredentialsRefused,
    FileTooLarge,
    QuotaExceeded,
    ServerBroken,
    ServerBusy,
    Unreachable,
)
from skyrelay.crowdsky.matching import find_ours, listed_row
from skyrelay.crowdsky.sender import Sender
from skyrelay.crowdsky.sent_ledger import Sent, Watched
from skyrelay.crowdsky.stack_facts import StackFacts
from skyrelay.crowdsky.stack_sources import Candidate, StackSource
from skyrelay.crowdsky.stacks import ServerStack, StackUpload
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import AmbiguousError, SkyrelayError

_MOST_HELD_UP = 3  # stacks in a row for which the server was not to be had: then it is not for the others
_HOLDING_UP = (Unreachable, ServerBroken, ServerBusy)


class Outcome(StrEnum):
    """What became of a stack, or would become."""

    TO_SEND = "to send"
    UPLOADED = "uploaded"
    THERE = "there already"
    ACCEPTED = "accepted before"
    UNSURE = "may be there"
    OWED = "left to the services"
    FAILED = "failed"


SKIPPED = frozenset({Outcome.THERE, Outcome.ACCEPTED, Outcome.UNSURE, Outcome.OWED})
NOT_DONE = frozenset({Outcome.UNSURE, Outcome.OWED, Outcome.FAILED})
_DELIVERED = frozenset({DeliveryState.ACCEPTED, DeliveryState.CONFIRMED})


@dataclass(frozen=True, slots=True)
class Entry:
    """A stack and what became of it.

    Attributes
    ----------
    reason
        Why, in words for a person.
    chunk_key
        As the server gave it, if it did.
    """

    candidate: Candidate
    outcome: Outcome
    reason: str = ""
    chunk_key: str | None = None

    @property
    def size_bytes(self) -> int:
        """Its size; 0 if not known."""
        return self.candidate.facts.size_bytes if self.candidate.facts else 0


@dataclass(frozen=True, slots=True)
class UploadReport:
    """What became of all stacks of a place."""

    folders_scanned: int
    entries: Sequence[Entry]

    @property
    def complete(self) -> bool:
        """Whether the server has, or surely has taken in, all of them but those that are to be sent."""
        return not any(entry.outcome in NOT_DONE for entry in self.entries)

    def of(self, *outcomes: Outcome) -> list[Entry]:
        """Give those of some outcomes."""
        return [entry for entry in self.entries if entry.outcome in outcomes]

    def summary(self) -> dict[str, int | list[str]]:
        """Give the documented shape: counts and file names."""
        uploaded, skipped, failed = (
            [entry.candidate.name for entry in self.of(*outcomes)]
            for outcomes in ((Outcome.UPLOADED,), SKIPPED, (Outcome.FAILED,))
        )
        return {
            "folders_scanned": self.folders_scanned,
            "files_uploaded": len(uploaded),
            "files_skipped": len(skipped),
            "files_failed": len(failed),
            "uploaded": uploaded,
            "skipped": skipped,
            "failed": failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkUpload(Sender):
    """Uploads what a place has; `Sender` has the other attributes.

    Attributes
    ----------
    skip_existing
        `False` sends everything, whatever the server has.
    """

    skip_existing: bool = True

    def plan(self, source: StackSource) -> UploadReport:
        """Say what would be sent.

        Raises
        ------
        CrowdSkyError
            If the server's list cannot be had.
        SkyrelayError, OSError
            If the place cannot be looked into.
        """
        candidates = source.find()
        rows = self.list_rows() if any(candidate.facts for candidate in candidates) else []
        entries = [self._decide(candidate, rows) for candidate in candidates]
        return UploadReport(source.folders_scanned, entries)

    def carry_out(self, source: StackSource, plan: UploadReport) -> UploadReport:
        """Send what is to be sent; one that fails does not stop the others."""
        entries: list[Entry] = []
        halt, held_up = "", 0
        for entry in plan.entries:
            done = entry
            if entry.outcome is Outcome.TO_SEND and not halt:
                done, error = self._try(source, entry.candidate)
                held_up = held_up + 1 if isinstance(error, _HOLDING_UP) else 0
                halt = _halts(error, held_up)
            elif entry.outcome is Outcome.TO_SEND:
                done = Entry(entry.candidate, Outcome.FAILED, f"not sent: {halt}")
            entries.append(done)
        return UploadReport(plan.folders_scanned, entries)

    def _decide(self, candidate: Candidate, rows: Sequence[ServerStack]) -> Entry:
        facts = candidate.facts
        if facts is None:
            return Entry(candidate, Outcome.FAILED, candidate.problem)
        if candidate.same_as:
            return Entry(candidate, Outcome.THERE, f"it is the same stack as {candidate.same_as}")
        if self.skip_existing and (known := self._known(candidate, facts, rows)) is not None:
            return known
        return Entry(candidate, Outcome.TO_SEND)

    def _known(self, candidate: Candidate, facts: StackFacts, rows: Sequence[ServerStack]) -> Entry | None:
        """Tell what is known of a stack that the server has or may have; `None` for one it has not."""
        finding = find_ours(rows, facts.identity)
        listed = listed_row(finding, facts.identity)
        if listed is not None:
            reason = f"the server has it as stack {listed.id}"
            return Entry(candidate, Outcome.THERE, reason, listed.chunk_key)
        if (owed := self._of_the_services(candidate, facts)) is not None:
            return owed
        sent = self.ledger.find(facts.fingerprint)
        if sent is not None and sent.accepted and finding.may_be is not None:
            reason = f"the server took it, and nothing speaks against its being stack {finding.may_be.id}"
            return Entry(candidate, Outcome.THERE, reason, finding.may_be.chunk_key)
        if sent is not None and (before := self._sent_before(candidate, sent)) is not None:
            return before
        if finding.may_be is not None:
            reason = f"the server says too little about stack {finding.may_be.id} to tell that it is another"
            return Entry(candidate, Outcome.UNSURE, reason, finding.may_be.chunk_key)
        return None

    def _of_the_services(self, candidate: Candidate, facts: StackFacts) -> Entry | None:
        state = self.books.delivery_of(facts.identity) if self.books else None
        return None if state is None else Entry(candidate, *left_to_services(state))

    def _sent_before(self, candidate: Candidate, sent: Sent) -> Entry | None:
        """Judge a stack that was sent and is not listed; `None` when it is to be sent again."""
        is_late = self.clock() - sent.at > self.listed_by
        when = f"{sent.at:%Y-%m-%d %H:%M} UTC"
        if sent.accepted and is_late:
            reason = f"the server took it on {when} and does not list it: look for it on its web page"
            return Entry(candidate, Outcome.FAILED, reason)
        if sent.accepted:
            return Entry(candidate, Outcome.ACCEPTED, f"the server took it on {when}; it is listed later")
        if is_late:
            return None
        hours = self.listed_by / timedelta(hours=1)
        reason = f"its answer was lost on {when}: it is sent again if it is not listed within {hours:g} h"
        return Entry(candidate, Outcome.UNSURE, reason)

    def _try(self, source: StackSource, candidate: Candidate) -> tuple[Entry, SkyrelayError | None]:
        try:
            return self._send(source, candidate), None
        except SkyrelayError as error:
            return Entry(candidate, Outcome.FAILED, str(error)), error

    def _send(self, source: StackSource, candidate: Candidate) -> Entry:
        facts = candidate.facts
        if facts is None:
            raise ValueError(f"{candidate.name} cannot be sent")
        upload, progress = self._upload(source, candidate, facts), Watched(self.bar(candidate.name))
        try:
            with self.ledger.sending(facts.fingerprint, self.clock, progress):
                receipt = self.patience.call(lambda: self.client.upload_stack(upload, progress))
        except AmbiguousError as error:
            return self._look_for(candidate, facts, str(error))
        except ServerBroken as error:
            if not error.may_be_kept:
                raise
            if self.skip_existing and self._listed(self.list_rows(), facts) is not None:
                return self._found(candidate, facts, f"{error}; the server lists it")
            self.ledger.forget(facts.fingerprint)
            raise
        return Entry(candidate, Outcome.UPLOADED, receipt.status, receipt.chunk_key)

    def _upload(self, source: StackSource, candidate: Candidate, facts: StackFacts) -> StackUpload:
        span = source.span(candidate)
        return StackUpload(
            source.fetch(candidate),
            candidate.name,
            n_frames_input=span.frames_input if span else None,
            n_frames_aligned=facts.frames,
            date_obs_start=facts.identity.first_start_at,
            date_obs_end=span.last_start_at if span else None,
            scrub_location=self.scrub_location,
        )

    def _look_for(self, candidate: Candidate, facts: StackFacts, said: str) -> Entry:
        """Look for a stack whose answer was lost, wait, look again, and say how it stands."""
        listed, words = self.look_twice(lambda rows: self._listed(rows, facts), said)
        if listed is None:
            return Entry(candidate, Outcome.FAILED, words)
        return self._found(candidate, facts, words)

    def _listed(self, rows: Sequence[ServerStack], facts: StackFacts) -> ServerStack | None:
        """Give the row of what was just sent, and was not listed before."""
        return listed_row(find_ours(rows, facts.identity), facts.identity) if self.skip_existing else None

    def _found(self, candidate: Candidate, facts: StackFacts, words: str) -> Entry:
        self.ledger.accept(facts.fingerprint, self.clock())
        return Entry(candidate, Outcome.UPLOADED, words)


def left_to_services(state: DeliveryState) -> tuple[Outcome, str]:
    """Say how what the services have in their books stands, and that it is left to them."""
    if state in _DELIVERED:
        return Outcome.ACCEPTED, f"the services delivered it ({state}); listed later"
    return Outcome.OWED, f"the services have it in their outbox ({state})"


def _halts(error: SkyrelayError | None, held_up: int) -> str:
    """Say why the stacks after this one would fare like it; empty if they may not."""
    of_account = isinstance(error, CredentialsRefused | QuotaExceeded) and not isinstance(error, FileTooLarge)
    return str(error) if of_account or held_up >= _MOST_HELD_UP else ""
