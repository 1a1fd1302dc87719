"""The demo, as a user runs it: real services, real protocols, one whole night."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyrelay.domain.states import BlockState
from skyrelay.store.receipts import Receipt, Stage
from support.left_out import left_out

pytestmark = pytest.mark.system

REAL_FRAMES = Path(__file__).parents[3] / "shared" / "data" / "seestar-m94"


def run_demo(*options: str, zone: str = "") -> list[Receipt]:
    """Run the demo to its end and give the receipts that it prints; it must say that all is well."""
    environment = {**os.environ, **({"TZ": zone} if zone else {})}
    command = [sys.executable, "-m", "skyrelay.cli", "demo", "--json", "--port", "0", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Nothing missing, nothing twice" in done.stderr
    decoder, text, receipts = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        value, end = decoder.raw_decode(text)
        receipts.append(Receipt.model_validate(value))
        text = text[end:].strip()
    return receipts


def test_a_simulated_night_of_two_telescopes_and_three_targets_is_accounted_for() -> None:
    (receipt,) = run_demo()
    assert receipt.complete
    assert receipt.missing == ()
    assert {(group.telescope, group.target) for group in receipt.groups} == {
        ("garden", "M 81"),
        ("garden", "M 42"),
        ("roof", "NGC 7000"),
    }
    totals = receipt.totals
    assert totals.frames == totals.frames_in_stacks + totals.frames_skipped
    assert totals.confirmed == totals.deliveries == totals.blocks_stacked == 10
    skipped = [block for _group, block in receipt.blocks_in(BlockState.SKIPPED)]
    assert [block.reason for block in skipped] == [
        "9 frames give 180 s; stacking.min_exptime asks for 240 s",
        "8 frames give 160 s; stacking.min_exptime asks for 240 s",
    ]


@pytest.mark.parametrize("zone", [pytest.param("", marks=pytest.mark.long), "Asia/Tokyo"])
def test_real_frames_give_their_block_whatever_the_machines_zone_is(zone: str) -> None:
    if not REAL_FRAMES.is_dir():
        left_out("the real sub-frames of M 94 are not beside this checkout")
    (receipt,) = run_demo("--frames", str(REAL_FRAMES), zone=zone)
    (group,) = receipt.groups
    (block,) = group.blocks
    assert (group.target, group.exposure, group.filter, group.frames) == ("M 94", "10.0s", "IRCUT", 32)
    assert f"{block.start_local:%Y-%m-%d %H:%M}–{block.end_local:%H:%M} {block.utc_offset}" == (
        "2025-03-26 21:15–21:30 UTC−4"
    )
    assert (block.frames, block.exposure_total_s) == (32, 320.0)
    assert block.chunk_key == "20250327.05_HP033810"
    assert block.stack_name == f"CrowdSky_{block.frames_aligned}_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
    assert block.stage is Stage.DELIVERED
