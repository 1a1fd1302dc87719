"""What a telescope stacked in one go is summed up, stored and shown, as scripts know it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_type_hints

from skyrelay.direct.summaries import AllSummary, ResultDict, TargetSummary
from skyrelay.domain.states import BlockState
from skyrelay.store.tables import Block, Run, Telescope
from skyrelay_simulators.telescope import SmbBackend
from skyrelay_simulators.telescope.faults import FailStack
from skyrelay_simulators.telescope.rpc_codes import Code
from support.gateway import running_gateway
from support.telescopes import EVENING, MakeTelescope, take_frames
from support.workshop import Home

_HOUR = timedelta(hours=1)


def shown(home: Home, **parameters: Any) -> list[dict[str, Any]]:
    """Give the runs as the gateway shows them."""
    with running_gateway(home.store, home.redis.url, home.settings) as gateway:
        runs: list[dict[str, Any]] = gateway.read("/api/v1/runs", **parameters)["items"]
        return runs


def test_a_night_is_one_run_with_the_summary_that_scripts_know(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    take_frames(telescope, "M 31", EVENING + _HOUR)
    take_frames(telescope, "M 31", EVENING + 2 * _HOUR, frames=1)  # too short
    home.own(telescope).work()
    (going_on,) = shown(home)
    assert (going_on["ended_at"], going_on["summary"]["total_blocks_stacked"]) == (None, 2)
    home.reconcile()
    (run,) = shown(home)
    assert run["ended_at"] is not None
    assert (run["telescope"], run["night"]) == ("garden", "2026-02-27")
    summary = run["summary"]
    assert summary == going_on["summary"]
    assert set(summary) == set(get_type_hints(AllSummary))
    assert [each["target"] for each in summary["per_target"]] == ["M 31", "M 81"]
    assert (summary["targets_with_work"], summary["total_blocks_skipped"]) == (2, 1)
    m81 = summary["per_target"][1]
    assert set(m81) == set(get_type_hints(TargetSummary)) - {"error"}
    (result,) = m81["results"]
    assert set(result) == set(get_type_hints(ResultDict)) - {"error"}
    assert result == {
        "block_start": "2026-02-27T22:00:00-05:00",
        "block_end": "2026-02-27T22:15:00-05:00",
        "exposure": "10.0s",
        "filter": "IRCUT",
        "status": "complete",
        "frames": 5,
        "output_file": "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit",
        "rename_failed": False,
    }


def test_what_failed_is_in_the_summary_with_its_reason_and_a_later_try_is_a_run_of_its_own(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look()
    telescope.switch_on(FailStack(code=Code.FAIL_TO_OPERATE, times=1))
    assert home.stack().state == BlockState.FAILED
    home.reconcile()
    home.let_retries_come_due()
    home.reconcile()
    home.change(Telescope, next_look_at=None)
    home.work()
    home.reconcile()
    later, first = shown(home, telescope="garden", night="2026-02-27")
    (result,) = first["summary"]["per_target"][0]["results"]
    assert (result["status"], first["summary"]["total_blocks_failed"]) == ("fail", 1)
    assert "fail to operate" in result["error"]
    assert later["summary"]["total_blocks_stacked"] == 1
    assert shown(home, night="2026-02-26") == []


def test_a_stack_that_kept_its_own_name_says_so(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.OFF)
    take_frames(telescope)
    home.own(telescope).work()
    (result,) = shown(home)[0]["summary"]["per_target"][0]["results"]
    assert (result["status"], result["output_file"], result["rename_failed"]) == ("complete", None, True)


def test_there_is_no_run_where_nothing_was_begun(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.prefer("stacking", when="manual").own(telescope).work()
    home.reconcile()
    assert home.rows(Run) == []
    assert home.rows(Block)[0].state == BlockState.READY
