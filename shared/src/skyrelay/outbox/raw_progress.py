"""What a delivery of raw frames has to send, and how far it is: typed, as the delivery's row keeps it.

A frame is written down as handed in once the server said so, and a session as doubtful from the moment in
which the server may have the whole of a frame until it has answered. Whoever comes next thus goes on with the
same session, or begins another one; an unfinished session is never stacked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.crowdsky.raw_frames import RawFrame, RawGroup, fingerprint_of, identities_of


@dataclass(frozen=True, slots=True)
class Manifest:
    """The frames that go, and what the server's stacks of them will be known by.

    Attributes
    ----------
    telescope, filter_name
        As the frames' headers say; empty if they do not.
    frames
        File name, aware DATE-OBS and the server's chunk key of each, by start.
    kind
        What scripts' fingerprints of the same kind of frames begin with; empty in rows of earlier releases.
    """

    telescope: str
    filter_name: str
    frames: tuple[tuple[str, datetime, str], ...]
    kind: str = ""

    @classmethod
    def of(cls, frames: Iterable[RawFrame]) -> Manifest:
        """Make it of frames whose headers were read; there is at least one."""
        ordered = sorted(frames, key=lambda frame: frame.started_at)
        facts = tuple((frame.path.name, frame.started_at, frame.chunk_key) for frame in ordered)
        return cls(ordered[0].telescope, ordered[0].filter_name, facts, RawGroup(ordered).kind)

    @classmethod
    def read(cls, kept: dict[str, Any]) -> Manifest:
        """Read it as a row keeps it."""
        frames = ((name, datetime.fromisoformat(start), key) for name, start, key in kept["frames"])
        return cls(kept["telescope"], kept["filter"], tuple(frames), kept.get("kind", ""))

    def to_row(self) -> dict[str, Any]:
        """Give what a row keeps."""
        frames = [[name, start.astimezone(UTC).isoformat(), key] for name, start, key in self.frames]
        row = {"telescope": self.telescope, "filter": self.filter_name, "frames": frames}
        return row | ({"kind": self.kind} if self.kind else {})

    def without(self, names: Iterable[str]) -> Manifest:
        """Leave frames out."""
        gone = set(names)
        return replace(self, frames=tuple(frame for frame in self.frames if frame[0] not in gone))

    @property
    def names(self) -> tuple[str, ...]:
        """The frames' names, by start."""
        return tuple(name for name, _, _ in self.frames)

    @property
    def fingerprint(self) -> str:
        """What a script that sends the same frames remembers them by."""
        return fingerprint_of(self.kind, [start for _, start, _ in self.frames])

    @property
    def chunk_keys(self) -> frozenset[str]:
        """The keys that the server will file its stacks under."""
        return frozenset(key for _, _, key in self.frames)

    @property
    def identities(self) -> tuple[StackIdentity, ...]:
        """What the server's stacks will be known by, one for each chunk key."""
        return identities_of(
            self.telescope, self.filter_name, [(key, start) for _, start, key in self.frames]
        )


@dataclass(frozen=True, slots=True)
class SessionProgress:
    """A session at the server.

    Attributes
    ----------
    token
        Names it for the server; of no use without the login.
    handed_in
        Names of the frames that the server has taken into it.
    in_doubt
        The frame that the server may have without having said so; `None`: there is none.
    """

    token: str
    handed_in: tuple[str, ...] = ()
    in_doubt: str | None = None

    @classmethod
    def read(cls, kept: dict[str, Any] | None) -> SessionProgress | None:
        """Read it as a row keeps it; `None` where there is no session that can be gone on with."""
        if kept is None or kept["in_doubt"] is not None:
            return None
        return cls(kept["token"], tuple(kept["handed_in"]))

    def to_row(self) -> dict[str, Any]:
        """Give what a row keeps."""
        return {"token": self.token, "handed_in": list(self.handed_in), "in_doubt": self.in_doubt}

    def doubting(self, name: str) -> SessionProgress:
        """Say that the server may have a frame now."""
        return replace(self, in_doubt=name)

    def with_frame(self, name: str) -> SessionProgress:
        """Say that the server has taken a frame."""
        return replace(self, handed_in=(*self.handed_in, name), in_doubt=None)
