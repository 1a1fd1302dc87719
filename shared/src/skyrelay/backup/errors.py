"""What can be wrong with a backup."""

from __future__ import annotations

from skyrelay.errors import PermanentError


class BackupError(PermanentError):
    """A backup cannot be written, read, or put in the place of what is there."""
