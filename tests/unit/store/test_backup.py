"""A backup holds everything, of either database and for either; what is wrong with one changes nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, select

from skyrelay.backup import BackupError, restore, save, upgrade
from skyrelay.backup.rows import tables_of
from skyrelay.data_dir_use import nobody_works_in
from skyrelay.domain.states import BlockState
from skyrelay.errors import ConfigurationError
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated, migrate
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import Telescope
from skyrelay.store.transitions import audit
from support.recorded_night import RecordedNight

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings(data_dir=tmp_path / "data", setup="done")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """Give another home's database, of which nothing is made yet."""
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    yield other
    other.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a backup of a filled database."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store(f"sqlite:///{folder / 'skyrelay.db'}")
    migrate(store)
    fill(store)
    save(Settings(data_dir=folder, setup="done"), store, folder / "home.zip", now=_NOW)
    store.close()
    return folder / "home.zip"


def fill(store: Store, target: str = "M 94") -> None:
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope()
        for hour in range(12):
            start_local = datetime(2025, 3, 26, 20) + timedelta(hours=hour)  # noqa: DTZ001 - local
            night.block(telescope, target, start_local, BlockState.STACKED, frames=90)
        audit(
            session,
            now=_NOW,
            actor="person",
            subject=("block", 1),
            event="tried",
            detail={"why": ["ü", None]},
        )


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in tables_of(connection)
        }


def test_what_was_saved_is_what_comes_back(
    settings: Settings, store: Store, other: Store, tmp_path: Path
) -> None:
    fill(store)
    manifest = save(settings, store, tmp_path / "home.zip", now=_NOW)
    assert {table.name: table.rows for table in manifest.tables}["frames"] == 1080
    restored = restore(settings, other, tmp_path / "home.zip", now=_NOW)
    check_migrated(other)
    assert restored.manifest == manifest
    assert everything(other) == everything(store)


def test_a_backup_goes_to_either_database_and_the_numbering_goes_on(
    settings: Settings, store: Store, other: Store, tmp_path: Path
) -> None:
    migrate(other)
    fill(other)
    save(settings, other, tmp_path / "home.zip", now=_NOW)
    restore(settings, store, tmp_path / "home.zip", now=_NOW)
    assert everything(store) == everything(other)
    with store.write() as session:
        added = RecordedNight(session).telescope("roof")
        session.flush()
        assert added.id == 2


