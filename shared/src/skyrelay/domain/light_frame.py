"""The grammar of a light frame's (sub-frame's) file name.

``Light_<target>_<exposure>s_<filter>_<YYYYMMDD-HHMMSS>.fit``, seen on firmware
4.27 to 8.89. The time is the telescope's local wall clock at the moment when the
file was saved. Older names have no filter, some have no decimal in the exposure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

EXPOSURE = r"(?P<exposure>[0-9]{1,5}(?:\.[0-9]{1,6})?s)"  # a day has 86400 s: more digits are no exposure
FLAGS = re.ASCII | re.IGNORECASE | re.DOTALL
_HEAD = rf"Light_(?P<target>[^/\x00]+)_{EXPOSURE}(?:_(?P<filter>[^_/\x00]+))?"
PATTERN = re.compile(rf"\A{_HEAD}_(?P<saved>[0-9]{{8}}-[0-9]{{6}})(?P<extension>\.fits?)\Z", FLAGS)
_HEAD_PATTERN = re.compile(_HEAD, FLAGS)
_STAMP_LENGTH = len("YYYYMMDD-HHMMSS")
_EXTENSIONS = frozenset({"fit", "fits"})
_SAVED_FORMAT = "%Y%m%d-%H%M%S"
_HEADS_REMEMBERED = 1024  # a night has some ten, each shared by hundreds of names
_YEARS = range(1900, 9999)  # a clock that was never set says 1970; beyond these no offset could be applied
SUB_FOLDER_SUFFIX = "_sub"  # a target's raw frames lie in "<target>_sub"


@dataclass(frozen=True, slots=True)
class LightFrameName:
    """What the name of a sub-frame says.

    Attributes
    ----------
    target
        The observed object as the telescope names it; mosaics begin with ``mosaic_``.
    exposure
        Exposure time as written, with its unit, e.g. ``20.0s``.
    filter
        ``IRCUT``, ``LP``, …; empty where the name has none.
    saved_local
        Naive local time of the telescope when the file was saved.
    extension
        ``.fit`` or ``.fits`` in the case found.
    """

    target: str
    exposure: str
    filter: str
    saved_local: datetime
    extension: str = ".fit"

    @property
    def exposure_s(self) -> float:
        """Exposure time in seconds."""
        return float(self.exposure[:-1])

    @classmethod
    def parse(cls, file_name: str) -> LightFrameName | None:
        """Read a file name; `None` when it is not a light frame's (an impossible date included)."""
        parts = split_name(file_name)
        if parts is None:
            return None
        (target, exposure, filter_), saved_local, extension = parts
        return cls(target, exposure, filter_, saved_local, f".{extension}")

    def build(self) -> str:
        """Write the file name.

        Raises
        ------
        ValueError
            If the parts do not survive the way back (a filter that reads as an exposure, say).
        """
        filter_part = f"_{self.filter}" if self.filter else ""
        stamp = self.saved_local.strftime(_SAVED_FORMAT)
        name = f"Light_{self.target}_{self.exposure}{filter_part}_{stamp}{self.extension}"
        if LightFrameName.parse(name) != self:
            raise ValueError(f"no unambiguous light frame name can be made of {self!r}")
        return name


def split_name(file_name: str) -> tuple[tuple[str, str, str], datetime, str] | None:
    """Cut a light frame's name into (target, exposure, filter), naive local time and extension.

    `None` when it is no light frame's. What stands before the time is the same in a whole night's
    names, so it is read once: a listing has 100,000 names and some ten heads.
    """
    stem, _, extension = file_name.rpartition(".")
    if stem[-_STAMP_LENGTH - 1 : -_STAMP_LENGTH] != "_" or extension.lower() not in _EXTENSIONS:
        return None
    head = _read_head(stem[: -_STAMP_LENGTH - 1])
    saved_local = parse_stamp(stem[-_STAMP_LENGTH:])
    return None if head is None or saved_local is None else (head, saved_local, extension)


@lru_cache(maxsize=_HEADS_REMEMBERED)
def _read_head(head: str) -> tuple[str, str, str] | None:
    match = _HEAD_PATTERN.fullmatch(head)
    return None if match is None else (match["target"], match["exposure"], match["filter"] or "")


def parse_stamp(text: str) -> datetime | None:
    """Read ``YYYYMMDD-HHMMSS`` as a naive local time; `None` when there is no such moment."""
    day, dash, time = text[:8], text[8:9], text[9:]
    if dash != "-" or len(time) != 6 or not (day.isdecimal() and time.isdecimal() and text.isascii()):
        return None
    if time >= "240000":  # Python 3.14 takes 24:00 for the next day's midnight
        return None
    try:
        moment = datetime.fromisoformat(text)  # a tenth of what strptime takes
    except ValueError:
        return None
    return moment if moment.year in _YEARS else None


def target_of_folder(folder: str) -> str:
    """Give the target whose frames lie in ``folder`` (``M 81_sub`` holds ``M 81``)."""
    return folder.removesuffix(SUB_FOLDER_SUFFIX)
