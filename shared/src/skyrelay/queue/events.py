"""The frame event: what the watcher says of one FITS file.

Users hang their own scripts on the stream, so the model is versioned, and it never carries the
site's coordinates.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

# The cards that say what a frame is. SITELONG and SITELAT are somebody's home and stay out.
HEADER_CARDS = (
    "DATE-OBS", "EXPTIME", "EXPOSURE", "TOTALEXP", "RA", "DEC", "OBJECT", "FILTER", "GAIN", "CCD-TEMP",
    "FOCUSPOS", "TELESCOP", "INSTRUME", "BAYERPAT", "PROGRAM", "EQMODE", "IMAGETYP", "STACKCNT",
    "NAXIS1", "NAXIS2", "BITPIX",
)  # fmt: skip


class FrameEvent(BaseModel):
    """One FITS file was seen, whole and quiet, or could not be read.

    Attributes
    ----------
    root
        The watched folder, as configured.
    telescope
        Name of the telescope that the root is configured for, if it is.
    path
        Path of the file relative to the root, with ``/``; bytes that are no UTF-8 are written as
        surrogate escapes turned into ``\\udcXX`` text.
    size_bytes, modified_at
        Of the file when it was read.
    header
        Subset of its primary header (`HEADER_CARDS`); empty when ``problem`` is set.
    header_sha256
        Of the header's raw bytes; empty when it could not be read.
    problem
        Why the file could not be read, in words; `None` for a good one.
    seen_at
        UTC time at which the watcher read it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    root: str
    telescope: str | None = None
    path: str
    size_bytes: int = Field(ge=0)
    modified_at: AwareDatetime
    header: dict[str, str | int | float | bool] = Field(default_factory=dict)
    header_sha256: str = ""
    problem: str | None = None
    seen_at: AwareDatetime

    @classmethod
    def is_written(cls, text: str) -> bool:
        """Tell whether ``text`` is what this version's ``model_dump_json`` writes, from its first field."""
        return text.startswith('{"version":1,')

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Name of the folder that the file lies in; where the root itself holds it, the root's name."""
        parent = self.path.rpartition("/")[0]
        return (parent or self.root.rstrip("/")).rpartition("/")[2]