def test_a_backup_sees_one_moment_while_others_write(
    settings: Settings, store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    before = everything(store)
    reading = tables_of

    def and_somebody_writes(connection: Any) -> Any:
        tables = reading(connection)
        list(connection.execute(select(tables[0])))  # from here on this transaction's moment is fixed
        fill_more(store)
        return tables

    monkeypatch.setattr("skyrelay.backup.saving.tables_of", and_somebody_writes)
    save(settings, store, tmp_path / "home.zip", now=_NOW)
    restore(settings, other, tmp_path / "home.zip", now=_NOW)
    assert everything(other) == before
    assert everything(store) != before


def fill_more(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        start_local = datetime(2025, 3, 28, 1)  # noqa: DTZ001 - local
        night.block(session.scalars(select(Telescope)).one(), "M 81", start_local, frames=3)


def test_a_home_is_replaced_only_when_that_is_said(settings: Settings, store: Store, saved: Path) -> None:
    fill(store, "M 51")
    before = everything(store)
    with pytest.raises(BackupError, match="holds a home already"):
        restore(settings, store, saved, now=_NOW)
    assert everything(store) == before
    restore(settings, store, saved, now=_NOW, replace=True)
    assert {row[3] for row in everything(store)["blocks"]} != {row[3] for row in before["blocks"]}
    assert len(everything(store)["frames"]) == len(before["frames"])


def test_the_key_is_left_out_and_what_it_opened_is_named(
    settings: Settings, store: Store, other: Store, tmp_path: Path
) -> None:
    SecretStore(store, settings.key_path).put(
        "crowdsky.password", SecretStr("hush"), now=_NOW, actor="person"
    )
    save(settings, store, tmp_path / "without.zip", now=_NOW)
    assert zipfile.ZipFile(tmp_path / "without.zip").namelist().count("files/secret.key") == 0
    [to_enter] = restore(settings, other, tmp_path / "without.zip", now=_NOW).to_enter_again
    assert "skyrelay secrets set" in to_enter
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    restore(elsewhere, other, tmp_path / "without.zip", now=_NOW, replace=True)
    SecretStore(other, elsewhere.key_path).put(
        "crowdsky.password", SecretStr("anew"), now=_NOW, actor="person"
    )


def test_with_the_key_the_secrets_come_back(
    settings: Settings, store: Store, other: Store, tmp_path: Path
) -> None:
    SecretStore(store, settings.key_path).put(
        "crowdsky.password", SecretStr("hush"), now=_NOW, actor="person"
    )
    save(settings, store, tmp_path / "home.zip", now=_NOW, with_key=True)
    assert stat.S_IMODE((tmp_path / "home.zip").stat().st_mode) == 0o600
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    elsewhere.data_dir.mkdir()
    assert restore(elsewhere, other, tmp_path / "home.zip", now=_NOW).to_enter_again == ()
    assert stat.S_IMODE(elsewhere.key_path.stat().st_mode) == 0o600
    kept = SecretStore(other, elsewhere.key_path).read()
    assert kept["crowdsky.password"].get_secret_value() == "hush"


def test_a_key_that_cannot_be_put_in_place_leaves_rows_and_keys_as_they_were(
    settings: Settings, store: Store, other: Store, tmp_path: Path
) -> None:
    SecretStore(store, settings.key_path).put(
        "crowdsky.password", SecretStr("hush"), now=_NOW, actor="person"
    )
    keys = settings.data_dir / "keys"
    keys.mkdir()
    (keys / "garden.pem").write_text("a key")
    save(settings, store, tmp_path / "home.zip", now=_NOW, with_key=True)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    migrate(other)
    fill(other, target="M 51")
    SecretStore(other, elsewhere.key_path).put("mqtt.password", SecretStr("own"), now=_NOW, actor="person")
    before, key = everything(other), elsewhere.key_path.read_bytes()
    (elsewhere.data_dir / "keys" / "garden.pem").mkdir(parents=True)  # where a file belongs
    with pytest.raises(BackupError, match="cannot be restored"):
        restore(elsewhere, other, tmp_path / "home.zip", now=_NOW, replace=True)
    assert everything(other) == before
    assert elsewhere.key_path.read_bytes() == key
    assert [file.name for file in (elsewhere.data_dir / "keys").iterdir()] == ["garden.pem"]


# Restores a backup and is killed at a moment of it.
_CUT_SHORT = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from skyrelay.backup import replacing, restore
from skyrelay.settings import Settings
from skyrelay.store.engine import Store

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def swap_and_die(files, connection):
    swap(files, connection)
    die()

data, url, file, moment = sys.argv[1:]
if moment == "before the keys change":
    replacing._keep = die
elif moment == "between keys and rows":
    swap, replacing.Replacing.swap = replacing.Replacing.swap, swap_and_die
else:
    replacing.Replacing.__exit__ = die
settings = Settings(data_dir=Path(data), setup="done")
restore(settings, Store(url), Path(file), now=datetime.now(UTC), replace=True)
"""


@pytest.fixture
def with_key(settings: Settings, other: Store, tmp_path: Path) -> Path:
    """Give a backup of another home, with its keys."""
    migrate(other)
    keep_secret(settings, other, "theirs")
    for name in ("garden.pem", "roof.pem"):
        (settings.data_dir / "keys").mkdir(exist_ok=True)
        (settings.data_dir / "keys" / name).write_text("theirs")
    save(settings, other, tmp_path / "theirs.zip", now=_NOW, with_key=True)
    return tmp_path / "theirs.zip"


def keep_secret(settings: Settings, store: Store, value: str) -> None:
    secrets = SecretStore(store, settings.key_path)
    secrets.put("crowdsky.password", SecretStr(value), now=_NOW, actor="person")


@pytest.fixture
def home(settings: Settings, store: Store, tmp_path: Path) -> Settings:
    """Give a home with a key of its own, and one of two telescopes' keys."""
    home = settings.model_copy(update={"data_dir": tmp_path / "home"})
    keep_secret(home, store, "own")
    (home.data_dir / "keys").mkdir()
    (home.data_dir / "keys" / "garden.pem").write_text("own")
    return home


def state_of(home: Settings, store: Store) -> tuple[str, dict[str, str]]:
    """Give the secret, read with the key that is there, and each telescope's key; hidden files too."""
    secret = SecretStore(store, home.key_path).read()["crowdsky.password"].get_secret_value()
    folder = home.data_dir / "keys"
    return secret, {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("moment", "is_restored", "begins_by"),
    [
        ("before the keys change", False, "starting"),
        ("between keys and rows", False, "starting"),
        ("between keys and rows", False, "restoring"),
        ("after the rows", True, "starting"),
    ],
)
def test_a_restore_that_is_killed_leaves_keys_and_rows_that_belong_together(
    home: Settings,
    store: Store,
    database_url: str,
    with_key: Path,
    moment: str,
    is_restored: bool,
    begins_by: str,
) -> None:
    arguments = [str(home.data_dir), database_url, str(with_key), moment]
    ran = subprocess.run([sys.executable, "-c", _CUT_SHORT, *arguments], check=False, timeout=120)
    assert ran.returncode == -signal.SIGKILL
    if begins_by == "starting":
        assert upgrade(home, store, now=_NOW) is None
    else:
        with pytest.raises(BackupError, match="holds a home already"):
            restore(home, store, with_key, now=_NOW)
    theirs = {"garden.pem": "theirs", "roof.pem": "theirs"}
    assert state_of(home, store) == (("theirs", theirs) if is_restored else ("own", {"garden.pem": "own"}))
    assert list(home.data_dir.glob("restore.journal")) == []
    assert list(home.data_dir.glob(".*")) == []
    assert not [name for name in everything(store) if name.startswith("skyrelay")]
    with store.engine.connect() as connection:
        assert not [name for name in inspect(connection).get_table_names() if name.startswith("skyrelay")]


def test_a_restore_under_way_is_not_undone_by_one_who_starts(
    home: Settings, store: Store, database_url: str, with_key: Path
) -> None:
    arguments = [str(home.data_dir), database_url, str(with_key), "between keys and rows"]
    subprocess.run([sys.executable, "-c", _CUT_SHORT, *arguments], check=False, timeout=120)
    refused = pytest.raises(ConfigurationError)
    with nobody_works_in(home.data_dir), refused:
        upgrade(home, store, now=_NOW)
    assert (home.data_dir / "keys" / "garden.pem").read_text() == "theirs"


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_file_system_without_hard_links_is_no_obstacle(
    home: Settings, store: Store, with_key: Path, monkeypatch: pytest.MonkeyPatch, *, is_broken: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    save(home, store, home.data_dir / "copy.zip", now=_NOW, with_key=True)
    if is_broken:
        (home.data_dir / "keys" / "roof.pem").mkdir()
        with pytest.raises(BackupError, match="cannot be restored"):
            restore(home, store, with_key, now=_NOW, replace=True)
        (home.data_dir / "keys" / "roof.pem").rmdir()
        assert state_of(home, store) == ("own", {"garden.pem": "own"})
    else:
        restore(home, store, with_key, now=_NOW, replace=True)
        assert state_of(home, store)[0] == "theirs"


def test_a_key_that_is_too_large_is_refused_by_name(
    home: Settings, store: Store, with_key: Path, tmp_path: Path
) -> None:
    large = b"k" * (1024 * 1024 + 1)
    changed = rewritten(with_key, tmp_path / "large.zip", "files/keys/roof.pem", large)
    with pytest.raises(BackupError, match=r"files/keys/roof\.pem in the backup is too large"):
        restore(home, store, changed, now=_NOW, replace=True)
    (home.data_dir / "keys" / "roof.pem").write_bytes(large)
    with pytest.raises(BackupError, match=r"roof\.pem is too large"):
        save(home, store, tmp_path / "copy.zip", now=_NOW, with_key=True)
    assert not (tmp_path / "copy.zip").exists()


def test_a_hidden_file_beside_the_keys_is_in_no_backup_since_none_would_take_it_back(
    home: Settings, store: Store, tmp_path: Path
) -> None:
    (home.data_dir / "keys" / ".garden.pem.swp").write_text("an editor's")
    manifest = save(home, store, tmp_path / "copy.zip", now=_NOW, with_key=True)
    assert "keys/garden.pem" in manifest.files
    assert "keys/.garden.pem.swp" not in manifest.files


def rewritten(file: Path, changed: Path, name: str, content: bytes) -> Path:
    """Give a copy of a backup in which one member holds something else."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(changed, "w") as copy:
        for member in archive.namelist():
            copy.writestr(member, content if member == name else archive.read(member))
    return changed


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("manifest.json", b"{}", "no backup of Skyrelay"),
        ("manifest.json", b"\xff", "no backup of Skyrelay"),
        ("tables/blocks.jsonl", b"", "damaged: tables/blocks.jsonl"),
        ("tables/blocks.jsonl", b"[1]\n", "does not hold what it says"),
        ("tables/blocks.jsonl", b"{", "does not hold what it says"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    settings: Settings, other: Store, tmp_path: Path, saved: Path, name: str, content: bytes, said: str
) -> None:
    changed = rewritten(saved, tmp_path / "home.zip", name, content)
    with pytest.raises(BackupError, match=said):
        restore(settings, other, changed, now=_NOW, replace=True)
    assert everything(other) == {}


@pytest.mark.parametrize(
    "member", ["../escaped", "keys/../../escaped", "/etc/escaped", "keys/.hidden", "up.lock"]
)
def test_a_file_that_is_none_of_ours_is_not_written(
    settings: Settings, other: Store, tmp_path: Path, saved: Path, member: str
) -> None:
    changed = with_manifest(saved, tmp_path / "home.zip", files=[member])
    with zipfile.ZipFile(changed, "a") as archive:
        archive.writestr(f"files/{member}", "x")
    with pytest.raises(BackupError, match="none of ours"):
        restore(settings, other, changed, now=_NOW)
    assert everything(other) == {}
    assert list(tmp_path.rglob("escaped")) == []


def with_manifest(file: Path, changed: Path, **fields: Any) -> Path:
    """Give a copy of a backup that says something else of itself."""
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json")) | fields
    return rewritten(file, changed, "manifest.json", json.dumps(manifest).encode())


def test_what_is_no_archive_at_all_is_named(settings: Settings, other: Store, tmp_path: Path) -> None:
    (tmp_path / "home.zip").write_bytes(b"PK\x03\x04 half a download")
    with pytest.raises(BackupError, match=r"home\.zip is damaged, or no backup"):
        restore(settings, other, tmp_path / "home.zip", now=_NOW)


def test_a_backup_of_a_later_release_is_left_alone(
    settings: Settings, other: Store, tmp_path: Path, saved: Path
) -> None:
    changed = with_manifest(saved, tmp_path / "home.zip", schema_revision="9999")
    with pytest.raises(BackupError, match="later than this one"):
        restore(settings, other, changed, now=_NOW)


def test_no_backup_is_written_over_another(settings: Settings, other: Store, tmp_path: Path) -> None:
    (tmp_path / "home.zip").write_text("mine")
    with pytest.raises(BackupError, match="is there already"):
        save(settings, other, tmp_path / "home.zip", now=_NOW)
    assert (tmp_path / "home.zip").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".home")] == []


def test_a_database_of_an_earlier_release_is_copied_before_it_is_brought_to_this_one(
    settings: Settings, tmp_path: Path, other: Store
) -> None:
    old = Store(f"sqlite:///{tmp_path / 'old.db'}")
    migrate(old, to="0004")
    assert upgrade(settings, old, now=_NOW) is not None
    check_migrated(old)
    assert upgrade(settings, old, now=_NOW) is None  # nothing to do: no copy
    old.close()
    [copy] = (settings.data_dir / "backups").iterdir()
    assert restore(settings, other, copy, now=_NOW).manifest.schema_revision == "0004"
    check_migrated(other)
