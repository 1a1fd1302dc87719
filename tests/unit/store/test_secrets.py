"""Secrets that a person entered."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import select

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force, with_entered_secrets
from skyrelay.store.engine import Store
from skyrelay.store.opening import open_store
from skyrelay.store.secrets import SecretName, SecretStore
from skyrelay.store.tables import AuditEntry, Secret

NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
PASSWORD = "s3cret-päss"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "secret.key"


@pytest.fixture
def secrets(store: Store, key_file: Path) -> SecretStore:
    return SecretStore(store, key_file)


def put(secrets: SecretStore, value: str = PASSWORD, name: SecretName = "crowdsky.password") -> None:
    secrets.put(name, SecretStr(value), now=NOW, actor="person")


def kept(secrets: SecretStore) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secrets.read().items()}


def books(store: Store) -> str:
    """Give all that the database says of secrets."""
    with store.read() as session:
        rows = [*session.scalars(select(Secret)), *session.scalars(select(AuditEntry))]
        return "\n".join(str(vars(row)) for row in rows)


def test_what_was_entered_is_read_again_and_lies_encrypted(
    secrets: SecretStore, store: Store, key_file: Path
) -> None:
    put(secrets)
    assert kept(secrets) == {"crowdsky.password": PASSWORD}
    assert PASSWORD not in books(store)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    put(secrets, "another")
    assert kept(secrets) == {"crowdsky.password": "another"}
    put(secrets, "")
    assert kept(secrets) == {}


def test_a_home_without_secrets_needs_no_key(secrets: SecretStore, key_file: Path) -> None:
    secrets.check_key()
    assert not key_file.exists()


def test_two_that_make_the_key_at_once_have_the_same_one(store: Store, key_file: Path) -> None:
    names: list[SecretName] = ["crowdsky.username", "crowdsky.password", "cloud.node_id", "cloud.api_key"]
    barrier = threading.Barrier(len(names))

    def enter(name: SecretName) -> None:
        barrier.wait()
        put(SecretStore(store, key_file), name, name)

    threads = [threading.Thread(target=enter, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(SecretStore(store, key_file)) == {name: name for name in names}


@pytest.mark.parametrize("key", ["A" * 43 + "=", "no key at all", ""])
def test_a_wrong_key_stops_the_start_with_a_line_that_names_the_file(
    secrets: SecretStore, store: Store, key_file: Path, key: str
) -> None:
    put(secrets)
    key_file.write_text(key, encoding="ascii")
    settings = Settings(
        database_url=SecretStr(store.engine.url.render_as_string(hide_password=False)),
        secret_key_file=key_file,
        setup="done",
    )

    with pytest.raises(ConfigurationError, match=r"secret\.key") as caught:
        open_store(settings, threading.Event())

    assert "\n" not in str(caught.value)
    assert not any(text in str(caught.value) for text in (PASSWORD, key) if text)
    assert caught.value.__cause__ is None


def test_a_missing_key_stops_the_start_and_is_not_made_anew(secrets: SecretStore, key_file: Path) -> None:
    put(secrets)
    key_file.unlink()
    with pytest.raises(ConfigurationError, match="is missing"):
        secrets.check_key()
    with pytest.raises(ConfigurationError, match="is missing"):
        put(secrets, "x", "cloud.api_key")
    assert not key_file.exists()


def test_what_no_key_can_read_can_be_forgotten(secrets: SecretStore, key_file: Path) -> None:
    put(secrets)
    key_file.unlink()
    assert secrets.forget(now=NOW, actor="person") == 1
    put(secrets)
    assert kept(secrets) == {"crowdsky.password": PASSWORD}


def test_a_new_key_reads_everything_and_the_old_one_nothing(
    secrets: SecretStore, store: Store, key_file: Path, tmp_path: Path
) -> None:
    put(secrets)
    put(secrets, "k3y", "cloud.api_key")
    old = key_file.read_text(encoding="ascii")

    assert secrets.rotate(now=NOW, actor="person") == 2

    assert kept(secrets) == {"crowdsky.password": PASSWORD, "cloud.api_key": "k3y"}
    assert len(key_file.read_text(encoding="ascii").split()) == 1
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    stale = tmp_path / "old.key"
    stale.write_text(old, encoding="ascii")
    with pytest.raises(ConfigurationError):
        SecretStore(store, stale).read()


def test_a_kill_in_mid_rotation_leaves_a_file_that_reads_everything(
    secrets: SecretStore, key_file: Path
) -> None:
    put(secrets)
    old = key_file.read_text(encoding="ascii")
    key_file.write_text(f"{Fernet.generate_key().decode()}\n{old}", encoding="ascii")  # step one of three
    assert kept(secrets) == {"crowdsky.password": PASSWORD}

    secrets.rotate(now=NOW, actor="person")

    assert kept(secrets) == {"crowdsky.password": PASSWORD}
    assert old.strip() not in key_file.read_text(encoding="ascii")


def test_a_key_file_that_others_can_read_is_said(
    secrets: SecretStore, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(secrets)
    key_file.chmod(0o644)
    secrets.read()
    assert "can be read by others" in capsys.readouterr().out
    key_file.chmod(0o600)


def test_changes_leave_a_trace_without_the_secret(secrets: SecretStore, store: Store) -> None:
    put(secrets)
    secrets.rotate(now=NOW, actor="person")
    text = books(store)
    assert "key replaced" in text
    assert "crowdsky.password" in text
    assert PASSWORD not in text + repr(secrets) + repr(secrets.read())


# Which credentials count


def entered(**values: str) -> dict[str, SecretStr]:
    return {name.replace("__", "."): SecretStr(value) for name, value in values.items()}


def test_the_settings_win_over_what_was_entered() -> None:
    settings = Settings.model_validate({"crowdsky": {"username": "bob", "password": "his"}})
    found = with_entered_secrets(settings, entered(crowdsky__username="alice", crowdsky__password="hers"))
    assert (found.crowdsky.username, found.crowdsky.password.get_secret_value()) == ("bob", "his")


def test_what_the_settings_leave_out_was_entered() -> None:
    settings = Settings.model_validate({"crowdsky": {"username": "alice"}})
    values = entered(
        crowdsky__username="alice", crowdsky__password="hers", cloud__node_id="n", cloud__api_key="k"
    )
    found = with_entered_secrets(settings, values)
    assert (found.crowdsky.username, found.crowdsky.password.get_secret_value()) == ("alice", "hers")
    assert (found.cloud.node_id, found.cloud.api_key.get_secret_value()) == ("n", "k")


def test_the_parts_of_two_accounts_are_never_mixed() -> None:
    settings = Settings.model_validate({"crowdsky": {"username": "bob"}})
    found = with_entered_secrets(settings, entered(crowdsky__username="alice", crowdsky__password="hers"))
    assert (found.crowdsky.username, found.crowdsky.password.get_secret_value()) == ("bob", "")


def unset(folder: Path, name: str = "skyrelay.db", **crowdsky: str) -> Settings:
    values = {"data_dir": folder, "database_url": f"sqlite:///{folder / name}", "crowdsky": crowdsky}
    return Settings.model_validate(values)


def test_what_was_entered_is_in_force_by_the_configured_database(store: Store, tmp_path: Path) -> None:
    url = store.engine.url.render_as_string(hide_password=False)
    settings = Settings.model_validate({"data_dir": tmp_path, "database_url": url})
    secrets = SecretStore(store, settings.key_path)
    assert settings_in_force(settings) == settings
    put(secrets, "alice", "crowdsky.username")
    put(secrets)
    for found in (settings_in_force(settings), settings_in_force(settings, store, of=["crowdsky"])):
        assert (found.crowdsky.username, found.crowdsky.password.get_secret_value()) == ("alice", PASSWORD)


def test_a_database_that_is_not_there_or_empty_changes_nothing_and_is_not_made(tmp_path: Path) -> None:
    away = unset(tmp_path / "away")
    assert settings_in_force(away) == away
    assert not (tmp_path / "away").exists()
    (tmp_path / "empty.db").touch()
    empty = unset(tmp_path, "empty.db")
    assert settings_in_force(empty) == empty


def test_a_database_that_cannot_be_read_matters_only_where_a_login_is_missing(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    whole = unset(tmp_path, "broken.db", username="alice", password="hers")
    assert settings_in_force(whole, of=["crowdsky"]) == whole
    with pytest.raises(TransientError, match="the database that may hold settings, a user name"):
        settings_in_force(unset(tmp_path, "broken.db"), of=["crowdsky"])


def test_the_key_lies_with_the_data_unless_it_is_put_elsewhere(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).key_path == tmp_path / "secret.key"
    assert Settings(data_dir=tmp_path, secret_key_file=Path("/run/secrets/k")).key_path == Path(
        "/run/secrets/k"
    )
