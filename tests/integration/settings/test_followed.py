"""What a page changes is noticed by every service while it runs: the watcher over the gateway."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.frame_stream import STREAM
from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings
from skyrelay.store import trials
from skyrelay.store.engine import Store
from skyrelay.store.page_settings import change_settings
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import TelescopeTrial
from skyrelay_uploader.workshop import Workshop as Uploader
from support.fits_files import write_fits
from support.gateway import running_gateway
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.small_cloud import SmallCloud, cloud
from support.waiting import eventually

__all__ = ["cloud"]

LONG_S = 90.0  # services are started, look every few seconds, and share the machine with others


class Home:
    """A home whose file says next to nothing."""

    def __init__(self, folder: Path, store: Store, server: RedisServer, **sections: Any) -> None:
        self.folder, self.store, self.server = folder, store, server
        self.file = {
            "data_dir": str(folder / "data"),
            "redis_url": server.url,
            "database_url": store.engine.url.render_as_string(hide_password=False),
            **sections,
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(self.file), encoding="utf-8")
        self.settings: Settings = load_settings(config, {})

    def change(self, **changes: Any) -> None:
        """Change settings, as the page does."""
        by_key = {key.replace("__", "."): value for key, value in changes.items()}
        secrets = SecretStore(self.store, self.settings.key_path)
        with self.store.write() as session:
            change_settings(session, self.settings, by_key, secrets=secrets, now=utc_now(), actor="alice")

    def service(self, name: str, **sections: Any) -> ServiceProcess:
        """Give a service of this home."""
        return ServiceProcess(name, self.folder / "services", {**self.file, **sections})

    def state(self, name: str) -> Any:
        """Give what a service's last beat says that it does."""
        with connect_redis(self.server.url) as redis:
            beat = read_beats(redis).get(name)
        return beat.detail.get("state") if beat else None


@pytest.fixture
def home(tmp_path: Path, store: Store, redis_server: RedisServer) -> Home:
    return Home(tmp_path, store, redis_server)


def test_the_watcher_begins_when_the_page_says_so_and_after_a_restart_without_the_gateway(home: Home) -> None:
    photos = home.folder / "photos"
    photos.mkdir()
    write_fits(photos / "a.fit")
    with running_gateway(home.store, home.server.url, home.settings) as gateway:
        port = int(gateway.address.rpartition(":")[2])
        watcher = home.service("watcher", gateway={"host": "127.0.0.1", "port": port})
        with watcher:
            eventually(lambda: home.state("watcher") == "waiting for set-up", within_s=LONG_S)
            home.change(setup="done")
            eventually(lambda: home.state("watcher") == "disabled", within_s=LONG_S)
            watch = {"image_watcher__watch_path": [str(photos)], "image_watcher__debounce_delay": 0.2}
            home.change(image_watcher__enabled=True, **watch)
            eventually(lambda: home.state("watcher") == "watching", within_s=LONG_S)
    with connect_redis(home.server.url) as redis:
        redis.flushall()
    with watcher:
        eventually(lambda: home.state("watcher") == "watching", within_s=LONG_S)
        with connect_redis(home.server.url) as redis:
            eventually(lambda: redis.xlen(STREAM) == 1, within_s=LONG_S)


def test_the_cloud_agent_begins_and_ends_when_the_page_says_so(home: Home, cloud: SmallCloud) -> None:
    with home.service("cloud-agent"):
        eventually(lambda: home.state("cloud-agent") == "disabled", within_s=LONG_S)
        home.change(cloud__enabled=True, cloud__url=cloud.url, cloud__heartbeat_interval=1)
        eventually(lambda: home.state("cloud-agent") == "waiting for set-up", within_s=LONG_S)
        assert cloud.calls == []
        home.change(setup="done", observatory__latitude=48.2, observatory__longitude=16.4)
        eventually(lambda: home.state("cloud-agent") == "connected", within_s=LONG_S)
        home.change(cloud__enabled=False)
        eventually(lambda: home.state("cloud-agent") == "disabled", within_s=LONG_S)


def test_the_scheduler_ticks_by_the_intervals_of_the_page(home: Home) -> None:
    with home.service("scheduler", scheduler={"reconcile_s": 3600}), connect_redis(home.server.url) as redis:
        eventually(lambda: home.state("scheduler") == "ticking", within_s=LONG_S)
        before = redis.llen("skyrelay:uploader")
        home.change(crowdsky__confirm_s=0.2)
        eventually(lambda: redis.llen("skyrelay:uploader") > before + 8, within_s=LONG_S)


def test_the_uploader_takes_each_unit_of_work_by_the_settings_of_its_moment(home: Home) -> None:
    uploader = Uploader(home.settings, home.store, lambda *_: None)
    assert not uploader.in_force().may_act
    home.change(setup="done", crowdsky__bandwidth_limit=250, crowdsky__quiet_hours="00:00-23:59")
    now = uploader.in_force()
    assert (now.may_act, now.may_send, now.uploads) == (True, True, uploader.uploads)
    assert now.quiet_until() is not None
    home.change(crowdsky__enabled=False)
    assert not uploader.in_force().may_send


def test_a_trial_is_taken_once_and_goes_unanswered_after_a_while(store: Store) -> None:
    now = utc_now()
    asked = {"watches": False, "now": now, "actor": "person"}
    with store.write() as session:
        row = trials.ask(session, {"name": "garden"}, **asked)
        assert (trials.waiting(session, now), trials.is_under_way(row, now)) == ([row.id], True)
        assert trials.claim(session, row.id, now) is not None
        session.refresh(row)
        assert (trials.claim(session, row.id, now), trials.waiting(session, now)) == (None, [])
        trials.finish(session, row.id, now=now, answer=None, problem="no network")
        assert (trials.is_under_way(row, now), row.problem) == (False, "no network")
        late = trials.ask(session, {"name": "garden"}, **asked)
        later = now + timedelta(minutes=3)
        assert (trials.claim(session, late.id, later), trials.is_under_way(late, later)) == (None, False)
        trials.ask(session, {"name": "garden"}, **{**asked, "now": now + timedelta(days=2)})
        assert len(session.scalars(select(TelescopeTrial)).all()) == 1
