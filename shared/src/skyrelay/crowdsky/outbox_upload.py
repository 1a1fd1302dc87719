"""Upload a folder's stacks through the services' outbox: one set of books, whoever sends.

A running uploader sends them; where there is none, the command does, with the uploader's own code. What is
not sent when the command ends stays in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from time import sleep

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from skyrelay.crowdsky.bulk_upload import BulkUpload, Entry, Outcome, UploadReport
from skyrelay.crowdsky.stack_sources import LocalStacks
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.outbox.handing_in import hand_in
from skyrelay.outbox.known_stacks import delivery_of, find_stack
from skyrelay.outbox.waiting import Standing, Wanted, held_up, look
from skyrelay.queue.beats import read_beats
from skyrelay.queue.celery_app import build_celery, nudge
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated

_UPLOADER = "uploader"
_LOOK_S = 0.5  # at our own database, while the uploader sends
_SURE_AFTER = 10  # looks in a row
_REDIS_S = 3.0

Drain = Callable[[Settings, Store, Wanted, Callable[[], object]], str]


@dataclass(frozen=True, slots=True)
class OutboxUpload:
    """Uploads a folder's stacks.

    Attributes
    ----------
    settings, store
        The configuration, and its database.
    upload
        Judges what the server, the books and the scripts' memory know of each stack.
    until
        How far they are to come: ``ACCEPTED`` or ``CONFIRMED``.
    on_handed_in, on_turn
        Told of how many are in the outbox, and then of how many have come so far, of how many.
    """

    settings: Settings
    store: Store
    upload: BulkUpload
    until: DeliveryState = DeliveryState.ACCEPTED
    on_handed_in: Callable[[int, int], object] = lambda _, __: None
    on_turn: Callable[[int, int], object] = lambda _, __: None
    clock: Callable[[], datetime] = field(default=utc_now)

    def run(
        self, folder: Path, *, dry_run: bool, confirm: Callable[[UploadReport], bool]
    ) -> tuple[UploadReport, str]:
        """Look, ask, hand in, and wait; give what became of each, and why it ended before all had come.

        Raises
        ------
        SkyrelayError, OSError
            If it is not known what is there, or what the server has: then nothing was handed in.
        """
        source = LocalStacks(folder)
        if dry_run:
            return self.upload.plan(source), ""
        with self.upload.ledger.alone():
            plan = self.upload.plan(source)
            if not confirm(plan):
                return plan, ""
            handed_in = [
                self._hand_in(entry, number, len(plan.entries)) for number, entry in enumerate(plan.entries)
            ]
        ids = [id_ for _, id_ in handed_in if id_ is not None]
        wanted = Wanted(frozenset(ids), self.until)
        reason = self._wait(wanted) if ids else ""
        standings = look(self.store, ids, self.clock())
        entries = [_entry(entry, standings.get(id_ or 0), wanted) for entry, id_ in handed_in]
        return UploadReport(plan.folders_scanned, entries), reason

    def _hand_in(self, entry: Entry, number: int, whole: int) -> tuple[Entry, int | None]:
        """Put what is to be sent into the outbox; give the delivery of what is there, or was there before."""
        self.on_handed_in(number, whole)
        candidate = entry.candidate
        if entry.outcome is not Outcome.TO_SEND or candidate.path is None or candidate.facts is None:
            return entry, self._delivery_of(entry)
        archive, zone = self.settings.archive_path, self.settings.site_zone
        try:
            return entry, hand_in(self.store, archive, candidate.path, candidate.facts, self.clock(), zone)
        except SkyrelayError as error:
            return replace(entry, outcome=Outcome.FAILED, reason=str(error)), None

    def _delivery_of(self, entry: Entry) -> int | None:
        is_in_books = entry.outcome in {Outcome.OWED, Outcome.ACCEPTED}
        if not is_in_books or entry.candidate.facts is None:
            return None
        with self.store.read() as session:
            stack = find_stack(session, entry.candidate.facts.identity)
            delivery = None if stack is None else delivery_of(session, stack)
        return None if delivery is None else delivery.id

    def _wait(self, wanted: Wanted) -> str:
        if self._uploader_works():
            reason = self._wait_for_uploader(wanted)
            if reason is not None:
                return reason
        drain = find_drain()
        if drain is None:
            return "no uploader runs, and none is installed here: they wait in the outbox"
        return drain(self.settings, self.store, wanted, lambda: self._show(wanted))

    def _wait_for_uploader(self, wanted: Wanted) -> str | None:
        """Wait for the running uploader; `None` when it ends meanwhile."""
        app = build_celery(self._redis_url)
        nudge(app, TaskName.RECONCILE_DELIVERIES, Nothing())
        app.close()
        held_up_for = 0
        while True:
            self._show(wanted)
            reason = held_up(self.store, wanted, self.clock())
            held_up_for = held_up_for + 1 if reason else 0
            if reason == "" or held_up_for > _SURE_AFTER:  # it may just be about to see that we have come
                return reason
            if not self._uploader_works():
                return None
            sleep(_LOOK_S)

    def _show(self, wanted: Wanted) -> None:
        standings: Mapping[int, Standing] = look(self.store, wanted.ids, self.clock())
        self.on_turn(sum(wanted.is_over(each) for each in standings.values()), len(wanted.ids))

    @property
    def _redis_url(self) -> str:
        """The configured Redis, else that of `skyrelay up`."""
        own = self.settings.data_dir.resolve() / "redis.sock"
        return self.settings.redis_url.get_secret_value() or f"unix://{own}"

    def _uploader_works(self) -> bool:
        """Tell whether an uploader runs that sends; one that only waits for the set-up does not."""
        if self.settings.setup != "done" or not self.settings.crowdsky.enabled:
            return False
        try:
            with connect_redis(self._redis_url, answer_within_s=_REDIS_S) as redis:
                beat = read_beats(redis).get(_UPLOADER)
        except (RedisError, OSError):
            return False
        return beat is not None and not beat.is_stale(self.clock())


def open_outbox(settings: Settings) -> Store:
    """Open the services' database.

    Raises
    ------
    TransientError
        If it does not answer, or is not migrated.
    """
    store = Store(settings.database)
    try:
        check_migrated(store)
    except SQLAlchemyError as error:
        store.close()
        raise TransientError(
            f"the services' database cannot be read ({type(error).__name__}): is it running, and is "
            "database_url right?"
        ) from error
    except TransientError:
        store.close()
        raise
    return store


def find_drain() -> Drain | None:
    """Give what sends in this process; `None` where the uploader is not installed."""
    for point in entry_points(group="skyrelay.outbox", name="drain"):
        found: Drain = point.load()
        return found
    return None


def _entry(entry: Entry, standing: Standing | None, wanted: Wanted) -> Entry:
    """Say what became of an entry whose delivery stands so."""
    if standing is None:
        return entry
    outcome, words = _outcome(entry.outcome, standing, wanted), standing.reason
    return replace(
        entry,
        outcome=outcome,
        reason=f"in the outbox: {words}" if outcome is Outcome.OWED else words,
        chunk_key=standing.server_chunk_key or entry.chunk_key,
    )


def _outcome(before: Outcome, standing: Standing, wanted: Wanted) -> Outcome:
    if wanted.has_come(standing):
        return Outcome.ACCEPTED if before is Outcome.ACCEPTED else Outcome.UPLOADED
    return Outcome.FAILED if wanted.is_over(standing) else Outcome.OWED
