"""Whether clients behaved towards a telescope: rules that its journal can be held against.

Each ``assert_…`` raises `Misconduct`, whose text says what happened and when; `misconduct` tells all at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from skyrelay_simulators.telescope.journal import JournalEntry

_SET_CURSOR, _READ_PAGE = "get_img_file_page_number", "get_img_file_page_name"
_START = "start_batch_stack"
_LOOKS = frozenset({"get_view_state", "iscope_get_app_state"})

Block = frozenset[str]


class Misconduct(AssertionError):  # noqa: N818 - what it names
    """A client broke a rule."""


def assert_one_listing_at_a_time(journal: Iterable[JournalEntry]) -> None:
    """Check that nobody moved the one cursor while another connection was reading its pages."""
    _raise(listings_at_once(journal))


def assert_no_start_while_observing(journal: Iterable[JournalEntry]) -> None:
    """Check that no stack was started on a telescope which its client could see observing.

    An observation that began after the client's last look is nobody's fault: the telescope refuses then.
    """
    _raise(starts_while_observing(journal))


def assert_each_stacked_once(
    journal: Iterable[JournalEntry], blocks: Iterable[Collection[str]] | None = None
) -> None:
    """Check that no set of frames was stacked twice, and each of ``blocks`` (bare frame names) once."""
    _raise(stacked_not_once(journal, blocks))


def assert_good_conduct(journal: Iterable[JournalEntry]) -> None:
    """Check all rules that need nothing but the journal."""
    _raise(misconduct(journal))


def misconduct(journal: Iterable[JournalEntry]) -> list[str]:
    """Tell in words which rules were broken, in no particular order; empty if all were kept."""
    entries = list(journal)
    return [*listings_at_once(entries), *starts_while_observing(entries), *stacked_not_once(entries)]


def listings_at_once(journal: Iterable[JournalEntry]) -> list[str]:
    """Tell which pages were read after another client, or a listing still going on, had moved the cursor.

    A client whose connection dropped may go on over another one: the cursor still is where it put it.
    """
    return list(_disturbed_listings(_of_channel(journal, "rpc")))


def _disturbed_listings(entries: Iterable[JournalEntry]) -> Iterator[str]:
    listing: set[str] = set()  # connections that have a listing of their own under way
    holder = ""  # whose folder the cursor points at
    for entry in entries:
        if entry.method == "disconnect":
            listing.discard(entry.connection)
        elif entry.method == _SET_CURSOR and not entry.code:
            holder = entry.connection
            listing.add(holder)
        elif (
            entry.method == _READ_PAGE and entry.connection != holder and listing & {entry.connection, holder}
        ):
            yield _said(entry, f"reads a page of a listing, but {holder} has moved the cursor since")


def starts_while_observing(journal: Iterable[JournalEntry]) -> list[str]:
    """Tell which starts came from a client that last saw the telescope observe, or never looked."""
    return list(_blind_starts(journal))


def _blind_starts(entries: Iterable[JournalEntry]) -> Iterator[str]:
    observing = False
    saw_it: dict[str, bool] = {}  # by host: a client that reconnects is the same one
    for entry in entries:
        if entry.channel == "telescope":
            observing = entry.method == "observing" or (observing and entry.method != "idle")
        elif entry.channel == "rpc" and entry.method in _LOOKS:
            saw_it[_host(entry)] = observing
        elif (
            entry.channel == "rpc" and entry.method == _START and observing and saw_it.get(_host(entry), True)
        ):
            yield _said(entry, "starts a stack, though the telescope is seen to observe")


def stacked_not_once(
    journal: Iterable[JournalEntry], blocks: Iterable[Collection[str]] | None = None
) -> list[str]:
    """Tell which sets of frames have more than one stack, and which of ``blocks`` have none."""
    stacks = Counter(completed_stacks(journal))
    twice = [f"{_named(block)}: stacked {count} times" for block, count in stacks.items() if count > 1]
    missing = [block for block in map(frozenset, blocks or ()) if block not in stacks]
    return twice + [f"{_named(block)}: not stacked" for block in missing]


def completed_stacks(journal: Iterable[JournalEntry]) -> list[Block]:
    """Give the frames, by bare name, of each stack that came out."""
    ended = [entry for entry in _of_channel(journal, "stack") if entry.method == "complete"]
    return [frozenset(_params(entry)["names"]) for entry in ended]


def _of_channel(journal: Iterable[JournalEntry], channel: str) -> Iterator[JournalEntry]:
    return (entry for entry in journal if entry.channel == channel)


def _params(entry: JournalEntry) -> dict[str, Any]:
    return entry.params if isinstance(entry.params, dict) else {}


def _host(entry: JournalEntry) -> str:
    return entry.connection.rpartition(":")[0]


def _said(entry: JournalEntry, what: str) -> str:
    return f"#{entry.number} at {entry.at.isoformat()}: {entry.connection} {what}"


def _named(block: Block) -> str:
    return f"the block of {len(block)} frames from {min(block, default='(none)')}"


def _raise(broken: Sequence[str]) -> None:
    if broken:
        raise Misconduct("\n".join(broken))
