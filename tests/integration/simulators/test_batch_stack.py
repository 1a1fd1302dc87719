"""Batch stacking: names by firmware, one run at a time, the result kept until cleared, a real stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyrelay_simulators.telescope import SimulatedTelescope
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

from .conftest import MakeTelescope, observe_m81

Connect = Callable[[SimulatedTelescope], RawSeestarClient]
SUB = "MyWorks/M 81_sub"


def _choose(client: RawSeestarClient, names: list[str], path: str = SUB) -> None:
    client.result("set_batch_stack_setting", {"path": path, "files": [{"name": name} for name in names]})


def _status(client: RawSeestarClient) -> dict[str, Any]:
    status: dict[str, Any] = client.result("iscope_get_app_state").get("BatchStack", {})
    return status


def _outcome(client: RawSeestarClient) -> dict[str, Any]:
    eventually(lambda: _status(client).get("state") != "working")
    return _status(client)


def _full(frames: list[Path]) -> list[str]:
    return [f"{SUB}/{frame.name}" for frame in frames]


def test_a_stack_has_the_frames_facts_and_the_telescopes_name(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope(timezone="America/New_York", longitude_deg=-80.0, latitude_deg=33.0)
    frames = observe_m81(telescope, frames=4, filter="LP")
    client = connect(telescope)
    _choose(client, _full(frames))
    before = telescope.wall_clock.now_local()
    assert client.code("start_batch_stack") == 0
    outcome = _outcome(client)
    assert (outcome["state"], outcome["percent"], outcome["stacked_img"], outcome["total_img"]) == (
        "complete",
        100,
        4,
        4,
    )
    assert outcome["output_file"]["path"] == "MyWorks/M 81"
    [files] = outcome["output_file"]["files"]
    match = re.fullmatch(r"DSO_Stacked_4_M 81_10\.0s_(\d{8}_\d{6})\.fit", files["name"])
    assert match
    assert f"{before:%Y%m%d_%H%M%S}" <= match[1] <= f"{telescope.wall_clock.now_local():%Y%m%d_%H%M%S}"
    folder = telescope.spec.root / "MyWorks" / "M 81"
    assert {path.name for path in folder.iterdir()} == {
        files["name"], files["thn"], files["name"].replace(".fit", ".jpg")
    }  # fmt: skip

    with fits.open(folder / files["name"]) as units:
        units.verify("exception")
        stack, header = units[0].data, units[0].header
    first = fits.getheader(frames[0])
    assert (stack.shape, stack.dtype) == ((3, 96, 64), np.uint16)
    assert (header["BZERO"], header["STACKCNT"], header["TOTALEXP"]) == (32768, 4, 40.0)
    for card in (
        *("DATE-OBS", "EXPTIME", "RA", "DEC", "OBJECT", "FILTER", "GAIN", "TELESCOP", "INSTRUME", "PROGRAM"),
        *("SITELONG", "SITELAT", "CCD-TEMP", "FOCUSPOS", "EQMODE"),
    ):
        assert header[card] == first[card], card


def test_a_stack_is_less_noisy_than_a_frame(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    frames = observe_m81(telescope, frames=16)
    client = connect(telescope)
    _choose(client, _full(frames))
    client.result("start_batch_stack")
    name = _outcome(client)["output_file"]["files"][0]["name"]
    stacked = fits.getdata(telescope.spec.root / "MyWorks" / "M 81" / name)[0]
    single = fits.getdata(frames[0])[0::2, 1::2]
    assert _noise(stacked) < _noise(single) / 3  # 16 frames: four times less
    assert abs(float(np.median(stacked)) - float(np.median(single))) < 50


def _noise(plane: Any) -> float:
    return float(np.median(np.abs(plane - np.median(plane))))


def test_progress_comes_as_events(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope, frames=3)))
    client.result("start_batch_stack")
    events = [client.next_event("BatchStack") for _ in range(4)]
    assert [event["stacked_img"] for event in events] == [1, 2, 3, 3]
    assert [event["state"] for event in events] == ["working", "working", "working", "complete"]
    assert events[-1]["output_file"]["path"] == "MyWorks/M 81"


@pytest.mark.parametrize(("firmware", "full_names"), [(2732, False), (2775, True), (2889, True)])
def test_the_wrong_form_of_names_ends_in_no_image(
    make_telescope: MakeTelescope, connect: Connect, firmware: int, full_names: bool
) -> None:
    telescope = make_telescope(firmware_ver_int=firmware)
    frames = observe_m81(telescope)
    bare, full = [frame.name for frame in frames], _full(frames)
    right, wrong = (full, bare) if full_names else (bare, full)
    client = connect(telescope)
    for names, state in ((wrong, "fail"), (right, "complete")):
        _choose(client, names)
        assert client.code("start_batch_stack") == 0
        outcome = _outcome(client)
        assert outcome["state"] == state
        client.result("clear_app_state", {"name": "BatchStack"})
        if state == "fail":
            assert (outcome["code"], outcome["error"]) == (267, "no image")


def test_the_setting_reads_back(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope())
    _choose(client, ["a.fit", "b.fit"])
    setting = client.result("get_batch_stack_setting")
    assert (setting["path"], [file["name"] for file in setting["files"]]) == (SUB, ["a.fit", "b.fit"])
    assert client.code("set_batch_stack_setting", {"path": SUB}) == 102
    assert client.code("set_batch_stack_setting", {"path": SUB, "files": ["a.fit"]}) == 102


def test_a_second_start_is_busy_and_changes_nothing(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_seconds=60)
    client, other = connect(telescope), connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    assert client.code("start_batch_stack") == 0
    assert other.code("start_batch_stack") == 207
    assert other.code("clear_batch_stack") == 207
    assert other.code("set_batch_stack_setting", {"path": SUB, "files": []}) == 207
    assert _status(other)["state"] == "working"


def test_a_stopped_run_makes_room_for_the_next(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_seconds=60)
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    client.result("start_batch_stack")
    client.result("stop_batch_stack")
    stopped = _status(client)
    assert (stopped["state"], stopped["code"], stopped["error"]) == ("cancel", 514, "interrupt")
    assert client.code("start_batch_stack") == 0
    client.result("stop_batch_stack")
    assert list((telescope.spec.root / "MyWorks" / "M 81").iterdir()) == []


def test_no_stack_while_observing(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    telescope.observe("M 82")
    assert client.code("start_batch_stack") == 207
    telescope.finish_observing()
    assert client.code("start_batch_stack") == 0


def test_the_last_result_stays_until_it_is_cleared(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    client.result("start_batch_stack")
    assert _outcome(client) == _outcome(connect(telescope))
    client.result("clear_batch_stack")
    assert _status(client) == {}


def test_frames_that_cannot_be_used_are_left_out(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    frames = observe_m81(telescope, frames=5)
    frames[1].write_bytes(frames[1].read_bytes()[:3000])  # cut off inside the data
    frames[2].write_bytes(b"not FITS at all")
    client = connect(telescope)
    _choose(client, [*_full(frames), f"{SUB}/Light_gone.fit", "../../../etc/passwd"])
    client.result("start_batch_stack")
    outcome = _outcome(client)
    assert (outcome["stacked_img"], outcome["total_img"]) == (3, 7)
    assert outcome["output_file"]["files"][0]["name"].startswith("DSO_Stacked_3_M 81_")


def test_frames_that_do_not_align_are_left_out(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_rejects=2)
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope, frames=5)))
    client.result("start_batch_stack")
    assert _outcome(client)["output_file"]["files"][0]["name"].startswith("DSO_Stacked_3_M 81_")


def test_nothing_is_written_outside_the_emmc(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)), path="../escape_sub")
    client.result("start_batch_stack")
    assert _outcome(client)["code"] == 267
    assert [path.name for path in telescope.spec.root.parent.iterdir()] == [telescope.spec.serial]


def test_two_stacks_in_one_second_have_two_names(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_seconds=0)
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope, frames=2)))
    names = set()
    for _ in range(3):
        client.result("start_batch_stack")
        names.add(_outcome(client)["output_file"]["files"][0]["name"])
        client.result("clear_batch_stack")
    assert len(names) == 3
    assert len(list((telescope.spec.root / "MyWorks" / "M 81").glob("*.fit"))) == 3


def test_a_run_lasts_as_long_as_it_is_told_to(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_seconds=0.6)
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    client.result("start_batch_stack")
    outcome = _outcome(client)
    assert outcome["lapse_ms"] >= 600


def test_stopping_the_telescope_ends_a_run(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(stack_seconds=600)
    client = connect(telescope)
    _choose(client, _full(observe_m81(telescope)))
    client.result("start_batch_stack")
    telescope.stop()
    assert not telescope.stacking
