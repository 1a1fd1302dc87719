"""The books of what was told: a row for each thing and address, so that a restart tells nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.telling import may_tell, retry_after
from skyrelay.store.tables import Notice
from skyrelay_cloud_agent.notifying.sightings import Sighting

_KEPT_FOR = timedelta(days=30)
_ONCE = "receipt:"  # a night's receipt may be complete, wait again and be complete again
_MOST_TEXT = 900  # characters: Pushover takes 1024, Discord 2000; with room for the line that says of more
_MOST_TITLE = 200  # characters: Pushover takes 250, Discord 256


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to one address, of all that there is to say on a subject."""

    ids: tuple[int, ...]
    title: str
    text: str


def note_sightings(
    session: Session, seen: Iterable[Sighting], kinds: Collection[str], address: str, now: datetime
) -> None:
    """Write down what is seen now, and what is seen no more.

    Parameters
    ----------
    session
        A writing session.
    seen
        All that is seen.
    kinds
        The beginnings of the keys that were looked for; of others, which could not be, nothing is known.
    address
        Digest of whom it is for.
    now
        Aware time.
    """
    rows = {row.key: row for row in session.scalars(select(Notice).where(Notice.address == address))}
    current = {sighting.key: sighting for sighting in seen}
    for key, sighting in current.items():
        row = rows.get(key)
        if row is None:
            session.add(_new(sighting, address, now))
        elif row.ended_at is None:
            row.title, row.text = (row.title, row.text) if row.told_at else (sighting.title, sighting.text)
        else:
            _begin_again(row, sighting, now)
    for key, row in rows.items():
        if key not in current and row.ended_at is None and key.partition(":")[0] in kinds:
            row.ended_at = now
    session.execute(delete(Notice).where(Notice.ended_at < now - _KEPT_FOR))


def forget_others(session: Session, addresses: Collection[str], now: datetime) -> None:
    """Forget what was told to addresses that are in use no more, after as long as of those that are."""
    is_other = Notice.address.not_in(addresses)
    session.execute(delete(Notice).where(is_other, Notice.began_at < now - _KEPT_FOR))


def _new(sighting: Sighting, address: str, now: datetime) -> Notice:
    return Notice(
        key=sighting.key,
        address=address,
        subject=sighting.subject,
        title=sighting.title,
        text=sighting.text,
        began_at=now,
        next_attempt_at=now + sighting.settles,
    )


def _begin_again(row: Notice, sighting: Sighting, now: datetime) -> None:
    """Open a row again; what was told within the hour is not told again, a receipt never."""
    if row.key.startswith(_ONCE) and row.told_at is not None:
        return
    row.ended_at = None
    if may_tell(row.told_at, now):
        row.title, row.text, row.began_at, row.told_at = sighting.title, sighting.text, now, None
        row.attempts, row.problem, row.next_attempt_at = 0, None, now + sighting.settles


def letters_due(session: Session, address: str, now: datetime) -> Sequence[Letter]:
    """Give what an address is to be told now, one message a subject."""
    told = select(Notice.subject, func.max(Notice.told_at)).where(Notice.address == address)
    last_told = {row[0]: row[1] for row in session.execute(told.group_by(Notice.subject))}
    is_waiting = (Notice.address == address, Notice.ended_at.is_(None), Notice.told_at.is_(None))
    waiting: dict[str, list[Notice]] = {}
    for row in session.scalars(select(Notice).where(*is_waiting).order_by(Notice.id)):
        if row.next_attempt_at is None or row.next_attempt_at <= now or row.attempts:
            waiting.setdefault(row.subject, []).append(row)
    return [_letter(rows) for subject, rows in waiting.items() if _is_due(rows, last_told[subject], now)]


def _is_due(rows: Sequence[Notice], last_told_at: datetime | None, now: datetime) -> bool:
    """Tell whether a message may go: none on the subject for an hour, and no failed attempt just now."""
    return may_tell(last_told_at, now) and all(
        row.next_attempt_at is None or row.next_attempt_at <= now for row in rows
    )


def _letter(rows: Sequence[Notice]) -> Letter:
    ids = tuple(row.id for row in rows)
    return Letter(ids, _cut(rows[0].title, _MOST_TITLE), _bounded([row.text for row in rows]))


def _bounded(texts: Sequence[str]) -> str:
    """Put texts together, as many as every service takes in one message, and say how many more there are."""
    said = _cut(texts[0], _MOST_TEXT)
    for number, text in enumerate(texts[1:], start=1):
        if len(said) + len(text) + 2 > _MOST_TEXT:
            return f"{said}\n\nand {len(texts) - number} more: see the page"
        said = f"{said}\n\n{text}"
    return said


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def note_told(session: Session, letter: Letter, now: datetime) -> None:
    """Write down that a message went."""
    for row in session.scalars(select(Notice).where(Notice.id.in_(letter.ids))):
        row.told_at, row.problem, row.next_attempt_at = now, None, None


def note_failed(session: Session, letter: Letter, problem: str, now: datetime) -> None:
    """Write down that a message did not go, and when it is tried again."""
    for row in session.scalars(select(Notice).where(Notice.id.in_(letter.ids))):
        row.attempts += 1
        row.problem, row.next_attempt_at = problem, now + retry_after(row.attempts)
