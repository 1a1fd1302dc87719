"""Credentials come back whole, for their own server alone, and are never written over by mistake."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from skyrelay.cloud.credentials import CredentialStore, CredentialsUnreadable, NodeCredentials

_URL = "https://cloud.example.org"
_OURS = NodeCredentials("node-1", SecretStr("very secret"[:4] + "-key"))


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(tmp_path / "data" / "cloud_state.json")


def test_there_are_none_before_they_are_saved(store: CredentialStore) -> None:
    assert store.load(_URL) is None


def test_they_come_back_and_only_the_owner_may_read_them(store: CredentialStore) -> None:
    store.save(_URL, _OURS)
    assert store.load(_URL) == _OURS
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600
    assert [path.name for path in store.file.parent.iterdir()] == [store.file.name]


def test_another_server_never_sees_them_and_does_not_displace_them(store: CredentialStore) -> None:
    store.save(_URL, _OURS)
    assert store.load("https://other.example.org") is None
    theirs = NodeCredentials("node-2", SecretStr("another"))
    store.save("https://other.example.org", theirs)
    assert store.load("https://other.example.org") == theirs
    assert store.load(_URL) == _OURS


def test_a_file_of_another_program_is_understood(store: CredentialStore) -> None:
    store.file.parent.mkdir()
    store.file.write_text(json.dumps({"node_id": "node-7", "api_key": "abc"}), encoding="utf-8")
    found = store.load(_URL)
    assert found is not None
    assert (found.node_id, found.api_key.get_secret_value()) == ("node-7", "abc")


def test_a_file_of_another_program_belongs_to_the_server_that_took_it(store: CredentialStore) -> None:
    store.bind(_URL)
    assert not store.file.exists()
    store.file.parent.mkdir()
    store.file.write_text(json.dumps({"node_id": "node-7", "api_key": "abc"}), encoding="utf-8")
    store.bind(_URL)
    store.bind("https://other.example.org")
    assert store.load("https://other.example.org") is None
    found = store.load(_URL)
    assert found is not None
    assert found.node_id == "node-7"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"node_id": "x"}', b'{"node_id": "x", "api_key": ""}']
)
def test_a_broken_file_is_an_error_and_stays_as_it_is(store: CredentialStore, content: bytes) -> None:
    store.file.parent.mkdir()
    store.file.write_bytes(content)
    with pytest.raises(CredentialsUnreadable):
        store.load(_URL)
    if b"api_key" not in content:
        with pytest.raises(CredentialsUnreadable):
            store.save(_URL, _OURS)
    assert store.file.read_bytes() == content


def test_they_do_not_show_themselves() -> None:
    assert "very-key" not in repr(_OURS)


@pytest.mark.parametrize(("node_id", "key"), [("", "x"), ("x", ""), ("a\r\nX-Other: 1", "x"), ("x", "ключ")])
def test_what_no_header_carries_is_refused(node_id: str, key: str) -> None:
    with pytest.raises(ValueError, match="header"):
        NodeCredentials(node_id, SecretStr(key))
