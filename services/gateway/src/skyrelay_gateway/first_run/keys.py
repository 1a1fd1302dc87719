"""A telescope's key that was given on a page: a file of its own, which only our services read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from skyrelay.errors import TransientError
from skyrelay.seestar.errors import KeyMissing, KeyRefused
from skyrelay.settings_page import KEYS_FOLDER
from skyrelay_gateway.texts import text as say

MOST_BYTES = 16 * 1024  # a PEM key has some 2 kB


class NotAKey(ValueError):  # noqa: N818 - what it is
    """What was given is no key; the message never quotes it."""


def keep_key(data_dir: Path, text: bytes) -> Path:
    """Keep a key under a name made from it, readable by us alone; give its file, relative to ``data_dir``.

    Raises
    ------
    NotAKey
        If it is none. Nothing was kept.
    TransientError
        If the folder cannot be written.
    """
    from skyrelay.seestar.auth import load_signer  # with all of cryptography, which only this needs

    whole = text.replace(b"\r\n", b"\n").strip() + b"\n"
    if len(whole) > MOST_BYTES:
        raise NotAKey(say("setup.telescope.no_key"))
    folder = data_dir / KEYS_FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = _write(folder, whole)
    except OSError as error:
        raise TransientError(f"the key cannot be kept in {folder} ({error.strerror})") from error
    try:
        load_signer(written)
    except (KeyRefused, KeyMissing):
        written.unlink(missing_ok=True)
        raise NotAKey(say("setup.telescope.no_key")) from None  # its words name a file that is gone
    name = f"{hashlib.sha256(whole).hexdigest()[:16]}.pem"
    written.replace(folder / name)
    return KEYS_FOLDER / name


def _write(folder: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")  # mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
