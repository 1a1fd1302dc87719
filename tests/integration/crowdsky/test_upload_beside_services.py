"""A script leaves to the services what they have in their outbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from skyrelay.crowdsky import server
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.errors import TransientError
from skyrelay.store.engine import Store
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from support.fits_files import write_fits
from support.recorded_night import RecordedNight

NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
EVENING = datetime(2025, 3, 26, 21, 20, 32)  # noqa: DTZ001 - a telescope's wall clock, four hours from UTC

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def folder(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack that the services know as well."""
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", f"sqlite:///{tmp_path / 'skyrelay.db'}")
    folder = tmp_path / "stacks"
    folder.mkdir()
    write_fits(folder / NAME)
    return folder


def owe(store: Store, state: DeliveryState, *, serial: str = "1d3fe189", frames: int = 32) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(
            night.telescope(serial=serial), "M 94", EVENING, BlockState.STACKED, frames=frames
        )
        night.delivery(night.stack(block), state)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DeliveryState.PENDING, "the services have it in their outbox (pending)"),
        (DeliveryState.SENDING, "the services have it in their outbox (sending)"),
        (DeliveryState.RETRYING, "the services have it in their outbox (retrying)"),
        (DeliveryState.ACCEPTED, ""),
        (DeliveryState.CONFIRMED, ""),
    ],
)
def test_what_the_services_send_is_left_to_them(
    server_: SimulatedCrowdSky,
    store: Store,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    state: DeliveryState,
    words: str,
) -> None:
    owe(store, state)

    assert server.upload_all_stacks(local_dir=folder)["skipped"] == [NAME]
    assert words in capsys.readouterr().err
    assert server_.uploads == []


def test_what_they_have_given_up_is_sent(store: Store, folder: Path) -> None:
    owe(store, DeliveryState.DEAD)

    assert server.upload_all_stacks(local_dir=folder)["uploaded"] == [NAME]


@pytest.mark.parametrize(("serial", "frames"), [("99999999", 32), ("1d3fe189", 20)])
def test_what_is_another_stack_is_sent(store: Store, folder: Path, serial: str, frames: int) -> None:
    owe(store, DeliveryState.PENDING, serial=serial, frames=frames)

    assert server.upload_all_stacks(local_dir=folder)["uploaded"] == [NAME]


def test_a_database_that_cannot_be_read_is_no_empty_one(
    server_: SimulatedCrowdSky, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", f"sqlite:///{tmp_path / 'broken.db'}")

    with pytest.raises(TransientError, match="not known what the services send"):
        server.upload_all_stacks(local_dir=folder)
    assert server_.uploads == []


@pytest.fixture
def engines() -> Iterator[set[Engine]]:
    """What the process asked a database with during the test."""
    seen: set[Engine] = set()

    def note(connection: Connection) -> None:
        seen.add(connection.engine)

    event.listen(Engine, "engine_connect", note)
    yield seen
    event.remove(Engine, "engine_connect", note)


def test_the_database_is_opened_once_for_all_stacks_and_closed(folder: Path, engines: set[Engine]) -> None:
    for minute in range(3):
        cards = {"DATE_OBS": f"2025-03-27T02:{minute:02d}:00.1"}
        write_fits(folder / NAME.replace("_31_", f"_{minute + 3}_"), **cards)

    assert server.upload_all_stacks(local_dir=folder)["files_uploaded"] == 4

    (engine,) = engines
    assert "Connections in pool: 0 " in engine.pool.status()
