"""A folder's stacks through the services' outbox: one set of books, sent once, by whoever is there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select, update

from skyrelay.crowdsky import server as functions
from skyrelay.crowdsky.bulk_upload import Outcome, UploadReport
from skyrelay.crowdsky.outbox_upload import OutboxUpload
from skyrelay.crowdsky.progress import TransferBars
from skyrelay.crowdsky.session import CrowdSkySession
from skyrelay.crowdsky.stack_sources import LocalStacks
from skyrelay.crowdsky.upload_runs import bulk_upload
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.queue.beats import read_beats
from skyrelay.queue.celery_app import build_celery, nudge
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.receipts import build_receipt
from skyrelay.store.tables import Block, Delivery, Destination, Stack, Telescope
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import write_fits
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually

from .conftest import PASSWORD

EVENING = datetime(2025, 3, 26, 21, 20, 32)  # noqa: DTZ001 - a telescope's wall clock, four hours from UTC


def name(number: int) -> str:
    """Name a stack; each number is another quarter hour."""
    return f"CrowdSky_{31 + number}_M 94_10.0s_IRCUT_20250327.{5 + number:02d}_HP033810.fit"


def lay(folder: Path, number: int, **cards: Any) -> Path:
    """Write a stack."""
    folder.mkdir(parents=True, exist_ok=True)
    minutes = 80 + 15 * number
    start = f"2025-03-27T{minutes // 60:02d}:{minutes % 60:02d}:32.955368"
    return write_fits(folder / name(number), **{"DATE_OBS": start, **cards})


@dataclass
class Home:
    """A home with a database, a server, and a folder of old stacks."""

    store: Store
    server: SimulatedCrowdSky
    folder: Path
    data_dir: Path
    opened: ExitStack
    redis_url: str = ""

    def settings(self, **crowdsky: Any) -> Settings:
        account = {"base_url": self.server.base_url, "username": "alice", "password": PASSWORD}
        return Settings.model_validate(
            {
                "data_dir": self.data_dir,
                "database_url": f"sqlite:///{self.data_dir.parent / 'skyrelay.db'}",
                "redis_url": self.redis_url,
                "setup": "done" if self.redis_url else "ask",
                "crowdsky": {**account, "confirm_s": 0.1, **crowdsky},
            }
        )

    def upload(
        self,
        *,
        until: DeliveryState = DeliveryState.ACCEPTED,
        dry_run: bool = False,
        confirm: Callable[[UploadReport], bool] = lambda _: True,
        **crowdsky: Any,
    ) -> tuple[dict[str, Outcome], str]:
        """Upload the folder; give what became of each stack, and why it ended."""
        settings = self.settings(**crowdsky)
        judge = bulk_upload(self.opened, settings, TransferBars(), scrub_location=True, skip_existing=True)
        upload = OutboxUpload(settings, self.store, judge, until)
        report, reason = upload.run(self.folder, dry_run=dry_run, confirm=confirm)
        return {entry.candidate.name: entry.outcome for entry in report.entries}, reason

    def rows(self) -> list[tuple[Stack, Delivery]]:
        """Give the stacks in the books with their deliveries, in order."""
        query = select(Stack, Delivery).join(Delivery, Delivery.stack_id == Stack.id)
        with self.store.read() as session:
            return [(row.Stack, row.Delivery) for row in session.execute(query.order_by(Stack.crowdsky_name))]


@pytest.fixture
def home(tmp_path: Path, store: Store, server: SimulatedCrowdSky) -> Iterator[Home]:
    with ExitStack() as opened:
        yield Home(store, server, tmp_path / "old", tmp_path / "data", opened)


def test_old_stacks_are_archived_booked_and_sent_once(home: Home) -> None:
    files = [lay(home.folder, 0), lay(home.folder / "deeper", 1)]
    done, reason = home.upload()
    assert (done, reason) == ({name(0): Outcome.UPLOADED, name(1): Outcome.UPLOADED}, "")
    for file, (stack, delivery) in zip(files, home.rows(), strict=True):
        kept = home.data_dir / "archive" / (stack.archive_path or "")
        assert kept.read_bytes() == file.read_bytes()
        assert stack.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert delivery.attempts == 1
        file.unlink()
        assert kept.is_file(), "the archive's is another one than the owner's"
    with home.store.read() as session:
        block = session.scalars(select(Block).order_by(Block.id)).first()
        telescope = session.scalars(select(Telescope)).one()
    assert block is not None
    assert (telescope.serial, telescope.host) == ("1d3fe189", None)
    assert (block.target, block.filter, block.state) == ("M 94", "IRCUT", BlockState.COVERED)
    assert block.start_at == datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
    with home.store.read() as session:
        totals = build_receipt(session, date.fromisoformat(block.night)).totals
    assert (totals.delivered, totals.deliveries_owed, totals.frames_missing) == (2, 0, 0)
    assert len(home.server.uploads) == 2


def test_a_second_run_sends_nothing_even_while_the_server_lists_nothing(home: Home) -> None:
    home.server.stop()
    with SimulatedCrowdSky(home.folder.parent / "slow", {"alice": PASSWORD}, processing_delay_s=1e6) as slow:
        home.server = slow
        lay(home.folder, 0)
        assert home.upload()[0] == {name(0): Outcome.UPLOADED}
        assert home.upload()[0] == {name(0): Outcome.ACCEPTED}
        (home.folder / name(0)).rename(home.folder / name(0).replace("_31_", "_30_"))
        assert list(home.upload()[0].values()) == [Outcome.ACCEPTED], "whatever it is called"
        assert len(slow.uploads) == 1


def test_until_confirmed_waits_for_the_servers_list(home: Home) -> None:
    lay(home.folder, 0)
    assert home.upload(until=DeliveryState.CONFIRMED) == ({name(0): Outcome.UPLOADED}, "")
    ((_, delivery),) = home.rows()
    assert delivery.state == DeliveryState.CONFIRMED


def test_a_dry_run_and_a_no_leave_no_trace(home: Home) -> None:
    lay(home.folder, 0)
    asked: list[tuple[int, int]] = []

    def no(plan: UploadReport) -> bool:
        asked.append((len(plan.of(Outcome.TO_SEND)), sum(entry.size_bytes for entry in plan.entries)))
        return False

    assert home.upload(dry_run=True)[0] == home.upload(confirm=no)[0] == {name(0): Outcome.TO_SEND}
    assert asked == [(1, (home.folder / name(0)).stat().st_size)]
    assert (home.rows(), home.server.uploads) == ([], [])
    assert not (home.data_dir / "archive").exists()


def test_a_full_account_is_paused_in_the_servers_words_and_burns_no_item(home: Home) -> None:
    for number in range(5):
        lay(home.folder, number)
    full = Fault(mode="error-200", body={"error": "Storage quota exceeded: 500 MB."})
    home.server.show("upload_stack", full)
    done, reason = home.upload()
    assert set(done.values()) == {Outcome.OWED}
    assert "Storage quota exceeded: 500 MB." in reason
    assert len(home.server.requests("upload_stack")) <= 2, "as many as are sent at once"
    assert [delivery.attempts for _, delivery in home.rows()] == [0, 0, 0, 0, 0]
    home.server.show("upload_stack")
    with home.store.write() as session:  # as when the next probe is due
        session.get_one(Destination, "crowdsky").next_probe_at = utc_now()
        for delivery in session.scalars(select(Delivery)):
            delivery.next_attempt_at = None
    assert set(home.upload()[0].values()) == {Outcome.UPLOADED}
    assert len(home.server.uploads) == 5


def test_one_that_the_server_refuses_stops_no_other_and_is_tried_again_when_asked(home: Home) -> None:
    for number in range(3):
        lay(home.folder, number)
    home.server.show("upload_stack", Fault(mode="status", status=400, body={"error": "Bad."}, times=1))
    done, reason = home.upload()
    assert sorted(done.values()) == [Outcome.FAILED, Outcome.UPLOADED, Outcome.UPLOADED]
    assert reason == ""
    assert set(home.upload()[0].values()) <= {Outcome.UPLOADED, Outcome.THERE}
    assert len(home.server.uploads) == 3


def test_what_a_server_that_goes_away_did_not_get_is_sent_by_the_next_run(home: Home) -> None:
    for number in range(4):
        lay(home.folder, number)
    away = Fault(mode="status", status=503, retry_after=600)
    home.server.show("upload_stack", Fault(mode="delay", seconds=0.0, times=1), away)
    done, reason = home.upload()
    assert Outcome.OWED in done.values()
    assert "nothing more can be sent for now" in reason
    home.server.show("upload_stack")
    with home.store.write() as session:  # as if the ten minutes were over
        session.get_one(Destination, "crowdsky").next_probe_at = utc_now()
        for delivery in session.scalars(select(Delivery)):
            delivery.next_attempt_at = None
    assert set(home.upload()[0].values()) <= {Outcome.UPLOADED, Outcome.THERE, Outcome.ACCEPTED}
    stored = sorted(upload.file_name for upload in home.server.uploads)
    assert stored == [name(number) for number in range(4)]


def test_a_lost_answer_is_no_second_send(home: Home) -> None:
    lay(home.folder, 0)
    home.server.show("upload_stack", Fault(mode="drop-after-store", times=1))
    done, reason = home.upload()
    assert done == {name(0): Outcome.OWED}
    assert "its answer never came" in reason
    assert home.upload()[0] == {name(0): Outcome.THERE}
    assert len(home.server.uploads) == 1


def test_a_run_that_was_killed_is_taken_up_by_the_next_one(home: Home, tmp_path: Path) -> None:
    for number in range(6):
        lay(home.folder, number)
    home.server.show("upload_stack", Fault(mode="delay", seconds=1))
    config = tmp_path / "config.yaml"
    settings = home.settings()
    crowdsky = {"base_url": home.server.base_url, "username": "alice", "password": PASSWORD, "confirm_s": 0.1}
    document = {"data_dir": str(home.data_dir), "database_url": settings.database, "crowdsky": crowdsky}
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "skyrelay.cli", "upload", "--local-dir", str(home.folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYRELAY_")}
    process = subprocess.Popen(
        [*command, "--config", str(config)], env=environment, stdout=subprocess.DEVNULL
    )
    eventually(lambda: home.server.uploads, within_s=120)
    process.kill()
    process.wait(20)
    home.server.show("upload_stack")
    with home.store.write() as session:  # as if its leases had run out
        session.execute(update(Delivery).values(lease_until=None))
    done, _ = home.upload()
    unsure = [name for name, outcome in done.items() if outcome is Outcome.OWED]
    assert len(unsure) <= 2, "those that were being sent, and that the server does not list"
    assert set(done.values()) <= {Outcome.UPLOADED, Outcome.THERE, Outcome.ACCEPTED, Outcome.OWED}
    stored = [upload.file_name for upload in home.server.uploads]
    assert len(stored) == len(set(stored))
    assert set(stored) >= set(done) - set(unsure)


def test_what_cannot_be_sent_is_named_and_the_others_go(home: Home) -> None:
    lay(home.folder, 0)
    lay(home.folder, 1, DATE_OBS=None)
    done, _ = home.upload()
    assert done == {name(0): Outcome.UPLOADED, name(1): Outcome.FAILED}


def test_a_stack_that_the_services_are_to_fetch_is_sent_once_from_the_folder(home: Home) -> None:
    lay(home.folder, 0)
    with home.store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope(serial="1d3fe189")
        stack = night.stack(night.block(telescope, "M 94", EVENING, BlockState.STACKED, frames=32))
        stack.fetched_at = stack.archive_path = None
        stack.is_offered = True
    assert home.upload()[0] == {name(0): Outcome.UPLOADED}
    ((stack, _),) = home.rows()
    assert (stack.is_offered, stack.fetched_at is not None) == (False, True)
    assert len(home.server.uploads) == 1


def test_two_stacks_of_one_name_are_two(home: Home) -> None:
    lay(home.folder / "a", 0)
    lay(home.folder / "b", 0, TOTALEXP=300.0)
    home.upload()
    assert len(home.server.uploads) == 2
    assert len({stack.archive_path for stack, _ in home.rows()}) == 2


def test_what_a_script_has_sent_is_not_sent_again_and_the_reverse(
    home: Home, session: CrowdSkySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", home.settings().database)
    home.server.stop()
    with SimulatedCrowdSky(home.folder.parent / "slow", {"alice": PASSWORD}, processing_delay_s=1e6) as slow:
        home.server = slow
        session.set_base_url(slow.base_url)
        lay(home.folder, 0)
        assert functions.upload_all_stacks(local_dir=home.folder)["uploaded"] == [name(0)]
        lay(home.folder, 1)
        assert home.upload()[0] == {name(0): Outcome.ACCEPTED, name(1): Outcome.UPLOADED}
        assert functions.upload_all_stacks(local_dir=home.folder)["skipped"] == [name(0), name(1)]
        assert len(slow.uploads) == 2


def test_in_quiet_hours_they_wait_in_the_outbox(home: Home) -> None:
    lay(home.folder, 0)
    done, reason = home.upload(quiet_hours=["00:00-12:00", "12:00-00:00"])
    assert done == {name(0): Outcome.OWED}
    assert "quiet_hours" in reason
    assert home.server.uploads == []


def test_a_running_uploader_sends_them(home: Home, redis_server: RedisServer) -> None:
    for number in range(3):
        lay(home.folder, number)
    home.redis_url = redis_server.url
    settings = home.settings().model_dump(mode="json", exclude_none=True)
    settings["crowdsky"]["password"] = PASSWORD
    plain = {key: settings[key] for key in ("setup", "data_dir", "crowdsky")}
    plain |= {"redis_url": redis_server.url, "database_url": home.settings().database}
    with ServiceProcess("uploader", home.folder.parent, plain) as uploader:
        eventually(lambda: is_at_work(redis_server), within_s=60)
        done, reason = home.upload()
        assert (set(done.values()), reason) == ({Outcome.UPLOADED}, "")
        assert uploader.log().count("a stack was accepted") == 3
    assert len(home.server.uploads) == 3


def is_at_work(redis_server: RedisServer) -> bool:
    """Have the uploader say that it is there, as the scheduler does; tell whether it did."""
    app = build_celery(redis_server.url)
    nudge(app, TaskName.UPLOADER_CANARY, Nothing())
    app.close()
    with connect_redis(redis_server.url) as redis:
        return "uploader" in read_beats(redis)


def test_links_that_lead_out_are_not_followed(home: Home, tmp_path: Path) -> None:
    secret = lay(tmp_path / "elsewhere", 0)
    home.folder.mkdir()
    (home.folder / name(0)).symlink_to(secret)
    assert home.upload()[0] == {name(0): Outcome.FAILED}
    assert LocalStacks(home.folder).find()[0].facts is None
