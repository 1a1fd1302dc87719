"""Settings from the page: below file and environment, checked as a whole, every version kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from skyrelay.settings import Settings, SettingsRefused, load_settings, setting_fields
from skyrelay.settings_page import why_not_writable, with_page_values
from skyrelay.store.account_addresses import LOGINS
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.page_settings import (
    SettingsMoved,
    change_settings,
    page_values,
    settings_version,
)
from skyrelay.store.secrets import SECRET_NAMES, SecretStore
from skyrelay.store.tables import AuditEntry, SettingChange, Telescope

NOW = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
GARDEN = {"name": "garden", "host": "192.168.1.50"}


def configured(folder: Path, environ: Mapping[str, str] | None = None, **sections: Any) -> Settings:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(folder), **sections}), encoding="utf-8")
    return load_settings(file, environ or {})


def change(store: Store, settings: Settings, changes: dict[str, Any], **options: Any) -> Settings:
    secrets = SecretStore(store, settings.key_path)
    with store.write() as session:
        return change_settings(session, settings, changes, secrets=secrets, now=NOW, actor="alice", **options)


def problems(store: Store, settings: Settings, **changes: Any) -> dict[str, str]:
    with pytest.raises(SettingsRefused) as refusal:
        change(store, settings, {key.replace("__", "."): value for key, value in changes.items()})
    with store.read() as session:
        assert session.scalars(select(SettingChange)).all() == []
    return dict(refusal.value.problems)


def test_what_the_page_sets_counts_where_the_file_says_nothing(store: Store, tmp_path: Path) -> None:
    settings = configured(
        tmp_path, {"SKYRELAY_STACKING__IDLE_S": "5"}, stacking={"when": "manual"}, setup="ask"
    )
    changes = {"stacking.exclude": ["Moon*"], "stacking.dawn.at": "06:15", "setup": "done"}
    assert change(store, settings, changes).is_set_up
    found = settings_in_force(settings, store)
    assert (found.stacking.when, found.stacking.idle_s, found.stacking.exclude) == ("manual", 5.0, ("Moon*",))
    assert (found.is_set_up, f"{found.stacking.dawn.at:%H:%M}") == (True, "06:15")
    assert {found.sources[key] for key in changes} == {"page"}
    assert (found.sources["stacking.when"], found.sources["stacking.idle_s"]) == ("file", "environment")


def test_what_the_file_sets_cannot_be_changed_and_wins_later_too(store: Store, tmp_path: Path) -> None:
    fixed = configured(tmp_path, stacking={"when": "manual"}, setup="done")
    assert problems(store, fixed, stacking__when="idle", setup="ask") == {
        "stacking.when": "is set in the file, which wins",
        "setup": "is set in the file, which wins",
    }
    change(store, configured(tmp_path), {"stacking.when": "dawn"})
    assert settings_in_force(fixed, store).stacking.when == "manual"
    assert settings_in_force(configured(tmp_path), store).stacking.when == "dawn"


WRONG: list[tuple[str, Any, str]] = [
    ("stacking.when", "sometimes", "Input should be 'idle', 'dawn' or 'manual'"),
    ("stacking.whenn", "idle", "there is no such setting; did you mean stacking.when?"),
    ("observatory.latitude", 91, "Input should be less than or equal to 90"),
    ("observatory.timezone", "Europe/Wien", "'Europe/Wien' is no IANA time zone; did you mean"),
    ("cloud.telescope", "roof", "no telescope is named 'roof'"),
    ("telescopes", [{"name": "a", "host": "example.com"}], "no name of a home's network"),
    ("telescopes", [{"name": "a", "host": "10.0.0.1", "rpc_port": 22}], "another service's port"),
    ("telescopes", [{"name": "a", "host": "10.0.0.1", "key_path": "/etc/passwd"}], "given on the page"),
    ("telescopes", ["a"], "valid dictionary"),
    ("image_watcher.watch_path", ["smb://8.8.8.8/share"], "no address of a home's network"),
    ("crowdsky.base_url", "http://10.0.0.1", "in the file or the environment only"),
    ("cloud.conditions.source", "/etc/passwd", "in the file or the environment only"),
    ("database_url", "sqlite:////tmp/x", "in the file or the environment only"),
    ("gateway.port", 80, "in the file or the environment only"),
    ("crowdsky.password", 12, "must be a text"),
    ("stacking.exclude", ["x" * 20000], "is too long"),
]


def test_a_wrong_change_is_named_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path, telescopes=[GARDEN])
    for key, value, problem in WRONG:
        found = problems(store, settings, **{key.replace(".", "__"): value, "stacking__grace_s": 30})
        ((name, words),) = found.items()
        assert name.startswith(key)
        assert problem in words


def test_every_version_is_kept_with_who_and_when_and_unset_is_a_version_too(
    store: Store, tmp_path: Path
) -> None:
    settings = configured(tmp_path)
    for value in ("dawn", "manual", None):
        change(store, settings, {"stacking.when": value})
    with store.read() as session:
        rows = session.scalars(select(SettingChange).order_by(SettingChange.id)).all()
        assert [(row.value, row.changed_by, row.changed_at) for row in rows] == [
            (value, "alice", NOW) for value in ("dawn", "manual", None)
        ]
        assert (page_values(session), settings_version(session)) == ({}, rows[-1].id)
    assert settings_in_force(settings, store).stacking.when == "idle"


def test_of_two_who_change_the_same_version_the_second_is_told(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path)
    change(store, settings, {"stacking.grace_s": 30}, expected_version=0)
    with pytest.raises(SettingsMoved, match="at version 1 now"):
        change(store, settings, {"stacking.grace_s": 90}, expected_version=0)
    assert settings_in_force(settings, store).stacking.grace_s == 30


def test_secrets_stand_encrypted_in_no_history_and_no_audit(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path)
    change(store, settings, {"crowdsky.username": "alice", "crowdsky.password": "Orion-42"})
    found = settings_in_force(settings, store).crowdsky
    assert (found.username, found.password.get_secret_value()) == ("alice", "Orion-42")
    with store.read() as session:
        assert page_values(session) == {}
        changes = session.scalars(select(SettingChange)).all()
        audits = session.scalars(select(AuditEntry)).all()
    assert [(row.key, row.value) for row in changes] == [
        ("crowdsky.username", None),
        ("crowdsky.password", None),
    ]
    assert "Orion-42" not in str([row.detail for row in audits])


def test_telescopes_of_the_page_stand_beside_those_of_the_file(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path, telescopes=[GARDEN])
    change(store, settings, {"telescopes": [{"name": "roof", "host": "192.168.1.51"}]})
    found = settings_in_force(settings, store)
    assert [each.name for each in found.telescopes] == ["garden", "roof"]
    with store.read() as session:
        assert sorted(session.scalars(select(Telescope.name))) == ["garden", "roof"]
    with pytest.raises(SettingsRefused, match="given twice"):
        change(store, settings, {"telescopes": [{**GARDEN, "name": "other"}]})


def test_a_value_that_the_file_has_made_impossible_is_left_out_alone(store: Store, tmp_path: Path) -> None:
    change(
        store,
        configured(tmp_path, telescopes=[{**GARDEN, "name": "roof"}]),
        {"cloud.telescope": "roof", "stacking.grace_s": 30},
    )
    found = settings_in_force(configured(tmp_path, telescopes=[GARDEN]), store)
    assert (found.cloud.telescope, found.stacking.grace_s) == ("", 30.0)


def test_what_fits_the_file_no_more_keeps_nobody_from_pressing_start(store: Store, tmp_path: Path) -> None:
    change(store, configured(tmp_path), {"telescopes": [GARDEN]})
    with_same_address = configured(tmp_path, telescopes=[{**GARDEN, "name": "yard"}])
    assert change(store, with_same_address, {"setup": "done"}).is_set_up
    found = settings_in_force(with_same_address, store)
    assert ([each.name for each in found.telescopes], found.is_set_up) == (["yard"], True)


def test_putting_the_page_on_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path, crowdsky={"quiet_hours": "22:00-06:30"})
    page = {
        "image_watcher.watch_path": ["smb://192.168.1.50/EMMC Images/MyWorks"],
        "telescopes": [GARDEN],
        "setup": "done",
    }
    once = with_page_values(settings, page)
    assert with_page_values(once, page) == once
    assert str(once.image_watcher.watch_path[0].path) == page["image_watcher.watch_path"][0]


CLOUD = "https://cloud.example.org"
NODE = {"cloud.node_id": "garden", "cloud.api_key": "k3y"}


def kept_login(store: Store, settings: Settings) -> dict[str, str]:
    """Give what is kept of the login at the cloud."""
    kept = SecretStore(store, settings.key_path).read()
    return {name: kept[name].get_secret_value() for name in NODE if name in kept}


def test_a_login_is_not_sent_to_another_server_that_a_page_names(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path)
    change(store, settings, {"cloud.url": CLOUD, **NODE})
    change(store, settings, {"cloud.url": f"{CLOUD}/", "cloud.enabled": True})
    assert kept_login(store, settings) == NODE, "it is the same address"
    change(store, settings, {"cloud.url": "https://elsewhere.example.org"})
    found = settings_in_force(settings, store).cloud
    assert (found.url, found.node_id, found.api_key.get_secret_value()) == (
        "https://elsewhere.example.org",
        "",
        "",
    )
    with store.read() as session:
        written = session.scalars(select(SettingChange.key).order_by(SettingChange.id)).all()
    assert set(written[-3:]) == {"cloud.url", *NODE}, "the history says that they are gone"


@pytest.mark.parametrize("between", [None, "https://elsewhere.example.org"])
def test_no_way_round_brings_a_login_to_another_server(
    store: Store, tmp_path: Path, between: str | None
) -> None:
    settings = configured(tmp_path)
    change(store, settings, {"cloud.url": CLOUD, **NODE})
    change(store, settings, {"cloud.url": between, "cloud.node_id": "mine"})
    change(store, settings, {"cloud.url": "https://third.example.org"})
    assert kept_login(store, settings) == {}


def test_a_login_that_is_given_anew_goes_with_its_server(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path)
    change(store, settings, {"cloud.url": CLOUD, **NODE})
    anew = {"cloud.node_id": "yard", "cloud.api_key": "another"}
    change(store, settings, {"cloud.url": "https://elsewhere.example.org", **anew})
    assert kept_login(store, settings) == anew


def test_the_login_of_file_or_environment_keeps_its_address(store: Store, tmp_path: Path) -> None:
    settings = configured(tmp_path, {"SKYRELAY_CLOUD__API_KEY": "k3y"}, cloud={"node_id": "garden"})
    refused = problems(store, settings, cloud__url=CLOUD)
    words = "belongs to cloud.node_id, which is set in the file: set it there as well"
    assert refused == {"cloud.url": words}


def test_every_login_that_is_kept_has_an_address_that_no_page_can_take_from_it(tmp_path: Path) -> None:
    addresses = {"crowdsky": "crowdsky.base_url", "cloud": "cloud.url", "mqtt": "mqtt.host"}
    for name in SECRET_NAMES:
        address = addresses[name.partition(".")[0]]
        assert address in setting_fields()
        assert name in LOGINS.get(address, ()) or why_not_writable(configured(tmp_path), address), name
