"""32 real sub-frames of M 94 played back and stacked, where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from astropy.io import fits

from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.night import NightPlayer, find_real_frames, replay_night
from skyrelay_simulators.site import replay_site
from skyrelay_simulators.telescope import SimulatedTelescope, TelescopeSpec
from skyrelay_simulators.telescope.stacking import StarProfiles
from support.left_out import left_out
from support.raw_seestar_client import RawSeestarClient
from support.waiting import eventually

from .conftest import MakeTelescope

_FRAMES = Path(__file__).parents[3] / "../shared/data/seestar-m94"
_SUB = "MyWorks/M 94_sub"


@pytest.fixture
def m94() -> Path:
    """The folder of the real frames."""
    if not _FRAMES.is_dir():
        left_out("the real sub-frames of M 94 are not beside this checkout")
    return _FRAMES


def test_a_site_is_made_from_what_the_frames_say(m94: Path, tmp_path: Path) -> None:
    [part] = replay_site(m94, tmp_path, speed=60).telescopes
    assert (part.telescope.serial, part.telescope.timezone) == ("1d3fe189", "Etc/GMT+4")
    assert part.replay is not None
    assert (part.replay.speed, part.telescope.root) == (60, tmp_path / "1d3fe189")


def test_our_frames_have_the_real_ones_header_byte_for_byte(m94: Path) -> None:
    real = find_real_frames(m94)[0]
    header, pixels = fits.getheader(real.path), fits.getdata(real.path)
    facts = LightFrameFacts(
        spec=TelescopeSpec(
            serial=real.serial, root=m94, firmware_ver_int=2427, longitude_deg=-80.0, latitude_deg=33.0
        ),
        target="M 94",
        started=real.started,
        exposure_s=10.0,
        filter="IRCUT",
        ra_deg=real.ra_deg,
        dec_deg=real.dec_deg,
        temperature_c=header["CCD-TEMP"],
    )
    ours, theirs = frame_bytes(facts, pixels), real.path.read_bytes()
    # The coordinates of these frames were rounded by hand, and so are written a little differently.
    theirs = theirs.replace(b"               -80.0 /", b"                -80. /").replace(
        b"                33.0 /", b"                 33. /"
    )
    assert len(ours) == 4_152_960
    assert ours[:5760] == theirs[:5760]
    assert ours == theirs


def test_the_block_is_stacked_from_the_played_back_frames(
    m94: Path, make_telescope: MakeTelescope, connect: Callable[[SimulatedTelescope], RawSeestarClient]
) -> None:
    [part] = replay_site(m94, Path("unused")).telescopes
    assert part.replay is not None
    telescope = make_telescope(serial=part.telescope.serial, timezone=part.telescope.timezone)
    assert NightPlayer(replay_night(part.replay, telescope.spec.root), telescope).play().written == 32
    frames = sorted((telescope.spec.root / _SUB).glob("*.fit"))
    client = connect(telescope)
    files = [{"name": f"{_SUB}/{frame.name}"} for frame in frames]
    client.result("set_batch_stack_setting", {"path": _SUB, "files": files})
    client.result("start_batch_stack")
    eventually(
        lambda: client.result("iscope_get_app_state")["BatchStack"]["state"] == "complete", within_s=60
    )
    output = client.result("iscope_get_app_state")["BatchStack"]["output_file"]
    stack = telescope.spec.root / output["path"] / output["files"][0]["name"]
    header, first = fits.getheader(stack), fits.getheader(frames[0])
    assert stack.name.startswith("DSO_Stacked_32_M 94_10.0s_")
    assert (header["NAXIS1"], header["NAXIS2"], header["NAXIS3"]) == (1080, 1920, 3)
    assert (header["TOTALEXP"], header["STACKCNT"]) == (320.0, 32)
    assert header["DATE-OBS"] == first["DATE-OBS"] == "2025-03-27T01:20:32.955368"
    assert (header["RA"], header["DEC"], header["TELESCOP"]) == (193.04166, 40.970556, "S50_1d3fe189")
    assert stack.stat().st_size == 12_444_480


def test_stars_of_moved_frames_are_brought_together(m94: Path, make_telescope: MakeTelescope) -> None:
    frames = find_real_frames(m94)
    first, other = (fits.getdata(frames[index].path) for index in (0, 20))
    shift = StarProfiles(first).shift_to(StarProfiles(other))
    assert shift != (0, 0)  # the telescope was centred anew after five frames
    assert StarProfiles(first).shift_to(StarProfiles(first)) == (0, 0)
