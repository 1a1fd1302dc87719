"""The parts of the simulated telescope that need no socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skyrelay_simulators.site import fixed_zone
from skyrelay_simulators.telescope import Firmware, Journal, TelescopeSpec
from skyrelay_simulators.telescope.clock import WallClock
from skyrelay_simulators.telescope.emmc import Emmc, NotOnEmmcError
from skyrelay_simulators.telescope.http_files import UnsatisfiableRangeError, parse_range


class _StillClock:
    """A clock that stands where it is put."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.seconds = 100.0

    def now_utc(self) -> datetime:
        return self.now

    def monotonic_s(self) -> float:
        return self.seconds


def _local(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - what a wall clock shows is naive


@pytest.mark.parametrize(("number", "version"), [(2427, "4.27"), (2706, "7.06"), (2846, "8.46")])
def test_a_firmware_number_says_its_version(number: int, version: str) -> None:
    assert Firmware(number).version == version


@pytest.mark.parametrize(
    ("number", "strict", "authenticates", "full_names"),
    [
        (2427, False, False, False),
        (2706, True, False, False),
        (2718, True, True, False),
        (2775, True, True, True),
    ],
)
def test_what_each_firmware_wants(number: int, strict: bool, authenticates: bool, full_names: bool) -> None:
    firmware = Firmware(number)
    assert firmware.refuses_verify_in_params is strict
    assert firmware.authenticates is authenticates
    assert firmware.wants_full_names is full_names
    assert firmware.clears_batch_stack is full_names


@pytest.mark.parametrize(
    ("model", "telescop"), [("Seestar S50", "S50_abc"), ("Seestar S30 Pro", "S30Pro_abc")]
)
def test_the_serial_stands_in_telescop(model: str, telescop: str) -> None:
    assert TelescopeSpec(serial="abc", root=Path(), model=model).telescop == telescop


def test_a_home_is_in_no_repr() -> None:
    assert "48.2" not in repr(TelescopeSpec(serial="abc", root=Path(), latitude_deg=48.2))


def test_a_wall_clock_follows_summer_time() -> None:
    clock = _StillClock(datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC))
    wall = WallClock(clock, "Europe/Vienna")
    assert wall.now_local() == _local(2026, 3, 29, 1, 59, 59)
    clock.now += timedelta(seconds=1)
    assert wall.now_local() == _local(2026, 3, 29, 3, 0, 0)


def test_a_wall_clock_can_be_wrong_and_set_right() -> None:
    wall = WallClock(_StillClock(datetime(2026, 1, 1, 12, tzinfo=UTC)), "UTC")
    wall.shift(timedelta(minutes=-30))
    assert wall.now_utc() == datetime(2026, 1, 1, 11, 30, tzinfo=UTC)
    wall.set_local(_local(2026, 1, 1, 13), "Europe/Vienna")
    assert wall.now_utc() == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("hours", "zone"), [(-4, "Etc/GMT+4"), (9, "Etc/GMT-9"), (0, "UTC"), (5.75, "UTC")])
def test_a_fixed_offset_has_a_zone(hours: float, zone: str) -> None:
    assert fixed_zone(timedelta(hours=hours)) == zone


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", None),
        ("bytes=0-0", range(1)),
        ("bytes=5-", range(5, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-30", range(10)),
        ("bytes=2-99", range(2, 10)),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_header_names_bytes(header: str, part: range | None) -> None:
    assert parse_range(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=5-3", "bytes=-0"])
def test_a_range_of_no_byte_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 10)


def test_the_emmc_holds_what_is_below_its_root(tmp_path: Path) -> None:
    emmc = Emmc(tmp_path / "emmc", lambda moment: moment)
    inside = emmc.target_folder("M 81") / "x.fit"
    inside.touch()
    (tmp_path / "emmc-secret").touch()
    assert emmc.locate("/MyWorks/M 81/x.fit") == emmc.locate("MyWorks/M 81/x.fit") == inside
    for path in ("../emmc-secret", "MyWorks/../../emmc-secret", "MyWorks/none", "MyWorks/a\x00b", "x" * 300):
        with pytest.raises(NotOnEmmcError):
            emmc.locate(path)


def test_a_journal_selects() -> None:
    journal = Journal(_StillClock(datetime(2026, 1, 1, tzinfo=UTC)))
    journal.note("rpc", "a", "ping", params={"x": 1}, code=0)
    journal.note("http", "b", "GET", params="/x", code=404)
    assert [entry.number for entry in journal.entries()] == [1, 2]
    assert [entry.code for entry in journal.entries(channel="http")] == [404]
    assert [entry.connection for entry in journal.entries(method="ping")] == ["a"]
    assert journal.methods() == ["ping"]
    journal.clear()
    assert journal.entries() == []
