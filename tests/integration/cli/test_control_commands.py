"""``skyrelay pause``, ``resume`` and ``runs``, as processes, against a real gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skyrelay.domain.states import BlockState
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.runs import end_run, join_run, note_outcome, open_run
from skyrelay.store.tables import Pause
from support.gateway import GatewayClient
from support.ports import free_port
from support.recorded_night import RecordedNight

from .test_commands import EVENING, config, gateway, skyrelay, write_config

__all__ = ["config", "gateway"]


@pytest.fixture
def night(store: Store) -> None:
    """Lay down a telescope with a stacked and a failed block, in a run that has ended."""
    with store.write() as session:
        recorded = RecordedNight(session)
        garden = recorded.telescope("garden")
        good = recorded.block(garden, "M 81", EVENING, BlockState.STACKED, frames=2)
        bad = recorded.block(garden, "M 94", EVENING, BlockState.FAILED, frames=2)
        for block in (good, bad):
            join_run(session, block, utc_now())
        note_outcome(session, good, "complete", stack_id=recorded.stack(good).id)
        note_outcome(session, bad, "fail", error="no stars")
        run = open_run(session, garden.id)
        assert run is not None
        end_run(session, run, utc_now())


@pytest.mark.usefixtures("night")
def test_what_is_paused_is_shown_and_goes_on_when_it_is_resumed(config: str, gateway: GatewayClient) -> None:
    done = skyrelay("pause", "--target", "M 81", "--reason", "guests", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "M 81" in done.stdout
    (pause,) = gateway.read("/api/v1/status")["pauses"]
    assert (pause["what"], pause["reason"]) == ("M 81", "guests")
    done = skyrelay("resume", "--config", config)
    assert (done.returncode, done.stdout.strip()) == (0, "Nothing is paused.")


@pytest.mark.usefixtures("night")
def test_resuming_what_a_wider_pause_holds_is_no_success(config: str, store: Store) -> None:
    assert skyrelay("pause", "--config", config).returncode == 0
    done = skyrelay("resume", "--telescope", "garden", "--json", "--config", config)
    assert done.returncode == 1
    assert json.loads(done.stdout)["lifted"] == 0
    with store.read() as session:
        assert session.query(Pause).count() == 1


@pytest.mark.usefixtures("night")
def test_runs_are_listed_with_what_came_of_them(config: str) -> None:
    done = skyrelay("runs", "--telescope", "garden", "--night", "2025-03-26", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)
    summary = run["summary"]
    assert (summary["total_blocks_stacked"], summary["total_blocks_failed"]) == (1, 1)
    table = skyrelay("runs", "--config", config).stdout
    assert "garden" in table
    assert "94" in table


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize("arguments", [("pause", "--telescope", "gardne"), ("runs", "--telescope", "gardne")])
def test_a_telescope_that_is_not_there_is_named_with_the_nearest_that_is(
    config: str, arguments: tuple[str, ...]
) -> None:
    done = skyrelay(*arguments, "--config", config)
    assert done.returncode == 1
    assert "Did you mean 'garden'?" in done.stderr


def test_a_gateway_that_is_away_is_named(tmp_path: Path) -> None:
    done = skyrelay("pause", "--config", write_config(tmp_path, free_port()))
    assert done.returncode == 1
    assert "is `skyrelay up` running?" in done.stderr
