"""From one look at a file to the event that is published of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from skyrelay.fits_header import CardValue, FitsHeader
from skyrelay.queue.events import HEADER_CARDS, FrameEvent
from skyrelay_watcher.fits_look import Look
from skyrelay_watcher.spool import FileKey

_LONGEST_TEXT = (
    200  # a card holds 68 characters; CONTINUE can make them 288,000, which nobody needs on a stream
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


def frame_event(key: FileKey, look: Look, *, telescope: str | None, now: datetime) -> FrameEvent:
    """Make the event of one file.

    Parameters
    ----------
    key
        The file.
    look
        What its header says, or what is wrong with it.
    telescope
        Name of the telescope that the root is configured for.
    now
        Aware UTC time.
    """
    good = look.header if look.problem is None else None
    return FrameEvent(
        root=as_text(key.root),
        telescope=telescope,
        path=as_text(key.path),
        size_bytes=look.stamp.size_bytes,
        modified_at=_moment(look.stamp.modified_ns),
        header=_subset(good) if good else {},
        header_sha256=look.header_sha256,
        problem=look.problem,
        seen_at=now,
    )


def as_text(path: str) -> str:
    r"""Write a path so that any encoder takes it: bytes that are no UTF-8 become ``\udcXX``."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _subset(header: FitsHeader) -> dict[str, CardValue]:
    found = ((keyword, header.cards.get(keyword)) for keyword in HEADER_CARDS)
    return {keyword: _shortened(value) for keyword, value in found if value is not None}


def _shortened(value: CardValue) -> CardValue:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value


def _moment(nanoseconds: int) -> datetime:
    """Give the UTC time; one that no calendar holds becomes the nearest that it does."""
    try:
        return max(_EPOCH, _EPOCH + timedelta(microseconds=nanoseconds // 1000))
    except OverflowError:
        return _EPOCH if nanoseconds < 0 else _LATEST
