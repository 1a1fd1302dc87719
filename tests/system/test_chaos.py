"""A short rehearsal of the worst night: services killed, Redis, telescopes, disk, names and database gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_whatever_is_killed_no_block_is_lost_and_none_comes_twice(tmp_path: Path) -> None:
    options = ["--telescopes", "2", "--blocks", "3", "--kills", "1", "--folder", str(tmp_path / "chaos")]
    # A frozen service and a clock that jumps take as long as they last: those are for the long form.
    for kind in ("kill", "redis", "telescope", "disk", "database", "dns"):
        options += ["--mishap", kind]
    options += ["--spell", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "skyrelay.cli", "chaos", *options],
        capture_output=True,
        text=True,
        timeout=570,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 blocks: lost 0, twice 0, odd 0" in done.stdout
    killed = set(re.findall(r"kill (\S+)", done.stdout))
    assert {"watcher", "stacker", "scheduler", "uploader", "gateway"} <= killed
    mishaps = ["lock the database 1x"] + (["fill the disk 1x", "name 1x"] if os.geteuid() == 0 else [])
    for mishap in (
        *mishaps,
        "wipe Redis 1x",
        "restart Redis 2x",
        "reboot a telescope 1x",
        "leaves for a while 1x",
    ):
        assert mishap in " ".join(done.stdout.split())
