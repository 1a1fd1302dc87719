"""A watcher that is started while its disk is full."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from skyrelay.errors import TransientError
from skyrelay_watcher.spool import Spool
from support.mounts import need_mounts, unmounted_at_last


def test_a_full_disk_is_no_wrong_configuration_and_the_spool_opens_once_there_is_room(tmp_path: Path) -> None:
    need_mounts(tmp_path)
    small = tmp_path / "small"
    small.mkdir()
    with unmounted_at_last(small):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(small)], check=True)
        ballast = small / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(2 << 20))

        with pytest.raises(TransientError, match="its disk is full"):
            Spool(small / "spool.db")

        ballast.unlink()
        Spool(small / "spool.db").close()
