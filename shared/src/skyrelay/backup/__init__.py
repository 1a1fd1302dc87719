"""Backups: everything that is known of a home in one file, whichever database it came from or goes to."""

from skyrelay.backup.errors import BackupError
from skyrelay.backup.restoring import Restored, restore
from skyrelay.backup.saving import save
from skyrelay.backup.upgrading import upgrade

__all__ = ["BackupError", "Restored", "restore", "save", "upgrade"]
