"""Three hosts that share a database and Redis, and one of them dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.left_out import left_out
from support.many_hosts import Plan, play
from support.postgres_server import find_postgres

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]


def test_a_dead_hosts_work_is_taken_over_and_no_block_is_lost_or_comes_twice(tmp_path: Path) -> None:
    if find_postgres() is None:
        left_out("PostgreSQL is not installed")

    report = play(tmp_path / "hosts", Plan(telescopes=6, blocks=2, within_s=400))

    assert report.verdict is not None
    assert (report.verdict.lost, report.verdict.twice, report.verdict.odd) == ((), (), ())
    assert report.verdict.misconduct == ()
    assert report.held_by_dead
    assert report.taken_over_s is not None
    assert report.gateways == [200, 200]
