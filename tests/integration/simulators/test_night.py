"""Nights: what appears on a telescope, when, and what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.utc_offset import measure_utc_offset
from skyrelay_simulators.night import NightPlan, NightPlayer, ReplayPlan, TargetPlan, make_night, replay_night
from skyrelay_simulators.telescope import SimulatedTelescope
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

from .conftest import M81_START, MakeTelescope, observe_m81

Connect = Callable[[SimulatedTelescope], RawSeestarClient]


def _plan(*targets: TargetPlan, speed: float | None = None) -> NightPlan:
    return NightPlan(targets=targets, width=64, height=96, speed=speed)


def _target(name: str, start: datetime = M81_START, **plan: Any) -> TargetPlan:
    return TargetPlan(target=name, ra_deg=148.888, dec_deg=69.065, start=start, **{"frames": 3} | plan)


def _player(telescope: SimulatedTelescope, plan: NightPlan) -> NightPlayer:
    return NightPlayer(make_night(plan, telescope.spec, telescope.wall_clock.to_local), telescope)


def test_each_frame_has_its_pictures_and_no_temporary_name_stays(make_telescope: MakeTelescope) -> None:
    frames = observe_m81(make_telescope(), frames=3)
    names = sorted(path.name for path in frames[0].parent.iterdir())
    expected = [
        name for frame in frames for name in (frame.name, f"{frame.stem}.jpg", f"{frame.stem}_thn.jpg")
    ]
    assert names == sorted(expected)
    assert (frames[0].parent.parent / "M 81").is_dir()


def test_a_full_size_frame_has_the_s50s_size_to_the_byte(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    night = NightPlan(targets=(_target("M 81", frames=1),))
    assert _player(telescope, night).play().written == 1
    [frame] = (telescope.spec.root / "MyWorks" / "M 81_sub").glob("*.fit")
    assert frame.stat().st_size == 4_152_960
    assert fits.getdata(frame).shape == (1920, 1080)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "UTC"])
def test_name_and_header_together_tell_the_offset(make_telescope: MakeTelescope, zone: str) -> None:
    telescope = make_telescope(timezone=zone)
    for frame in observe_m81(telescope, frames=12, exposure_s=20.0):
        name = LightFrameName.parse(frame.name)
        assert name is not None
        header = fits.getheader(frame)
        started = datetime.fromisoformat(header["DATE-OBS"]).replace(tzinfo=UTC)
        assert measure_utc_offset(name.saved_local, 20.0, started) == telescope.wall_clock.to_local(
            started
        ) - started.replace(tzinfo=None)
        lag = name.saved_local - telescope.wall_clock.to_local(started) - timedelta(seconds=20)
        assert timedelta(seconds=2.1) <= lag <= timedelta(seconds=3.6)  # the name cuts a fraction off


def test_a_frame_is_valid_fits_with_the_plans_facts(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(longitude_deg=16.4, latitude_deg=48.2, firmware_ver_int=2846)
    frame = observe_m81(telescope, frames=1, filter="LP", exposure_s=20.0, gain=120)[0]
    with fits.open(frame) as units:
        units.verify("exception")
        header, data = units[0].header, units[0].data
    assert frame.name.startswith("Light_M 81_20.0s_LP_20260228-0300")
    assert header["DATE-OBS"] == "2026-02-28T03:00:00.250000"
    cards = ("OBJECT", "FILTER", "EXPTIME", "GAIN", "TELESCOP", "PROGRAM")
    assert [header[card] for card in cards] == ["M 81", "LP", 20.0, 120, "S50_1d3fe189", "8.46"]
    assert (header["SITELONG"], header["SITELAT"]) == (16.4, 48.2)
    assert data.shape == (96, 64)
    assert 1500 < data.mean() < 3000  # twice the sky of 10 s
    assert data.max() > 3 * data.mean()  # there are stars


def test_a_night_observes_one_target_after_the_other_and_then_nothing(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    telescope = make_telescope()
    later = M81_START + timedelta(minutes=5)
    player = _player(telescope, _plan(_target("M 81"), _target("M 82", later, frames=2)))
    seen: list[str] = []
    telescope.device.observation._publish = lambda _name, view: seen.append(
        f"{view['state']} {view['target_name']}"
    )
    assert player.play().written == 5
    assert seen == ["working M 81", "working M 82", "complete M 82"]
    assert not telescope.observing


def test_a_long_gap_between_targets_is_no_observing(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    later = M81_START + timedelta(hours=2)
    client = connect(telescope)
    client.result("test_connection")
    assert _player(telescope, _plan(_target("M 81"), _target("M 82", later))).play().written == 6
    views = [client.next_event("View") for _ in range(4)]
    assert [view["state"] for view in views] == ["working", "complete", "working", "complete"]


def test_a_night_keeps_its_pace(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    player = _player(telescope, _plan(_target("M 81", frames=5, cadence_s=10), speed=100))
    began = time.monotonic()
    player.start()
    eventually(lambda: telescope.observing)
    assert player.wait(20)
    assert 0.5 <= time.monotonic() - began < 5  # 53 s of night at 100 s a second
    assert player.progress.written == 5


def test_a_night_can_be_broken_off(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    player = _player(telescope, _plan(_target("M 81", frames=100), speed=1))
    player.start()
    player.stop()
    assert player.progress.done
    assert player.progress.written < 2
    assert not telescope.observing


def test_a_duration_says_how_many_frames() -> None:
    plan = _target("M 81", frames=None, duration=timedelta(minutes=15), cadence_s=10)
    assert plan.frame_count == 90
    with pytest.raises(ValueError, match="either frames or duration"):
        _target("M 81", duration=timedelta(minutes=15))
    with pytest.raises(ValueError, match="UTC offset"):
        _target("M 81", datetime(2026, 2, 28))  # noqa: DTZ001 - that is the mistake


def test_a_night_that_cannot_write_says_why(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    (telescope.spec.root / "MyWorks" / "M 81_sub").write_text("a file where a folder should be")
    progress = _player(telescope, _plan(_target("M 81"))).play()
    assert progress.done
    assert "FileExistsError" in progress.error
    assert not telescope.observing


# --- playing existing frames back ---


@pytest.fixture
def existing(make_telescope: MakeTelescope, tmp_path: Path) -> Path:
    """A folder of frames of two telescopes, away from any of them."""
    folder = tmp_path / "existing"
    folder.mkdir()
    for serial in ("aaa", "bbb"):
        for frame in observe_m81(
            make_telescope(serial=serial), frames=3, exposure_s=20.0 if serial == "bbb" else 10.0
        ):
            frame.rename(folder / frame.name)
    (folder / "README.md").write_text("not a frame")
    return folder


def test_a_replay_gives_the_same_bytes_in_order(make_telescope: MakeTelescope, existing: Path) -> None:
    telescope = make_telescope()
    progress = NightPlayer(
        replay_night(ReplayPlan(directory=existing), telescope.spec.root), telescope
    ).play()
    assert (progress.written, progress.total, progress.error) == (6, 6, "")
    folder = telescope.spec.root / "MyWorks" / "M 81_sub"
    originals = sorted(existing.glob("*.fit"))
    assert [path.read_bytes() for path in sorted(folder.glob("*.fit"))] == [
        path.read_bytes() for path in originals
    ]
    assert (folder / f"{originals[0].stem}_thn.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_replay_can_be_of_one_telescope_alone(make_telescope: MakeTelescope, existing: Path) -> None:
    telescope = make_telescope()
    plan = ReplayPlan(directory=existing, serial="bbb")
    assert NightPlayer(replay_night(plan, telescope.spec.root), telescope).play().written == 3


def test_a_folder_without_frames_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Light_"):
        replay_night(ReplayPlan(directory=tmp_path), tmp_path)
