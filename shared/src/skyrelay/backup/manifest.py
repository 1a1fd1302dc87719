"""What a backup says of itself: a ZIP archive with this as ``manifest.json``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from zipfile import ZipFile

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from skyrelay.backup.errors import BackupError

NAME = "manifest.json"
_MOST_BYTES = 4 * 1024 * 1024


class SavedTable(BaseModel):
    """One table: ``tables/<name>.jsonl``, an array a row; ``sha256`` is of those bytes, in hex."""

    model_config = ConfigDict(frozen=True)

    name: str
    columns: tuple[str, ...]
    rows: int = Field(ge=0)
    sha256: str

    @property
    def member(self) -> str:
        """Its name in the archive."""
        return f"tables/{self.name}.jsonl"


class Manifest(BaseModel):
    """The whole; ``schema_revision`` is of the database that it was made from, ``created_at`` is UTC."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    release: str
    schema_revision: str
    created_at: AwareDatetime
    tables: tuple[SavedTable, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def read_manifest(archive: ZipFile) -> Manifest:
    """Read what a backup says of itself; raises `BackupError`."""
    try:
        with archive.open(NAME) as member:
            return Manifest.model_validate_json(member.read(_MOST_BYTES))
    except (KeyError, ValidationError) as error:
        raise BackupError(
            f"{archive.filename} is no backup of Skyrelay that this release can read"
        ) from error


def default_name(now: datetime) -> str:
    """Give the name of a backup that is made at ``now`` (aware UTC)."""
    return f"skyrelay-{now:%Y-%m-%dT%H%M%SZ}.zip"
