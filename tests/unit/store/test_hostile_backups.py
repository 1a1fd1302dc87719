"""Backups that were cut off, changed or made to do harm: a `BackupError`, and a home stays as it is."""

from __future__ import annotations

import json
import tempfile
import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.backup.errors import BackupError
from skyrelay.backup.restoring import restore
from skyrelay.backup.saving import save
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.recorded_night import RecordedNight

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a backup of a home with one telescope."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store(f"sqlite:///{folder / 'skyrelay.db'}")
    migrate(store)
    with store.write() as session:
        RecordedNight(session).telescope()
    save(Settings(data_dir=folder, setup="done"), store, folder / "home.zip", now=NOW)
    store.close()
    return (folder / "home.zip").read_bytes()


def restored(place: Path, content: bytes) -> set[str]:
    """Restore into a new home; give what lies there afterwards, less the database's own files."""
    (place / "home.zip").write_bytes(content)
    store = Store(f"sqlite:///{place / 'data' / 'other.db'}")
    try:
        with suppress(BackupError):
            restore(Settings(data_dir=place / "data", setup="done"), store, place / "home.zip", now=NOW)
    finally:
        store.close()
    found = {str(path.relative_to(place)) for path in place.rglob("*")}
    return {name for name in found if "other.db" not in name} - {"home.zip", "data"}


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_what_was_cut_off_or_changed_somewhere_is_restored_or_refused(
    saved: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(saved) - 1), "at")
    put = data.draw(st.binary(max_size=4), "put")
    rest = saved[at + len(put) :] if data.draw(st.booleans(), "goes on") else b""
    with tempfile.TemporaryDirectory() as folder:
        assert restored(Path(folder), saved[:at] + put + rest) == set()


def with_member(saved: bytes, place: Path, name: str, content: bytes | None, *, mode: int = 0) -> bytes:
    """Give a backup with a file of a home; without content, one that unpacks to much more."""
    source, changed = place / "source.zip", place / "changed.zip"
    source.write_bytes(saved)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            kept = old.read(member)
            if member == "manifest.json":
                kept = json.dumps(json.loads(kept) | {"files": [name]}).encode()
            new.writestr(member, kept)
        entry = zipfile.ZipInfo(f"files/{name}")
        entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        new.writestr(entry, bytes(200_000_000) if content is None else content)
    whole = changed.read_bytes()
    source.unlink()
    changed.unlink()
    return whole


def test_a_bomb_is_not_unpacked(saved: bytes, tmp_path: Path) -> None:
    bomb = with_member(saved, tmp_path, "cloud_state.json", None)
    assert len(bomb) < 1_000_000
    assert restored(tmp_path, bomb) == set()


def test_a_link_in_an_archive_is_no_link_in_a_home(saved: bytes, tmp_path: Path) -> None:
    linked = with_member(saved, tmp_path, "cloud_state.json", b"/etc/passwd", mode=0o120777)
    restored(tmp_path, linked)
    assert [path for path in tmp_path.rglob("*") if path.is_symlink()] == []
