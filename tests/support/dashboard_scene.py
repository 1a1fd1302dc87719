"""A home with two telescopes in the middle of a night, to look at: every state, pictures, earlier nights."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.fits_picture import sampled, stretched
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import AuditEntry, Block, Stack
from support.fits_files import fits_bytes
from support.recorded_night import RecordedNight

NOW = datetime(2025, 3, 27, 3, 40, tzinfo=UTC)
EVENING = datetime(2025, 3, 26, 21, 0)  # noqa: DTZ001 - the telescopes' wall clock
QUARTER = timedelta(minutes=15)
# Where the scene's targets are, RA and DEC in degrees.
PLACES = {
    "M 81": (148.89, 69.07),
    "M 51": (202.47, 47.2),
    "NGC 7000": (314.7, 44.3),
    "M 31": (10.68, 41.27),
    "M 42": (83.82, -5.39),
    "NGC 2903": (143.04, 21.5),
}
_S, _D = BlockState, DeliveryState
_GARDEN = (
    (_S.STACKED, _D.CONFIRMED, ""),
    (_S.STACKED, _D.CONFIRMED, ""),
    (_S.SKIPPED, None, "too short: 40 s of 240 s"),
    (_S.STACKED, _D.ACCEPTED, ""),
    (_S.STACKED, _D.DEAD, "the server refused it: no RA in the header"),
    (_S.STACKED, _D.SENDING, ""),
    (_S.STACKING, None, ""),
)
_BALCONY = (_S.STACKED,) * 8 + (_S.FAILED, _S.READY, _S.COLLECTING)
_EARLIER = ("M 31", "M 42", "NGC 2903")


class Scene:
    """The scene, laid down once and copied for each test that changes it."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self._database = folder / "scene.db"
        store = Store(f"sqlite:///{self._database}")
        migrate(store)
        with store.write() as session:
            lay_down_scene(session, self.archive)
        store.close()

    def copy_to(self, database: Path) -> Store:
        """Give a database of the test's own with the scene in it."""
        with closing(sqlite3.connect(self._database)) as source, closing(sqlite3.connect(database)) as target:
            source.backup(target)
        return Store(f"sqlite:///{database}")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Lay the scene down."""
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def night(scene: Scene, tmp_path: Path) -> Iterator[Store]:
    """Give a store of the test's own in which the night is."""
    store = scene.copy_to(tmp_path / "night.db")
    yield store
    store.close()


def lay_down_scene(session: Session, archive: Path) -> None:
    """Write the scene into an empty database, and its pictures into an archive."""
    night = RecordedNight(session)
    garden = night.telescope(
        "garden",
        state=TelescopeState.STACKING,
        state_since=NOW - timedelta(minutes=3),
        last_seen_at=NOW - timedelta(seconds=8),
        battery_percent=83,
        free_mb=41200,
        firmware="8.89",
        model="Seestar S50",
    )
    balcony = night.telescope(
        "balcony",
        state=TelescopeState.OBSERVING,
        state_since=NOW - timedelta(hours=2),
        last_seen_at=NOW - timedelta(seconds=20),
        battery_percent=64,
        free_mb=22200,
        firmware="7.32",
        model="Seestar S50",
    )
    for days in range(9, 0, -1):
        target = _EARLIER[days % 3]
        for number in range(days % 5 + 2):
            start = EVENING - timedelta(days=days) + number * QUARTER
            block = night.block(garden, target, start, _S.STACKED, frames=10)
            night.delivery(_hang(night, session, block, archive), _D.CONFIRMED)
    for number, (state, delivered, reason) in enumerate(_GARDEN):
        frames = 4 if state is _S.SKIPPED else 30
        percent = 42.0 if state is _S.STACKING else None
        why = "" if delivered else reason
        block = night.block(
            garden, "M 81", EVENING + number * QUARTER, state, frames=frames, percent=percent, reason=why
        )
        if delivered is not None:
            night.delivery(_hang(night, session, block, archive), delivered, reason=reason)
    for number, frames in enumerate((28, 31)):
        night.block(garden, "M 51", EVENING + (7 + number) * QUARTER, _S.READY, frames=frames)
    for number, state in enumerate(_BALCONY):
        columns: dict[str, Any] = {"frames": 9 if state is _S.COLLECTING else 25}
        if state is _S.FAILED:
            columns |= {"needs_you": True, "reason": "the telescope gave no stack three times"}
        block = night.block(balcony, "NGC 7000", EVENING + number * QUARTER, state, **columns)
        if state is _S.STACKED:
            stack = _hang(night, session, block, archive)
            if number < 7:
                night.delivery(stack, _D.CONFIRMED)


