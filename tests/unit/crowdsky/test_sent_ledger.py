"""What was sent is remembered, by account; who was logged in is not written down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from skyrelay.crowdsky.sent_ledger import Sent, SentLedger, UploadRunning
from skyrelay.errors import TransientError

NOW = datetime(2025, 3, 27, 2, 0, tzinfo=UTC)
URL = "https://crowdsky.example"


def test_what_was_sent_is_known_to_the_next_run(tmp_path: Path) -> None:
    SentLedger(tmp_path, URL, "alice").begin("one", NOW)
    SentLedger(tmp_path, URL, "alice").accept("two", NOW)

    later = SentLedger(tmp_path, URL, "alice")
    assert later.find("one") == Sent(NOW, accepted=False)
    assert later.find("two") == Sent(NOW, accepted=True)
    assert later.find("three") is None


def test_what_was_surely_not_taken_is_forgotten(tmp_path: Path) -> None:
    ledger = SentLedger(tmp_path, URL, "alice")
    ledger.begin("one", NOW)
    ledger.forget("one")

    assert ledger.find("one") is None


def test_accounts_are_apart_and_not_named(tmp_path: Path) -> None:
    SentLedger(tmp_path, URL, "alice").begin("one", NOW)

    assert SentLedger(tmp_path, URL, "bob").find("one") is None
    assert SentLedger(tmp_path, "https://staging.example", "alice").find("one") is None
    assert not any(b"alice" in path.read_bytes() for path in tmp_path.iterdir())


def test_looking_writes_nothing(tmp_path: Path) -> None:
    assert SentLedger(tmp_path / "data", URL, "alice").find("one") is None
    assert not (tmp_path / "data").exists()


def test_only_one_uploads_at_a_time(tmp_path: Path) -> None:
    ledger = SentLedger(tmp_path, URL, "alice")
    with ledger.alone(), pytest.raises(UploadRunning, match="another upload is running"), ledger.alone():
        pass
    with ledger.alone():
        pass


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ledger = SentLedger(tmp_path / "file", URL, "alice")

    with pytest.raises(TransientError, match="set data_dir"):
        ledger.begin("one", NOW)
    with pytest.raises(TransientError, match="set data_dir"), ledger.alone():
        pass


def test_a_memory_that_is_damaged_is_said_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "crowdsky-sent.sqlite3").write_bytes(b"no database" * 1000)

    with pytest.raises(TransientError, match="set data_dir"):
        SentLedger(tmp_path, URL, "alice").find("one")
