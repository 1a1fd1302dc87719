"""``skyrelay secrets`` and ``skyrelay verify`` as processes, the latter against a simulated server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from skyrelay.arrivals import sha256_of
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState
from skyrelay.outbox.raw_progress import Manifest
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Delivery, Frame, Stack, Telescope
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import fits_bytes
from support.recorded_night import RecordedNight

PASSWORD = "s3cret-päss"
EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
SHAPE = {"NAXIS": 3, "NAXIS1": 20, "NAXIS2": 30, "NAXIS3": 3}


def skyrelay(home: Home, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
    command = [sys.executable, "-m", "skyrelay.cli", *arguments, "--config", str(home.config)]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


class Home:
    """Delivered stacks in an archive, in the books, and on a server."""

    def __init__(self, folder: Path, store: Store, server: SimulatedCrowdSky) -> None:
        self.folder, self.store, self.server = folder, store, server
        self.config = folder / "config.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "data_dir": str(folder / "data"),
                    "database_url": f"sqlite:///{folder / 'skyrelay.db'}",
                    "crowdsky": {"base_url": server.base_url, "username": "alice", "password": PASSWORD},
                }
            ),
            encoding="utf-8",
        )

    def deliver(self, number: int, *, target: str = "M 94", shift: timedelta = timedelta(0)) -> int:
        """Deliver a stack of its own quarter of an hour; give the delivery's id."""
        with self.store.write() as session:
            night = RecordedNight(session)
            telescope = session.scalar(select(Telescope)) or night.telescope(serial="1d3fe189")
            block = night.block(
                telescope,
                target,
                EVENING + timedelta(minutes=15 * number) + shift,
                BlockState.STACKED,
                frames=2,
            )
            stack = night.stack(block)
            stack.crowdsky_name = stack.crowdsky_name.replace("M 94", target)
            path = self.folder / "data" / "archive" / "garden" / stack.crowdsky_name
            path.parent.mkdir(parents=True, exist_ok=True)
            stamp = stack.first_start_at.replace(tzinfo=None).isoformat()
            cards: dict[str, Any] = {"OBJECT": target, "DATE_OBS": stamp, "SITELAT": 48.2, "SITELONG": 16.4}
            path.write_bytes(fits_bytes(bytes(range(240)) * 15, **SHAPE, **cards))
            stack.archive_path, stack.sha256 = f"garden/{stack.crowdsky_name}", sha256_of(path)
            upload = StackUpload(
                path, path.name, date_obs_start=stack.first_start_at, date_obs_end=stack.last_start_at
            )
            receipt = CrowdSkyClient(self.server.base_url, "alice", PASSWORD).upload_stack(upload)
            delivery = night.delivery(stack, DeliveryState.CONFIRMED, server_chunk_key=receipt.chunk_key)
            return int(delivery.id)

    def send_raw(self, number: int, *, is_listed: bool = True) -> int:
        """Book a block as sent raw, with a stack of it on the server; give the delivery's id."""
        with self.store.write() as session:
            night = RecordedNight(session)
            telescope = session.scalar(select(Telescope)) or night.telescope(serial="1d3fe189")
            start = EVENING + timedelta(minutes=15 * number)
            block = night.block(telescope, "M 94", start, BlockState.RAW, frames=2)
            frames = session.scalars(select(Frame).where(Frame.block_id == block.id)).all()
            key = f"{chunk_of(block.start_at)}_HP033810"
            facts = tuple((frame.file_name, frame.start_at, key) for frame in frames)
            delivery = Delivery(
                kind=DeliveryKind.RAW,
                block_id=block.id,
                destination="crowdsky",
                state=DeliveryState.CONFIRMED,
                server_chunk_key=key,
                raw_frames=Manifest("1d3fe189", "IRCUT", facts).to_row(),
                created_at=block.created_at,
                updated_at=block.created_at,
            )
            session.add(delivery)
            session.flush()
            if is_listed:
                self._stack_on_server(frames)
            return int(delivery.id)

    def _stack_on_server(self, frames: Sequence[Frame]) -> None:
        path = self.folder / "made.fit"
        stamp = frames[0].start_at.replace(tzinfo=None).isoformat() if frames[0].start_at else ""
        path.write_bytes(fits_bytes(bytes(3600), **SHAPE, OBJECT="M 94", DATE_OBS=stamp))
        upload = StackUpload(
            path, path.name, date_obs_start=frames[0].start_at, date_obs_end=frames[-1].start_at
        )
        CrowdSkyClient(self.server.base_url, "alice", PASSWORD).upload_stack(upload)

    def file(self, delivery_id: int) -> Path:
        """Give where a delivery's stack lies in the archive."""
        with self.store.read() as session:
            stack = session.get_one(Stack, session.get_one(Delivery, delivery_id).stack_id)
        return self.folder / "data" / "archive" / str(stack.archive_path)

    def delivery(self, delivery_id: int) -> Delivery:
        """Give a delivery's row."""
        with self.store.read() as session:
            return session.get_one(Delivery, delivery_id)

    def on_server(self, number: int) -> Path:
        """Give where the server keeps its n-th stack."""
        return next(self.folder.rglob(self.server.uploads[number].stored_as))

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the command; give its exit code and its answer."""
        done = skyrelay(self, "verify", "--json", *arguments)
        return done.returncode, json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}


@pytest.fixture
def home(tmp_path: Path, store: Store) -> Iterator[Home]:
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": PASSWORD}) as server:
        yield Home(tmp_path, store, server)


def verdicts(answer: dict[str, Any]) -> list[str]:
    return [finding["verdict"] for finding in sorted(answer["findings"], key=lambda f: f["delivery_id"])]


def test_what_the_server_has_as_it_was_sent_is_proven(home: Home) -> None:
    ids = [home.deliver(number) for number in range(3)]

    code, answer = home.verify()

    assert (code, answer["confirmed"], verdicts(answer)) == (0, 3, ["same"] * 3)
    assert all(home.delivery(id_).verified_at for id_ in ids)
    with home.store.read() as session:
        query = select(AuditEntry.event).where(AuditEntry.subject_kind == "delivery")
        assert list(session.scalars(query)) == ["compared: same"] * 3


def test_a_pixel_that_changed_is_found(home: Home) -> None:
    good, bad = home.deliver(0), home.deliver(1)
    copy = home.on_server(1)
    content = bytearray(copy.read_bytes())
    content[2880 + 100] ^= 1
    copy.write_bytes(content)

    code, answer = home.verify()

    assert (code, verdicts(answer)) == (1, ["same", "differs"])
    assert "1 of 1800 pixels differ" in home.delivery(bad).reason
    assert (home.delivery(bad).needs_you, home.delivery(good).needs_you) == (True, False)
    table = skyrelay(home, "verify")
    assert table.returncode == 1
    assert "differs" in table.stdout


def test_a_card_that_changed_is_found(home: Home) -> None:
    home.deliver(0)
    copy = home.on_server(0)
    copy.write_bytes(copy.read_bytes().replace(b"'M 94", b"'M 95"))

    code, answer = home.verify()

    assert (code, verdicts(answer)) == (1, ["differs"])
    assert "OBJECT is 'M 94' here and 'M 95' there" in answer["findings"][0]["detail"]


def test_an_image_of_another_shape_is_found(home: Home) -> None:
    home.deliver(0)
    home.on_server(0).write_bytes(fits_bytes(bytes(3600), NAXIS=3, NAXIS1=30, NAXIS2=20, NAXIS3=3))
    _, answer = home.verify()
    assert "20×30×3 pixels here and 30×20×3 there" in answer["findings"][0]["detail"]


def test_a_copy_that_tells_where_the_telescope_stands_is_found(home: Home) -> None:
    id_ = home.deliver(0)
    home.on_server(0).write_bytes(home.file(id_).read_bytes())
    _, answer = home.verify()
    assert "tells where the telescope stands" in answer["findings"][0]["detail"]


def test_a_file_of_ours_that_rotted_is_found(home: Home) -> None:
    id_ = home.deliver(0)
    file = home.file(id_)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    _, answer = home.verify()
    assert "our own file has changed" in answer["findings"][0]["detail"]


def test_two_stacks_of_one_key_are_not_verifiable(home: Home) -> None:
    home.deliver(0)
    home.deliver(0, target="M 51")
    home.deliver(1)

    code, answer = home.verify()

    assert (code, verdicts(answer)) == (0, ["not verifiable", "not verifiable", "same"])
    assert "2 stacks share its key" in answer["findings"][0]["detail"] + answer["findings"][1]["detail"]


def test_what_nothing_can_be_said_of_proves_nothing(home: Home) -> None:
    home.file(home.deliver(0)).unlink()
    code, answer = home.verify()
    assert (code, verdicts(answer)) == (1, ["not verifiable"])


def test_one_that_the_server_lost_is_found(home: Home) -> None:
    id_ = home.deliver(0)
    home.server.show("my_stacks", Fault(mode="status", status=200, body="[]"))
    code, answer = home.verify()
    assert (code, verdicts(answer)) == (1, ["missing"])
    assert home.delivery(id_).needs_you


def test_a_download_that_fails_says_nothing_about_the_stack(home: Home) -> None:
    id_ = home.deliver(0)
    home.server.show("download_stack", Fault(mode="status", status=503))
    code, answer = home.verify()
    assert (code, verdicts(answer)) == (1, ["not had"])
    assert not home.delivery(id_).needs_you


def test_a_sample_takes_those_first_that_were_not_compared_for_longest(home: Home) -> None:
    ids = [home.deliver(number) for number in range(4)]
    seen: set[int] = set()
    for _ in range(2):
        _, answer = home.verify("--sample", "50%")
        assert len(answer["findings"]) == 2
        seen |= {finding["delivery_id"] for finding in answer["findings"]}
    assert seen == set(ids)


def test_nothing_delivered_is_nothing_wrong(home: Home) -> None:
    assert home.verify() == (0, {"holds": True, "confirmed": 0, "raw": 0, "findings": []})


def test_blocks_whose_raw_frames_were_sent_are_counted_and_looked_for(home: Home) -> None:
    there, lost = home.send_raw(0), home.send_raw(1, is_listed=False)

    code, answer = home.verify()

    assert (code, answer["confirmed"], answer["raw"]) == (1, 2, 2)
    assert verdicts(answer) == ["listed", "missing"]
    assert "2 raw frames of M 94" in answer["findings"][0]["name"]
    assert (home.delivery(there).needs_you, home.delivery(lost).needs_you) == (False, True)
    assert home.delivery(there).verified_at is not None
    table = skyrelay(home, "verify").stdout
    assert "2 of them of raw frames" in table
    assert "1 listed" in table


def test_a_list_that_cannot_be_had_is_an_error(home: Home) -> None:
    home.deliver(0)
    home.server.show("my_stacks", Fault(mode="status", status=503))
    done = skyrelay(home, "verify")
    assert done.returncode == 1
    assert "503" in done.stderr


@pytest.mark.parametrize("sample", ["0%", "101%", "some"])
def test_a_share_that_is_none_is_refused(home: Home, sample: str) -> None:
    assert skyrelay(home, "verify", "--sample", sample).returncode == 2


def test_secrets_are_set_listed_and_put_under_a_new_key_and_never_shown(home: Home) -> None:
    assert skyrelay(home, "secrets", "set", "cloud.api_key", given="k3y-of-mine\n").returncode == 0
    listed = skyrelay(home, "secrets", "list", "--json")
    assert [entry["name"] for entry in json.loads(listed.stdout)] == ["cloud.api_key"]
    key = home.folder / "data" / "secret.key"
    before = key.read_text(encoding="ascii")

    rotated = skyrelay(home, "secrets", "rotate")

    assert "1 secrets are under a new key" in rotated.stdout
    assert key.read_text(encoding="ascii") != before
    shown = skyrelay(home, "secrets", "list")
    assert "k3y-of-mine" not in listed.stdout + rotated.stdout + shown.stdout + shown.stderr
    key.write_text("wrong", encoding="ascii")
    broken = skyrelay(home, "secrets", "rotate")
    assert broken.returncode == 2
    assert "secret.key holds no key" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_secret_that_there_is_none_of_is_named(home: Home) -> None:
    done = skyrelay(home, "secrets", "set", "crowdsky.pasword", given="x\n")
    assert done.returncode == 2
    assert "crowdsky.password" in done.stderr
