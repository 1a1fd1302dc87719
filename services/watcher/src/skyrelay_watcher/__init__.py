"""Sees new FITS files and says so: `ImageWatcher` to a callback, the service to a Redis stream.

`places` (a local folder, a mount, a share) → what is told (`inotify_events`, `native_events`,
`smb_notices`: hints) and what is there (`folder_scan`: the truth) → `quiet_paths` (waits until a file is left
alone) → `fits_look` (is it whole, what does its header say) → `spool` (on disk) → `publisher` (to Redis).
It never talks to the database.
"""

from skyrelay_watcher.image_watcher import ImageWatcher

__all__ = ["ImageWatcher"]
