"""A short play of the chaos of deliveries; `support.delivery_chaos` as a program plays it in full."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from support.delivery_chaos import Plan, play

pytestmark = pytest.mark.system


def test_everything_arrives_once_and_whole_whatever_goes_wrong(tmp_path: Path) -> None:
    plan = Plan(
        stacks=8,
        measurements=40,
        raw_blocks=1,
        raw_frames=2,
        kills=2,
        away=timedelta(minutes=5),
        stack_bytes=60_000,
        within_s=280.0,
    )

    report = play(tmp_path, plan)

    assert report.wrong == []
    assert report.kills == 2
    assert report.faults.total() > 10
