"""The grammar of a light frame's (sub-frame's) file name.

``Light_<target>_<exposure>s_<filter>_<YYYYMMDD-HHMMSS>.fit``, seen on firmware
4.27 to 8.89. The time is the telescope's local wall clock at the moment when the
file was saved. Older names have no filter, some have no decimal in the exposure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

EXPOSURE = r"(?P<exposure>[0-9]{1,5}(?:\.[0-9]{1,6})?s)"  # a day has 86400 s: more digits are no exposure
_PATTERN = re.compile(
    r"Light_(?P<target>[^/\x00]+)"
    rf"_{EXPOSURE}"
    r"(?:_(?P<filter>[^_/\x00]+))?"
    r"_(?P<saved>[0-9]{8}-[0-9]{6})"
    r"(?P<extension>\.fits?)",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_SAVED_FORMAT = "%Y%m%d-%H%M%S"
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
        match = _PATTERN.fullmatch(file_name)
        if match is None:
            return None
        saved_local = parse_stamp(match["saved"])
        if saved_local is None:
            return None
        return cls(match["target"], match["exposure"], match["filter"] or "", saved_local, match["extension"])

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


def parse_stamp(text: str) -> datetime | None:
    """Read ``YYYYMMDD-HHMMSS`` as a naive local time; `None` when there is no such moment."""
    try:
        moment = datetime.strptime(text, _SAVED_FORMAT)  # noqa: DTZ007 - local by definition of the format
    except ValueError:
        return None
    return moment if moment.year in _YEARS else None


def target_of_folder(folder: str) -> str:
    """Give the target whose frames lie in ``folder`` (``M 81_sub`` holds ``M 81``)."""
    return folder.removesuffix(SUB_FOLDER_SUFFIX)
