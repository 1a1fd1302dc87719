"""What there is to tell now: looked up anew each time, so that nothing has to be remembered to be right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.domain.dawn import DawnEvent, DawnRule, Place, last_dawn
from skyrelay.domain.dusk import sun_down_since
from skyrelay.domain.states import TelescopeState
from skyrelay.domain.telling import NEED_SETTLES, Silence, is_gone_in_the_night, key_of_need
from skyrelay.settings import Settings
from skyrelay.store.places import place_of, zone_of
from skyrelay.store.receipts import Receipt, build_receipt, duration_text
from skyrelay.store.tables import Block, Frame, Telescope

_MORNING = DawnRule(DawnEvent.SUNRISE, timedelta(), time(7, 30))
_NIGHTS_BACK = 1
_NOON = time(12)  # by then what waits is told as waiting


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something to tell, for as long as it is seen; ``settles``: how long it must last first."""

    key: str
    subject: str
    title: str
    text: str
    settles: timedelta = timedelta()


def needs_seen(needs: Sequence[Mapping[str, Any]]) -> Iterator[Sighting]:
    """Give what the gateway names under ``needs_you``."""
    for need in needs:
        text = f"{need['what']}: {need['reason']}\n{need['what_to_do']}"
        yield Sighting(key_of_need(str(need["what"])), "needs", "Skyrelay needs you", text, NEED_SETTLES)


def gone_seen(session: Session, settings: Settings, now: datetime) -> Iterator[Sighting]:
    """Give the telescopes that fell silent while they should be observing."""
    is_silent = (Telescope.state == TelescopeState.UNREACHABLE, Telescope.forgotten_at.is_(None))
    for row in session.scalars(select(Telescope).where(*is_silent).order_by(Telescope.id)):
        place = place_of(row, settings.observatory)
        down = None if place is None else sun_down_since(place, now)
        silence = _silence(session, row)
        if silence is not None and is_gone_in_the_night(
            silence, knows_place=place is not None, sun_down_since=down, now=now
        ):
            yield _gone(row, silence, zone_of(row, settings, now))


def _silence(session: Session, row: Telescope) -> Silence | None:
    if row.state_since is None:
        return None
    last_frame_at = session.scalar(
        select(Frame.start_at).where(Frame.telescope_id == row.id).order_by(Frame.id.desc()).limit(1)
    )
    return Silence(row.state_since, row.last_seen_at, last_frame_at)


def _gone(row: Telescope, silence: Silence, zone: tzinfo) -> Sighting:
    since = silence.since.astimezone(zone)
    text = f"{row.name} has not answered since {since:%H:%M}: {row.state_reason or 'no answer'}."
    return Sighting(f"gone:{row.id}", f"gone:{row.id}", f"{row.name} is gone", text)


def receipts_seen(session: Session, settings: Settings, now: datetime) -> Iterator[Sighting]:
    """Give the last night's receipt: once it is morning and nothing waits any more, else at noon."""
    place, zone = _home(session, settings, now)
    today = now.astimezone(zone).date()
    is_morning = last_dawn(_MORNING, place, zone, now).astimezone(zone).date() == today
    night = today - timedelta(days=_NIGHTS_BACK)
    if not is_morning or not _has_frames(session, night):
        return
    receipt = build_receipt(session, night)
    if receipt.complete or now.astimezone(zone).time() >= _NOON:
        yield receipt_sighting(receipt)


def _has_frames(session: Session, night: date) -> bool:
    found = select(func.count()).select_from(Block).where(Block.night == night.isoformat())
    return bool(session.scalar(found))


def _home(session: Session, settings: Settings, now: datetime) -> tuple[Place | None, tzinfo]:
    first = session.scalars(select(Telescope).order_by(Telescope.id).limit(1)).first()
    if first is None:
        return None, settings.site_zone or now.astimezone().tzinfo or UTC
    return place_of(first, settings.observatory), zone_of(first, settings, now)


def receipt_sighting(receipt: Receipt) -> Sighting:
    """Put a receipt into a few lines."""
    totals, night = receipt.totals, receipt.night
    lines = [
        f"{totals.frames} frames, {duration_text(totals.exposure_total_s)}",
        f"{totals.blocks_stacked} of {totals.blocks} blocks stacked, {totals.delivered} delivered",
    ]
    aside = {
        "blocks skipped": totals.blocks_skipped,
        "blocks failed": totals.blocks_failed,
        "blocks waiting": totals.blocks_waiting,
        "deliveries given up": totals.deliveries_dead,
        "frames held": totals.frames_held,
    }
    lines += [f"{number} {what}" for what, number in aside.items() if number]
    lines.append(
        f"{totals.frames_missing} frames missing" if totals.frames_missing else "No frame is missing"
    )
    key = f"receipt:{night.isoformat()}"
    return Sighting(key, key, f"Night of {night:%-d %B %Y}", "\n".join(lines))
