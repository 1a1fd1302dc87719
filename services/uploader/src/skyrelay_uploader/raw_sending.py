"""Deliver a block's raw frames: into one session, frame by frame, then have the server stack them.

Until its end a session does not count, so that a delivery stays where it is while frames are handed in, and a
kill costs the frame that was under way. Only the end is a send: it is begun, booked, and asked after like a
stack's. What was handed in is written down frame by frame; whoever comes next goes on with the same session,
or with a new one where the server may have a frame without having said so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import SessionUnknown, may_have_arrived
from skyrelay.crowdsky.raw_frames import LeftOut, RawFrame, group_raw_frames, raw_frame
from skyrelay.crowdsky.raw_session import RawAnswer, hand_in, held_by, rows_in_words
from skyrelay.crowdsky.stacks import RawFrameUpload, ServerStack, UploadReceipt
from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.states import DeliveryState, FrameState, TelescopeState
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.fits_header import FitsError
from skyrelay.logs import get_logger
from skyrelay.outbox.accounts import note_success
from skyrelay.outbox.outcomes import (
    LONGEST_DELAY,
    Blame,
    Outcome,
    TryAgain,
    growing_delay,
    outcome_of,
)
from skyrelay.outbox.raw_progress import Manifest, SessionProgress
from skyrelay.outbox.settling import book_failed_send, book_unsent, bury, sent_then
from skyrelay.smb_path import SCHEME
from skyrelay.store.tables import Block, Delivery, Frame, Telescope
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState, audit
from skyrelay_uploader.fetching import AWAY_DELAY
from skyrelay_uploader.frame_files import FrameFiles, FrameNotAtHand, FramePlace, Source
from skyrelay_uploader.making_room import LEAST_FREE
from skyrelay_uploader.script_sends import book_sent_by_script, find_raw_of_script
from skyrelay_uploader.sending import Parcel, begin, look, still_claimed
from skyrelay_uploader.settling import book_acceptance
from skyrelay_uploader.workshop import ACTOR, Workshop

# Tasks are short: whoever has handed in frames for so long lets what else is due have its turn.
_TURN_S = 600.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RawParcel(Parcel):
    """A delivery of raw frames as it was claimed.

    Attributes
    ----------
    chunk
        The block's quarter hour of UTC, as the server names it.
    frames
        Those that are to go, by name.
    manifest
        What was found of them earlier; `None` before their headers were read.
    session
        The session to go on with, if there is one.
    token_in_books
        Of the session that the row speaks of, even if it cannot be gone on with.
    """

    block_id: int
    chunk: str
    source: Source
    frames: dict[str, FramePlace]
    manifest: Manifest | None
    session: SessionProgress | None
    token_in_books: str | None


def raw_parcel(session: Session, delivery: Delivery, claimed: Parcel) -> RawParcel:
    """Put together what a claimed delivery of raw frames has to send."""
    block = session.get_one(Block, delivery.block_id)
    telescope = session.get_one(Telescope, block.telescope_id)
    going = select(Frame).where(
        Frame.block_id == block.id,
        Frame.is_sent_raw.is_(True),
        Frame.state.in_([FrameState.OK, FrameState.NOT_ON_TELESCOPE]),
    )
    frames = {frame.file_name: _place(frame) for frame in session.scalars(going)}
    manifest = None if delivery.raw_frames is None else Manifest.read(delivery.raw_frames)
    progress, kept = SessionProgress.read(delivery.raw_session), delivery.raw_session
    if manifest is not None and not frames.keys() >= set(manifest.names):  # held meanwhile, for its clock say
        manifest = manifest.without(set(manifest.names) - frames.keys())
        delivery.raw_frames = manifest.to_row()
    if progress is not None and not frames.keys() >= set(progress.handed_in):
        progress = None  # what the server has in it must not be stacked
    return RawParcel(
        **claimed.given({"block": block.id, "target": block.target}),
        block_id=block.id,
        chunk=chunk_of(block.start_at),
        source=_source(telescope),
        frames=frames,
        manifest=manifest,
        session=progress,
        token_in_books=None if kept is None else kept["token"],
    )


def carry_raw(workshop: Workshop, parcel: RawParcel) -> None:
    """Look for the frames' stack on the server, hand the frames in, have them stacked, book the outcome."""
    roots = frozenset(
        str(root.path)
        for root in workshop.settings.image_watcher.watch_path
        if not str(root.path).startswith(SCHEME)
    )
    carrying = _Carrying(workshop, parcel)
    try:
        with (
            workshop.archive.arriving(f"raw-{parcel.delivery_id}") as folder,
            closing(FrameFiles(parcel.source, roots, _room(workshop))) as files,
        ):
            carrying.run(files, folder)
    except StaleState as error:
        _log.info("the delivery is in other hands now", reason=str(error))
    except SkyrelayError as error:
        carrying.fail(error)


