"""The time zone of the process changes nothing: a container runs in UTC, a home does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Run as a program of its own, since a process has its zone from its start.
_FACTS = """
import time
from datetime import UTC, date, datetime, timedelta
from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.chunk import ChunkKey, chunk_of, chunk_start
from skyrelay.domain.coverage import covers
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.night import night_of
from skyrelay.domain.stack_name import parse_stack_name
from skyrelay.domain.utc_offset import exposure_start, measure_utc_offset

offset = timedelta(hours=-4)
frame = LightFrameName.parse("Light_M 94_10.0s_IRCUT_20250326-212046.fit")
start = datetime(2025, 3, 27, 1, 20, 32, 955368, tzinfo=UTC)
block = datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
key = BlockKey(block, "M 94", "10.0s", "IRCUT")

assert frame.saved_local == datetime(2025, 3, 26, 21, 20, 46)
assert frame.build() == "Light_M 94_10.0s_IRCUT_20250326-212046.fit"
assert measure_utc_offset(frame.saved_local, 10.0, start) == offset
assert abs(exposure_start(frame.saved_local, 10.0, offset) - start) < timedelta(seconds=0.5)
assert block_start(start, offset) == block
assert chunk_of(start) == "20250327.05"
assert chunk_start("20250327.05") == block
assert night_of(start, offset) == date(2025, 3, 26)
for stack in ("CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
              "CrowdSky_32_M 94_10.0s_IRCUT_20250326-211500.fit"):
    assert covers(parse_stack_name(stack), key, offset)
    assert parse_stack_name(stack).build() == stack
print(time.strftime("%z", time.localtime(start.timestamp())))
"""


@pytest.mark.parametrize(
    ("zone", "offset"),
    [("Asia/Tokyo", "+0900"), ("America/New_York", "-0400"), ("Asia/Kathmandu", "+0545"), ("UTC", "+0000")],
)
def test_the_rules_hold_in_any_zone(zone: str, offset: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FACTS],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, offset), ran.stderr
