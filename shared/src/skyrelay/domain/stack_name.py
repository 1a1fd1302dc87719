"""The grammar of stacks' file names: the telescope's own and CrowdSky's two.

- ``DSO_Stacked_<n>_<target>_<exposure>s_<YYYYMMDD>_<HHMMSS>.fit``: what batch-stacking
  leaves in ``MyWorks/<target>/``.
- ``CrowdSky_<n>_<target>_<exposure>s_<filter>_<YYYYMMDD.CC>_HP<nnnnnn>.fit``: current; names
  without the ``_HP`` part occur on the server.
- ``CrowdSky_<n>_<target>_<exposure>s_<filter>_<YYYYMMDD-HHMMSS>.fit``: legacy, local block start.

``<n>`` is the number of frames really used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from skyrelay.domain.chunk import ChunkKey, is_chunk
from skyrelay.domain.light_frame import EXPOSURE, FLAGS, parse_stamp

_HEAD = rf"(?P<frames>[0-9]{{1,6}})_(?P<target>[^/\x00]+)_{EXPOSURE}"
_FILTER = r"(?:_(?P<filter>[^_/\x00]+))?"
_END = r"(?P<extension>\.fits?)"
_DSO = re.compile(rf"\ADSO_Stacked_{_HEAD}{_FILTER}_(?P<day>[0-9]{{8}})_(?P<time>[0-9]{{6}}){_END}\Z", FLAGS)
CURRENT = re.compile(
    rf"\ACrowdSky_{_HEAD}{_FILTER}_(?P<chunk>[0-9]{{8}}\.[0-9]{{2}})(?:_HP(?P<pixel>[0-9]{{6}}))?{_END}\Z",
    FLAGS,
)
LEGACY = re.compile(rf"\ACrowdSky_{_HEAD}{_FILTER}_(?P<saved>[0-9]{{8}}-[0-9]{{6}}){_END}\Z", FLAGS)


@dataclass(frozen=True, slots=True)
class DsoStackedName:
    """The telescope's own name of a stack; ``saved_local`` is its naive wall clock."""

    frames: int
    target: str
    exposure: str
    saved_local: datetime
    filter: str = ""
    extension: str = ".fit"

    @classmethod
    def parse(cls, file_name: str) -> DsoStackedName | None:
        """Read a file name; `None` when it is not of this form."""
        match = _DSO.fullmatch(file_name)
        saved_local = parse_stamp(f"{match['day']}-{match['time']}") if match else None
        if match is None or saved_local is None:
            return None
        return cls(
            int(match["frames"]),
            match["target"],
            match["exposure"],
            saved_local,
            match["filter"] or "",
            match["extension"],
        )

    def build(self) -> str:
        """Write the file name; raise `ValueError` if it would read back as something else."""
        stamp = self.saved_local.strftime("%Y%m%d_%H%M%S")
        head = _build_head(self.frames, self.target, self.exposure, self.filter)
        return _checked(self, f"DSO_Stacked_{head}_{stamp}{self.extension}", DsoStackedName.parse)


@dataclass(frozen=True, slots=True)
class CrowdSkyName:
    """CrowdSky's current name of a stack.

    ``key.pixel`` is `None` when the name has no ``_HP`` part. A name that says ``HP000000``
    gives pixel 0, although the convention also writes that for an unknown position.
    """

    frames: int
    target: str
    exposure: str
    filter: str
    key: ChunkKey
    extension: str = ".fit"

    @classmethod
    def parse(cls, file_name: str) -> CrowdSkyName | None:
        """Read a file name; `None` when it is not of this form."""
        match = CURRENT.fullmatch(file_name)
        if match is None or not is_chunk(match["chunk"]):
            return None
        pixel = None if match["pixel"] is None else int(match["pixel"])
        return cls(
            int(match["frames"]),
            match["target"],
            match["exposure"],
            match["filter"] or "",
            ChunkKey(match["chunk"], pixel),
            match["extension"],
        )

    def build(self) -> str:
        """Write the file name; raise `ValueError` if it would read back as something else."""
        pixel = "" if self.key.pixel is None else f"_HP{self.key.pixel:06d}"
        head = _build_head(self.frames, self.target, self.exposure, self.filter)
        return _checked(self, f"CrowdSky_{head}_{self.key.chunk}{pixel}{self.extension}", CrowdSkyName.parse)


@dataclass(frozen=True, slots=True)
class CrowdSkyLegacyName:
    """CrowdSky's older name of a stack; ``block_start_local`` is the telescope's naive local time."""

    frames: int
    target: str
    exposure: str
    filter: str
    block_start_local: datetime
    extension: str = ".fit"

    @classmethod
    def parse(cls, file_name: str) -> CrowdSkyLegacyName | None:
        """Read a file name; `None` when it is not of this form."""
        match = LEGACY.fullmatch(file_name)
        block_start_local = parse_stamp(match["saved"]) if match else None
        if match is None or block_start_local is None:
            return None
        return cls(
            int(match["frames"]),
            match["target"],
            match["exposure"],
            match["filter"] or "",
            block_start_local,
            match["extension"],
        )

    def build(self) -> str:
        """Write the file name; raise `ValueError` if it would read back as something else."""
        stamp = self.block_start_local.strftime("%Y%m%d-%H%M%S")
        head = _build_head(self.frames, self.target, self.exposure, self.filter)
        return _checked(self, f"CrowdSky_{head}_{stamp}{self.extension}", CrowdSkyLegacyName.parse)


StackName = DsoStackedName | CrowdSkyName | CrowdSkyLegacyName


def parse_stack_name(file_name: str) -> StackName | None:
    """Read any stack's file name; `None` when it is no stack's."""
    return (
        DsoStackedName.parse(file_name)
        or CrowdSkyName.parse(file_name)
        or CrowdSkyLegacyName.parse(file_name)
    )


def _build_head(frames: int, target: str, exposure: str, filter_: str) -> str:
    return f"{frames}_{target}_{exposure}" + (f"_{filter_}" if filter_ else "")


def _checked(name_parts: StackName, name: str, parse: Callable[[str], StackName | None]) -> str:
    if parse(name) != name_parts:
        raise ValueError(f"no unambiguous stack name can be made of {name_parts!r}")
    return name
