"""The share: both servers do for a guest what the telescope's does."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from smbprotocol.connection import Connection, Dialects
from smbprotocol.exceptions import SMBConnectionClosed, SMBOSError

from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.smb_tree import GuestTree
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from skyrelay_simulators.telescope.faults import LoseRename, RefuseRename
from skyrelay_simulators.telescope.smb_server import find_smbd
from support.left_out import left_out
from support.waiting import eventually

from .conftest import MakeTelescope

TEN_S = timedelta(seconds=10)


@pytest.fixture(params=[SmbBackend.SMBD, SmbBackend.IMPACKET])
def backend(request: pytest.FixtureRequest) -> SmbBackend:
    """Each server in turn."""
    if request.param is SmbBackend.SMBD and find_smbd() is None:
        left_out("smbd is not installed: install the package samba")
    return SmbBackend(request.param)


@pytest.fixture
def smbclient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """smbprotocol's client, made to accept a guest's session, which has no key to check answers with."""
    # impacket installs a script of the same name beside pytest's, where Python would look first.
    scripts = Path(sys.executable).parent
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry) != scripts])
    client = importlib.import_module("smbclient")
    config = client.ClientConfig()
    before = config.require_secure_negotiate
    config.require_secure_negotiate = False
    yield client
    config.require_secure_negotiate = before


@pytest.fixture
def guest(make_telescope: MakeTelescope, backend: SmbBackend, smbclient: Any) -> Iterator[_Guest]:
    """A guest's session with a telescope's share."""
    visitor = _Guest(smbclient, make_telescope(smb_backend=backend))
    yield visitor
    visitor.leave()


class _Guest:
    def __init__(self, client: Any, telescope: SimulatedTelescope, share: str = "EMMC Images") -> None:
        self.client = client
        self.telescope = telescope
        self._cache: dict[str, Any] = {}
        self._session = {
            "username": "guest",
            "password": "",
            "port": telescope.endpoint.smb_port,
            "require_signing": False,
            "connection_cache": self._cache,
        }
        self._root = rf"\\{telescope.endpoint.host}\{share}"
        client.register_session(telescope.endpoint.host, **self._session)

    def leave(self) -> None:
        self.client.reset_connection_cache(connection_cache=self._cache)

    def call(self, verb: str, *paths: str, **options: Any) -> Any:
        places = [f"{self._root}\\{path}".replace("/", "\\") for path in paths]
        return getattr(self.client, verb)(*places, **self._session, **options)

    def sizes(self, folder: str) -> dict[str, int]:
        return {entry.name: entry.smb_info.end_of_file for entry in self.call("scandir", folder)}


def test_a_guest_lists_names_and_exact_sizes(guest: _Guest) -> None:
    folder = guest.telescope.emmc.target_folder("M 81_sub")
    (folder / "Light_M 81_20.0s_LP_20260227-225203.fit").write_bytes(bytes(4_152_960))
    (folder / "größe.txt").write_bytes(b"1")
    assert guest.sizes("MyWorks/M 81_sub") == {
        "Light_M 81_20.0s_LP_20260227-225203.fit": 4_152_960,
        "größe.txt": 1,
    }
    assert list(guest.sizes("MyWorks")) == ["M 81_sub"]


def test_a_folder_of_many_files_is_listed_whole(guest: _Guest) -> None:
    folder = guest.telescope.emmc.target_folder("M 81_sub")
    names = {f"Light_M 81_20.0s_LP_20260227-2252{number:04d}.fit" for number in range(1500)}
    for name in names:
        (folder / name).touch()
    assert set(guest.sizes("MyWorks/M 81_sub")) == names


def test_a_guest_renames(guest: _Guest) -> None:
    folder = guest.telescope.emmc.target_folder("M 81")
    (folder / "DSO_Stacked_4_M 81.fit").write_bytes(b"stack")
    guest.call("rename", "MyWorks/M 81/DSO_Stacked_4_M 81.fit", "MyWorks/M 81/CrowdSky_4_M 81.fit")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"CrowdSky_4_M 81.fit": b"stack"}


def test_a_rename_is_refused_with_either_server(guest: _Guest) -> None:
    folder = guest.telescope.emmc.target_folder("M 81")
    (folder / "old.fit").write_bytes(b"stack")
    guest.telescope.switch_on(RefuseRename(times=1))
    with pytest.raises(SMBOSError, match="ACCESS_DENIED"):
        guest.call("rename", "MyWorks/M 81/old.fit", "MyWorks/M 81/new.fit")
    assert [path.name for path in folder.iterdir()] == ["old.fit"]
    guest.call("rename", "MyWorks/M 81/old.fit", "MyWorks/M 81/new.fit")
    assert [path.name for path in folder.iterdir()] == ["new.fit"]


def test_a_renames_answer_is_lost_with_either_server(
    make_telescope: MakeTelescope, backend: SmbBackend
) -> None:
    telescope = make_telescope(smb_backend=backend)
    folder = telescope.emmc.target_folder("M 81")
    (folder / "old.fit").write_bytes(b"stack")
    telescope.switch_on(LoseRename())
    at = telescope.endpoint
    tree = GuestTree(at.host, at.smb_port, ["EMMC Images"], Deadline.after(TEN_S), TEN_S)
    with pytest.raises(SMBConnectionClosed):
        tree.rename("MyWorks\\M 81\\old.fit", "MyWorks\\M 81\\new.fit")
    tree.abandon()
    assert [path.name for path in folder.iterdir()] == ["new.fit"]
    [rename] = telescope.journal.entries(channel="smb", method="rename")
    assert rename.params == {"path": "MyWorks/M 81/new.fit"}
    assert telescope.faults.to_json()["happened"] == {"lose_rename": 1}


def test_what_is_asked_of_the_share_is_in_the_journal(guest: _Guest) -> None:
    guest.sizes("MyWorks")
    asked = [(entry.method, entry.params) for entry in guest.telescope.journal.entries(channel="smb")]
    assert ("create", {"path": "MyWorks"}) in asked
    assert {"negotiate", "session_setup", "tree_connect", "query_directory"} <= {name for name, _ in asked}


def test_a_rename_never_replaces_another_file(guest: _Guest) -> None:
    folder = guest.telescope.emmc.target_folder("M 81")
    (folder / "old.fit").write_bytes(b"old")
    (folder / "new.fit").write_bytes(b"new")
    # An smbd that is not root's refuses it in other words.
    with pytest.raises(SMBOSError, match=r"exists|ACCESS_DENIED"):
        guest.call("rename", "MyWorks/M 81/new.fit", "MyWorks/M 81/old.fit")
    assert (folder / "old.fit").read_bytes() == b"old"


def test_what_is_not_there_is_said_so(guest: _Guest) -> None:
    for verb, paths in {"rename": ("nothing.fit", "other.fit"), "stat": ("nothing.fit",)}.items():
        with pytest.raises(SMBOSError) as raised:
            guest.call(verb, *(f"MyWorks/{path}" for path in paths))
        assert raised.value.errno == errno.ENOENT


def test_a_guest_uploads_reads_and_deletes(guest: _Guest) -> None:
    content = os.urandom(3_000_000)
    with guest.call("open_file", "MyWorks/up.fit", mode="wb") as file:
        file.write(content)
    assert (guest.telescope.spec.root / "MyWorks" / "up.fit").read_bytes() == content
    with guest.call("open_file", "MyWorks/up.fit", mode="rb") as file:
        assert file.read() == content
    guest.call("remove", "MyWorks/up.fit")
    assert guest.sizes("MyWorks") == {}


def test_some_firmware_names_the_share_otherwise(
    make_telescope: MakeTelescope, backend: SmbBackend, smbclient: Any
) -> None:
    visitor = _Guest(smbclient, make_telescope(smb_backend=backend, share="Seestar"), "Seestar")
    assert visitor.sizes("MyWorks") == {}
    visitor.leave()


def test_a_taken_port_is_said_so(make_telescope: MakeTelescope, backend: SmbBackend) -> None:
    taken = make_telescope().endpoint.http_port
    with pytest.raises(OSError, match="in use"):
        make_telescope(serial="second", smb_backend=backend, smb_port=taken)


def test_the_server_ends_with_the_telescope(make_telescope: MakeTelescope, backend: SmbBackend) -> None:
    telescope = make_telescope(smb_backend=backend)
    assert telescope.smb_server is not None
    ports = (telescope.endpoint.smb_port, telescope.smb_server[1])
    assert [_listens(port) for port in ports] == [True, True]
    telescope.stop()
    assert [_listens(port) for port in ports] == [False, False]


def test_the_server_ends_when_the_simulator_is_killed(tmp_path: Path, backend: SmbBackend) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from skyrelay_simulators.telescope import *\n"
        f"root, backend = Path({str(tmp_path)!r}), SmbBackend({backend.value!r})\n"
        "spec = TelescopeSpec(serial='x', root=root, smb_backend=backend)\n"
        "print(SimulatedTelescope(spec).start().smb_server[1], flush=True); time.sleep(600)\n"
    )
    simulator = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert simulator.stdout is not None
    with simulator.stdout:
        port = int(simulator.stdout.readline())
    assert _listens(port)
    simulator.kill()
    simulator.wait()
    eventually(lambda: not _listens(port), within_s=10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_client_of_the_oldest_dialect_gets_in(make_telescope: MakeTelescope, backend: SmbBackend) -> None:
    endpoint = make_telescope(smb_backend=backend).endpoint
    connection = Connection(uuid4(), endpoint.host, endpoint.smb_port, require_signing=False)

    connection.connect(Dialects.SMB_2_0_2)  # all that pysmb, the public client's library, has to offer

    assert connection.dialect == Dialects.SMB_2_0_2
    connection.disconnect()