class _Carrying:
    """One worker's turn at one delivery of raw frames, under one lease."""

    def __init__(self, workshop: Workshop, parcel: RawParcel) -> None:
        self._workshop, self._parcel = workshop, parcel
        self._progress = parcel.session
        self._token_in_books = parcel.token_in_books
        self._attempts = parcel.attempts
        self._ends_at_s = time.monotonic() + _TURN_S
        self._sent_at: datetime | None = None

    def run(self, files: FrameFiles, folder: Path) -> None:
        """Take the delivery as far as it goes now."""
        manifest = self._parcel.manifest
        if manifest is None or not manifest.names:
            manifest = self._take_stock(files)
        if manifest is None:
            return
        client = self._workshop.crowdsky(self._parcel.account)
        if not look(self._workshop, self._parcel, client, judge=self._is_taken):
            return
        if self._is_sent_by_script(manifest):
            return
        progress = self._progress or self._open(client)
        for name in manifest.names:
            if name in progress.handed_in:
                continue
            if self._is_over():
                self._put_back()
                return
            with files.whole(self._parcel.frames[name], folder) as path:
                manifest = self._hand_in(client, name, path, manifest)
            progress = self._progress or progress
        if not manifest.names:
            return
        self._finish(client, manifest)

    # -- before ------------------------------------------------------------------------------------

    def _take_stock(self, files: FrameFiles) -> Manifest | None:
        """Read the frames' headers: the server goes by them; `None` when no frame is left to be sent."""
        frames: list[RawFrame] = []
        left_out: list[LeftOut] = []
        for name, place in self._parcel.frames.items():
            header, size = files.header(place)
            try:
                frames.append(raw_frame(Path(name), header, size))
            except (FitsError, TransientError) as error:
                left_out.append(LeftOut(Path(name), str(error)))
        groups, doubles = group_raw_frames(frames)
        ours = max(
            (group for group in groups if chunk_of(group.frames[0].started_at) == self._parcel.chunk),
            key=lambda group: len(group.frames),
            default=None,
        )
        left_out += doubles
        for group in groups:
            if group is not ours:
                reason = f"by its header it belongs to another session: {group.title}"
                left_out += [LeftOut(frame.path, reason) for frame in group.frames]
        return self._note_stock(None if ours is None else Manifest.of(ours.frames), left_out)

    def _note_stock(self, manifest: Manifest | None, left_out: list[LeftOut]) -> Manifest | None:
        now = self._workshop.clock()
        with self._workshop.store.write() as session:
            delivery = still_claimed(session, self._parcel)
            for each in left_out:
                self._leave_out(session, each.path.name, each.reason)
            if manifest is None:
                reason = left_out[0].reason if left_out else "its block has no frames left"
                bury(session, delivery, f"none of its frames can be sent: {reason}", now, ACTOR)
                return None
            delivery.raw_frames = manifest.to_row()
        return manifest

    def _leave_out(self, session: Session, name: str, reason: str) -> None:
        of_block = (Frame.block_id == self._parcel.block_id, Frame.file_name == name)
        session.execute(update(Frame).where(*of_block).values(is_sent_raw=False, state_reason=reason))
        detail = {"frame": name}
        subject = ("delivery", self._parcel.delivery_id)
        now = self._workshop.clock()
        audit(session, now=now, actor=ACTOR, subject=subject, event="left out", reason=reason, detail=detail)

    def _is_taken(
        self, session: Session, delivery: Delivery, rows: Sequence[ServerStack], now: datetime
    ) -> bool:
        """Give up, without sending anything, where the chunk holds another stack: that is for a person."""
        manifest = Manifest.read(delivery.raw_frames or {"telescope": "", "filter": "", "frames": []})
        held = held_by(rows, manifest.chunk_keys)
        if held:
            bury(session, delivery, _taken(rows_in_words(held), manifest), now, ACTOR, raw_session=None)
        return bool(held)

    def _is_sent_by_script(self, manifest: Manifest) -> bool:
        """Tell whether a script has sent frames of the block, yet to be listed; write it down."""
        found = find_raw_of_script(self._workshop, self._parcel, manifest) if self._parcel.is_first else None
        if found is None:
            return False
        is_same, sent = found
        if is_same:
            book_sent_by_script(self._workshop, self._parcel, sent)
            return True
        words = f"or is to hold a stack of other raw frames of it, which a script sent at {sent.at:%H:%M} UTC"
        with self._workshop.store.write() as session:
            delivery = still_claimed(session, self._parcel)
            now = self._workshop.clock()
            bury(session, delivery, _taken(words, manifest), now, ACTOR, raw_session=None)
        return True

    # -- the session -------------------------------------------------------------------------------

    def _open(self, client: CrowdSkyClient) -> SessionProgress:
        progress = SessionProgress(client.open_raw_session())
        self._save(progress, "a session of raw frames is open")
        return progress

    def _hand_in(self, client: CrowdSkyClient, name: str, path: Path, manifest: Manifest) -> Manifest:
        """Send one frame; give what is still to go, without the frame if the server will not have it."""
        before = self._progress
        if before is None:
            raise StaleState("the session is gone")
        scrub, pace = self._workshop.settings.crowdsky.scrubs_location, self._workshop.bandwidth.pace()

        def watch(sent: int, whole: int | None) -> None:
            if whole is not None and sent >= whole:  # from here on the server may have it
                self._save(before.doubting(name))
            pace(sent, whole)

        upload = RawFrameUpload(before.token, path, scrub_location=scrub)
        try:
            refusal = hand_in(client, upload, watch)
        except SkyrelayError as error:
            self._judge_session(before, error)
            raise
        if refusal:
            return self._refused(name, refusal, before, manifest)
        after, number = before.with_frame(name), len(manifest.names)
        self._attempts = 0
        self._save(after, f"{len(after.handed_in)} of {number} raw frames are at the server", works=True)
        return manifest

    def _judge_session(self, before: SessionProgress, error: SkyrelayError) -> None:
        """Keep a session that a failed frame leaves as it was; forget one that the server does not know."""
        if isinstance(error, SessionUnknown):
            self._save(None)
        elif not isinstance(error, StaleState) and not may_have_arrived(error):
            self._save(before)

    def _refused(self, name: str, reason: str, before: SessionProgress, manifest: Manifest) -> Manifest:
        left, now = manifest.without([name]), self._workshop.clock()
        self._save(before)
        with self._workshop.store.write() as session:
            delivery = still_claimed(session, self._parcel)
            self._leave_out(session, name, reason)
            delivery.raw_frames = left.to_row()
            note_success(session, CROWDSKY, now, ACTOR)  # the account works, it is this frame
            if not left.names:
                words = f"none of its frames can be sent: {reason}"
                bury(session, delivery, words, now, ACTOR, raw_session=None)
        _log.warning("a raw frame was refused", frame=name, problem=reason)
        return left

    def _save(self, progress: SessionProgress | None, reason: str = "", *, works: bool = False) -> None:
        """Write down how far the session is, unless another worker has begun one of its own."""
        now = self._workshop.clock()
        with self._workshop.store.write() as session:
            delivery = still_claimed(session, self._parcel)
            self._check(delivery)
            delivery.raw_session = None if progress is None else progress.to_row()
            delivery.reason, delivery.updated_at = reason or delivery.reason, now
            if works:
                delivery.attempts, delivery.needs_you = 0, False
                note_success(session, CROWDSKY, now, ACTOR)
        self._progress = progress
        self._token_in_books = None if progress is None else progress.token

    def _check(self, delivery: Delivery) -> None:
        kept = delivery.raw_session
        if (None if kept is None else kept["token"]) != self._token_in_books:
            raise StaleState(f"delivery {delivery.id} has another session by now")

    def _is_over(self) -> bool:
        return time.monotonic() > self._ends_at_s or self._workshop.quiet_until() is not None

    def _put_back(self) -> None:
        """Let others have their turn; this one goes on after them."""
        now = self._workshop.clock()
        with self._workshop.store.write() as session:
            delivery = still_claimed(session, self._parcel)
            delivery.lease_until, delivery.next_attempt_at = None, now

    # -- the end -----------------------------------------------------------------------------------

    def _finish(self, client: CrowdSkyClient, manifest: Manifest) -> None:
        if self._progress is None:
            raise StaleState("the session is gone")
        reason = f"the server is asked to stack {len(manifest.names)} raw frames"
        self._sent_at = begin(self._workshop, self._parcel, reason, self._check)
        scrub = self._workshop.settings.crowdsky.scrubs_location
        answer = RawAnswer.from_answer(
            client.finalize_raw_session(self._progress.token, scrub_location=scrub, overwrite=False)
        )
        if answer.skipped or not answer.chunks:
            self._book_skipped(answer, manifest)
        else:
            job = answer.jobs[0] if answer.jobs else None
            receipt = UploadReceipt(job, answer.chunks[0], "queued")
            book_acceptance(self._workshop, self._parcel.delivery_id, self._sent_at, receipt)

    def _book_skipped(self, answer: RawAnswer, manifest: Manifest) -> None:
        """Write down that the server dropped frames: nothing of them is stacked, and a person decides."""
        now, skipped = self._workshop.clock(), ", ".join(answer.skipped) or "all of them"
        others = f" (of {', '.join(answer.chunks)} it makes a stack)" if answer.chunks else ""
        with self._workshop.store.write() as session:
            note_success(session, CROWDSKY, now, ACTOR)
            delivery = sent_then(session, self._parcel.delivery_id, self._sent_at)
            if delivery is not None and delivery.state == DeliveryState.SENDING:
                words = _taken(f"a stack already: the server skipped {skipped}{others}", manifest)
                bury(session, delivery, words, now, ACTOR, raw_session=None)
        _log.warning("raw frames were skipped", chunk_keys=skipped)

    # -- failures ----------------------------------------------------------------------------------

    def fail(self, error: SkyrelayError) -> None:
        """Book what went wrong: on the way to the end, or at the end itself."""
        outcome, now = self._outcome(error), self._workshop.clock()
        account = self._parcel.account
        with self._workshop.store.write() as session:
            if self._sent_at is not None:
                sent = sent_then(session, self._parcel.delivery_id, self._sent_at)
                if sent is not None:
                    if isinstance(error, SessionUnknown) or may_have_arrived(error):
                        sent.raw_session = None
                    book_failed_send(session, account, sent, outcome, str(error), now)
            else:
                self._book_unsent(session, error, outcome, now)
        _log.warning("raw frames were not delivered", problem=str(error), outcome=type(outcome).__name__)

    def _book_unsent(self, session: Session, error: SkyrelayError, outcome: Outcome, now: datetime) -> None:
        try:
            delivery = still_claimed(session, self._parcel)
        except StaleState:
            return
        book_unsent(session, self._parcel.account, delivery, outcome, str(error), now, listing=False)
        if isinstance(error, FrameNotAtHand) and error.is_away:
            delivery.needs_you = False  # as a rule it is just asleep

    def _outcome(self, error: SkyrelayError) -> Outcome:
        jitter = random.random()  # noqa: S311 - spreads load only
        if isinstance(error, FrameNotAtHand):
            longest = AWAY_DELAY if error.is_away else LONGEST_DELAY
            return TryAgain(growing_delay(self._attempts, jitter, longest=longest))
        if isinstance(error, SessionUnknown):
            return TryAgain(growing_delay(self._attempts, jitter), blame=Blame.ITEM)
        outcome = outcome_of(error, self._attempts, jitter)
        # Without an answer nobody knows whether the session was ended, whatever stood in front of the server.
        is_unsure = self._sent_at is not None and may_have_arrived(error)
        return replace(outcome, ask_first=True) if is_unsure and isinstance(outcome, TryAgain) else outcome


def _taken(by: str, manifest: Manifest) -> str:
    keys = ", ".join(sorted(manifest.chunk_keys))
    return (
        f"the chunk {keys} holds {by}. CrowdSky stacks no raw frames beside it, and overwriting, which would "
        "delete it, is never done by itself: have the block stacked on its telescope instead, or delete that "
        "stack on the server's web page and have the frames sent again"
    )


def _source(telescope: Telescope) -> Source:
    is_observing = telescope.state == TelescopeState.OBSERVING
    return Source(telescope.name, telescope.address, telescope.http_port, is_observing)


def _place(frame: Frame) -> FramePlace:
    return FramePlace(
        name=frame.file_name,
        folder=frame.folder,
        size_bytes=frame.size_bytes,
        root=frame.seen_root,
        path=frame.seen_path,
        is_on_telescope=frame.state == FrameState.OK and frame.inventoried_at is not None,
    )


def _room(workshop: Workshop) -> Callable[[int], bool]:
    root = workshop.settings.archive_path
    return lambda size: workshop.free_bytes(root) - size >= LEAST_FREE