def _hang(night: RecordedNight, session: Session, block: Block, archive: Path) -> Stack:
    """Add the stack of a block with its file, of which the pages draw a picture."""
    stack = night.stack(block)
    stack.ra_deg, stack.dec_deg = PLACES[block.target]
    file = archive / f"{block.target}.fit"
    if not file.exists():
        archive.mkdir(exist_ok=True)
        file.write_bytes(picture_of_sky(block.target))
        _write_thumbnail(file, file.with_suffix(".jpg"))
    stack.archive_path, stack.size_bytes = file.name, file.stat().st_size
    if block.id % 9:  # of the others the telescope gave none
        stack.thumbnail_path = file.with_suffix(".jpg").name
    for before, after, actor in (("collecting", "ready", "stacker"), ("ready", "stacking", "stacker")):
        _step(session, block, before, after, actor)
    _step(session, block, "stacking", "stacked", "stacker", f"{stack.frames_aligned} frames")
    return stack


def _step(session: Session, block: Block, before: str, after: str, actor: str, reason: str = "") -> None:
    session.add(
        AuditEntry(
            at=block.start_at + timedelta(minutes=20),
            actor=actor,
            subject_kind="block",
            subject_id=block.id,
            event="step",
            from_state=before,
            to_state=after,
            reason=reason,
        )
    )


def _write_thumbnail(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        image = Image.fromarray(stretched(sampled(file, 480)))
    image.thumbnail((480, 480))
    image.save(target, "JPEG")


def picture_of_sky(target: str, width: int = 180, height: int = 320) -> bytes:
    """Make a colour FITS of stars and a glow, another one for each target."""
    random = np.random.default_rng(sum(map(ord, target)))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cube = random.normal(300, 12, (3, height, width)).astype(np.float32)
    turn, stretch = random.uniform(0, 3.1), random.uniform(1.3, 3.0)
    u = (x - width / 2) * np.cos(turn) + (y - height / 2) * np.sin(turn)
    v = (y - height / 2) * np.cos(turn) - (x - width / 2) * np.sin(turn)
    glow = np.exp(-np.hypot(u / stretch, v) / random.uniform(13, 21))
    arms = 1 + 0.5 * np.cos(2 * np.arctan2(v * stretch, u) - np.hypot(u / stretch, v) / 7)
    for plane, share in enumerate(random.uniform(260, 620, 3)):
        cube[plane] += share * glow * arms
    for _ in range(110):
        brightness, size = 60 * random.pareto(1.1) + 40, random.uniform(0.8, 1.5)
        spot = np.exp(-((x - random.uniform(0, width)) ** 2 + (y - random.uniform(0, height)) ** 2) / size)
        cube += min(brightness, 9000) * spot * random.uniform(0.7, 1.0, (3, 1, 1)).astype(np.float32)
    axes = {"NAXIS1": width, "NAXIS2": height, "NAXIS3": 3}
    data = np.clip(cube, 0, 32767).astype(">i2").tobytes()
    return fits_bytes(data, BITPIX=16, NAXIS=3, **axes, OBJECT=target, EXPTIME=10.0, FILTER="IRCUT")
