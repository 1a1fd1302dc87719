"""The telescopes, their night, the configuration of the services, and the blocks that must come of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from skyrelay.domain.chunk import chunk_of
from skyrelay_simulators.demo.scene import ACCOUNT, HOST, PASSWORD, base_url_in, free_port
from skyrelay_simulators.stage import Stage, telescope_settings, watcher_settings

BLOCK = timedelta(minutes=15)
ZONE = "Europe/Vienna"
_TARGETS = ("M 81", "M 31", "M 42", "NGC 7000", "M 51", "M 13", "IC 434", "M 101")  # two each: no name twice
_SERIALS = ("5e3a7b21", "a3497936", "1d3fe189", "0b77c1d2")
_EXPOSURE_S, _CADENCE_S = 60.0, 225.0  # four frames a block
_NIGHT_S = 10.0  # real seconds that a telescope's night takes
_STACK_S = 1.5


@dataclass(frozen=True, slots=True, order=True)
class ExpectedBlock:
    """A block that has to be stacked: ``chunk`` is CrowdSky's quarter hour."""

    target: str
    chunk: str


@dataclass(frozen=True, slots=True)
class Scene(Stage):
    """Everything that is the same for each service, and where it lies."""

    telescopes: int
    blocks: int
    days_ago: int = 2
    host: str = HOST

    @property
    def serials(self) -> tuple[str, ...]:
        """The telescopes' serial numbers."""
        return tuple(_serial(number) for number in range(self.telescopes))

    def root(self, serial: str) -> Path:
        """The folder that plays a telescope's eMMC."""
        return self.folder / serial

    def expected(self) -> Mapping[ExpectedBlock, int]:
        """Give the blocks that have to be stacked, each with its number of frames."""
        frames: Counter[ExpectedBlock] = Counter()
        for telescope in range(self.telescopes):
            for plan in self._targets(telescope):
                start, cadence = datetime.fromisoformat(plan["start"]), timedelta(seconds=plan["cadence_s"])
                for number in range(plan["frames"]):
                    chunk = str(chunk_of((start + number * cadence).astimezone(UTC)))
                    frames[ExpectedBlock(plan["target"], chunk)] += 1
        return frames

    def write_site(self) -> None:
        """Describe the telescopes and their nights."""
        telescopes = [
            {
                "telescope": {
                    "serial": serial,
                    "root": str(self.root(serial)),
                    "host": self.host,
                    "timezone": ZONE,
                    "stack_seconds": _STACK_S,
                },
                "night": self.night(number),
            }
            for number, serial in enumerate(self.serials)
        ]
        self.site.write_text(yaml.safe_dump({"telescopes": telescopes}), encoding="utf-8")

    def night(self, telescope: int) -> dict[str, Any]:
        """Give a telescope's night, as a site file has it."""
        speed = (self.blocks + 1) * BLOCK.total_seconds() / _NIGHT_S
        return {"speed": speed, "width": 54, "height": 96, "targets": list(self._targets(telescope))}

    def write_config(self, redis_url: str, crowdsky_name: str | None = None) -> None:
        """Write the configuration for where the simulators answer; CrowdSky by a name, if one is given."""
        answering = json.loads(self.endpoints.read_text(encoding="utf-8"))["telescopes"]
        crowdsky_url = base_url_in(self.crowdsky)
        if crowdsky_name:
            crowdsky_url = crowdsky_url.replace(HOST, crowdsky_name)
        config = {
            "setup": "done",
            "data_dir": str(self.folder / "data"),
            "redis_url": redis_url,
            "telescopes": [
                telescope_settings(f"telescope-{number}", each) for number, each in enumerate(answering, 1)
            ],
            "image_watcher": watcher_settings(answering),
            "stacking": {"idle_s": 1, "grace_s": 0, "min_exptime": 0},
            "scheduler": {"reconcile_s": 1, "inventory_s": 5},
            "crowdsky": {
                "base_url": crowdsky_url,
                "username": ACCOUNT,
                "password": PASSWORD,
                "confirm_s": 1,
            },
            "gateway": {"host": HOST, "port": free_port()},
        }
        self.config.touch(mode=0o600)
        self.config.write_text(yaml.safe_dump(config), encoding="utf-8")

    def _targets(self, telescope: int) -> Iterator[dict[str, Any]]:
        """Share a telescope's blocks between its two targets, one after the other."""
        start, first = _evening(self.days_ago), self.blocks // 2
        for index, blocks in enumerate((first, self.blocks - first)):
            yield {
                "target": _target(2 * telescope + index),
                "ra_deg": (20.0 + 40.0 * (2 * telescope + index)) % 360.0,
                "dec_deg": 40.0,
                "start": (start + index * first * BLOCK).isoformat(),
                "frames": int(blocks * BLOCK.total_seconds() / _CADENCE_S),
                "exposure_s": _EXPOSURE_S,
                "cadence_s": _CADENCE_S,
                "filter": "LP",
            }


def _serial(number: int) -> str:
    return _SERIALS[number] if number < len(_SERIALS) else f"{0xC0FFEE00 + number:08x}"


def _target(number: int) -> str:
    return _TARGETS[number] if number < len(_TARGETS) else f"NGC {100 + number}"


def _evening(days_ago: int) -> datetime:
    """Give 20:00:20 UTC of an evening; two days ago it is over wherever this runs."""
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date()
    return datetime(day.year, day.month, day.day, 20, 0, 20, tzinfo=UTC)
