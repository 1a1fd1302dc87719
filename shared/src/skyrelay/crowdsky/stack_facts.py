"""What a stack's file tells of itself, by its header and its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.crowdsky.server_key import server_chunk_key
from skyrelay.domain.stack_name import CrowdSkyName, parse_stack_name
from skyrelay.fits_header import FitsHeader, date_obs

_TELLING = ("TELESCOP", "DATE-OBS", "FILTER", "OBJECT", "EXPTIME", "TOTALEXP", "NAXIS1", "NAXIS2")


@dataclass(frozen=True, slots=True)
class StackFacts:
    """A stack's file.

    Attributes
    ----------
    name
        Its file name.
    size_bytes
        Its size.
    identity
        What tells it from others on the server. Its end is not known: no card tells it.
    frames
        Frames that were really used; `None` if not known.
    fingerprint
        Equal for the same file in another place or under another name. It tells no place on Earth.
    """

    name: str
    size_bytes: int
    identity: StackIdentity
    frames: int | None
    fingerprint: str


def stack_facts(name: str, header: FitsHeader, size_bytes: int) -> StackFacts:
    """Read a stack's name and header."""
    parsed, start = parse_stack_name(name), date_obs(header)
    exptime_s = header.number("TOTALEXP") or header.number("EXPTIME")
    identity = StackIdentity(
        telescope_serial=header.text("TELESCOP") or "",
        filter_name=header.text("FILTER") or (parsed.filter if parsed else ""),
        first_start_at=start,
        last_start_at=None,
        chunk_keys=frozenset(_keys(name, header)),
        total_exptime_s=exptime_s,
    )
    cards = [f"{keyword}={header.cards.get(keyword, '')}" for keyword in _TELLING]
    cards += [] if start else [f"name={name}"]  # the time is what tells it: without it, nothing is the same
    return StackFacts(
        name=name,
        size_bytes=size_bytes,
        identity=identity,
        frames=header.integer("STACKCNT") or (parsed.frames if parsed else None),
        fingerprint=";".join([*cards, f"bytes={size_bytes}"]),
    )


def _keys(name: str, header: FitsHeader) -> set[str]:
    """Give the key in its name and the key that the server computes: they differ at a block's edge."""
    parsed = CrowdSkyName.parse(name)
    keys = {None if parsed is None else str(parsed.key), server_chunk_key(header)}
    return {key for key in keys if key is not None}
