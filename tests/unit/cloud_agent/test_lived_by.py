"""The node is started anew for the settings that it lives by, and for no other."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import skyrelay_cloud_agent
from skyrelay.settings import NotificationsSettings, ObservatorySettings, PhotometrySettings, Settings
from skyrelay.store.accounts import wait_for_other_settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.page_settings import change_settings
from skyrelay.store.secrets import SecretStore
from skyrelay_cloud_agent.service import Notifications, lived_by

NOW = datetime(2026, 3, 1, 20, tzinfo=UTC)
# What the page can never change, and so never starts anything anew.
FILE_ONLY = {"redis", "database", "data_dir", "sources"}
# `topic` and `discovery_prefix` are those of home_assistant.
# `site_zone` is read from the observatory; of crowdsky only the scrubbing counts.
OF_PARTS = {
    *("site_zone", "crowdsky", "is_set_up", "cloud", "mqtt", "observatory", "photometry"),
    *("home_assistant", "topic", "discovery_prefix", "notifications"),
}


class Turns(threading.Event):
    """Is waited for in turns, in each of which something happens."""

    def __init__(self, *turns: Callable[[], None]) -> None:
        super().__init__()
        self._turns = list(turns)

    def wait(self, timeout: float | None = None) -> bool:
        """Have the next thing happen; with none left it is set."""
        assert timeout is not None
        if not self._turns:
            return True
        self._turns.pop(0)()
        return False


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path)
    store = Store(settings.database)
    migrate(store)
    store.close()
    return settings


def changing(settings: Settings, key: str, value: Any) -> Callable[[], None]:
    """Give what changes a setting on the page."""

    def change() -> None:
        store = Store(settings.database)
        secrets = SecretStore(store, settings.key_path)
        with store.write() as session:
            change_settings(session, settings, {key: value}, secrets=secrets, now=NOW, actor="test")
        store.close()

    return change


def test_a_change_of_something_else_starts_nothing_anew(settings: Settings) -> None:
    stop = Turns(changing(settings, "stacking.when", "dawn"), changing(settings, "archive.reserve_gb", 20))
    assert wait_for_other_settings(settings, settings, stop, part=lived_by) is settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cloud.url", "https://cloud.example.org"),
        ("observatory.timezone", "Europe/Vienna"),
        ("photometry.filter_name", "V"),
        ("crowdsky.scrub_location", True),
        ("setup", "done"),
    ],
)
def test_a_change_of_what_it_lives_by_is_noticed(settings: Settings, key: str, value: Any) -> None:
    changed = changing(settings, key, value)
    stop = Turns(changing(settings, "stacking.when", "dawn"), changed, lambda: pytest.fail("not noticed"))
    found = wait_for_other_settings(settings, settings, stop, part=lived_by)
    assert lived_by(found) != lived_by(settings)
    assert found.stacking.when == "dawn"


def notifying_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "notifications"]


def test_who_tells_the_owner_goes_on_when_only_the_node_begins_anew(settings: Settings) -> None:
    wanted = NotificationsSettings(urls=(SecretStr("json://127.0.0.1:1/"),))
    told = settings.model_copy(update={"setup": "done", "notifications": wanted})
    other_node = told.model_copy(update={"photometry": PhotometrySettings(filter_name="V")})
    other_place = told.model_copy(update={"observatory": ObservatorySettings(timezone="Europe/Vienna")})
    assert lived_by(other_node) != lived_by(told)
    notifications, stop = Notifications(), threading.Event()
    try:
        notifications.live_by(told, stop)
        first = notifying_threads()
        notifications.live_by(other_node, stop)
        assert notifying_threads() == first != []
        notifications.live_by(other_place, stop)
        assert first[0] not in notifying_threads()
    finally:
        notifications.end()


def test_it_reads_no_setting_that_it_is_not_started_anew_for() -> None:
    read = set()
    for file in Path(str(skyrelay_cloud_agent.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"settings", "self._settings"}:
                read.add(node.attr)
    assert {"cloud", "observatory"} <= read
    assert read <= OF_PARTS | FILE_ONLY
