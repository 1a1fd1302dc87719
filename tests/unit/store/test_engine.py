"""The database keeps what it promises: WAL, foreign keys, one writer at a time, no network drives."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from skyrelay.errors import ConfigurationError
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Destination, Frame, Telescope
from support.recorded_night import RecordedNight

_EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
_DISK = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"

# Reads a figure, thinks, and writes it back raised by one: what two writers at once would spoil.
_COUNTING = """
import sys
from skyrelay.store.engine import Store
from skyrelay.store.tables import Telescope
store = Store(sys.argv[1])
for _ in range(50):
    with store.write() as session:
        row = session.get_one(Telescope, 1)
        row.battery_percent += 1
"""

_FORKING = """
import os, sys
from sqlalchemy import select
from skyrelay.store.engine import Store
from skyrelay.store.tables import Destination

def look():
    with store.read() as session:
        return session.scalars(select(Destination.name)).all() == ["crowdsky"]

store = Store(sys.argv[1])
assert look()
child = os.fork()
if child == 0:
    store.forget_connections()
    os._exit(0 if look() else 1)
assert os.waitpid(child, 0)[1] == 0
assert look()
store.close()
"""


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'skyrelay.db'}"


def test_each_connection_to_sqlite_is_set_up(tmp_path: Path) -> None:
    store = Store(url_of(tmp_path))
    with store.read() as session:
        pragmas = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    store.close()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000, "synchronous": 2}


def test_a_row_cannot_point_to_nothing(store: Store) -> None:
    with (
        pytest.raises(IntegrityError, match=re.compile("foreign key", re.IGNORECASE)),
        store.write() as session,
    ):
        RecordedNight(session).frame(Telescope(id=99, name="nowhere"), "M 94", _EVENING)
    with store.read() as session:
        assert session.scalars(select(Frame)).all() == []


def test_what_fails_half_way_leaves_nothing(store: Store) -> None:
    def fail_half_way() -> None:
        with store.write() as session:
            session.add(Destination(name="crowdsky"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with store.read() as session:
        assert session.scalars(select(Destination)).all() == []


def test_a_reader_sees_one_moment_and_is_not_held_up_by_a_writer(store: Store) -> None:
    with store.write() as writing, store.read() as reading:
        writing.add(Destination(name="crowdsky"))
        writing.flush()
        assert reading.scalars(select(Destination.name)).all() == []
        writing.commit()
        assert reading.scalars(select(Destination.name)).all() == []
    with store.read() as session:
        assert session.scalars(select(Destination.name)).all() == ["crowdsky"]


@pytest.fixture
def other(store: Store, database_url: str) -> Iterator[Store]:
    """Give a second store on the same database, as another process has."""
    other = Store(database_url)
    yield other
    other.close()


def test_a_writer_holds_the_lock_from_its_first_look(store: Store, other: Store) -> None:
    """Two that read first and write then would both have read the old figure."""
    order: list[str] = []

    def write_second() -> None:
        with other.write() as session:
            session.add(Destination(name="second"))
            session.flush()
            order.append("second")

    thread = threading.Thread(target=write_second)
    with store.write() as session:
        session.scalars(select(Destination)).all()
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_two_processes_that_write_wait_for_each_other(store: Store, database_url: str) -> None:
    with store.write() as session:
        RecordedNight(session).telescope(battery_percent=0)
    writers = [
        subprocess.Popen([sys.executable, "-c", _COUNTING, database_url], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert errors == ["", ""]
    with store.read() as session:
        assert session.scalar(select(Telescope.battery_percent)) == 100


def test_the_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    store = Store(url_of(tmp_path / "not" / "yet"))
    migrate(store)
    store.close()
    assert (tmp_path / "not" / "yet" / "skyrelay.db").is_file()


@pytest.mark.parametrize("kind", ["cifs", "nfs", "nfs4", "smb3", "fuse.sshfs", "9p"])
def test_a_network_drive_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"{_DISK}40 21 0:50 / {tmp_path}/nas rw - {kind} //nas/share rw\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="network file system") as caught:
        Store(url_of(tmp_path / "nas" / "skyrelay"), mountinfo=mountinfo)
    message = str(caught.value)
    assert f"({kind})" in message
    assert str(tmp_path / "nas" / "skyrelay" / "skyrelay.db") in message
    assert "local disk" in message
    assert not (tmp_path / "nas").exists()


def test_a_local_disk_beside_a_network_drive_is_welcome(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"{_DISK}40 21 0:50 / {tmp_path}/nas rw - cifs //nas/share rw\n", encoding="utf-8")
    store = Store(url_of(tmp_path), mountinfo=mountinfo)
    migrate(store)
    store.close()


@pytest.mark.parametrize(
    "url", ["", "skyrelay.db", "sqlite://", "mysql://u:secret@host/db", "postgresql://u:secret@host:port/db"]
)
def test_an_address_that_names_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database_url") as caught:
        Store(url)
    assert "sqlite:///file" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_forked_child_leaves_its_parents_connections_alone(store: Store, database_url: str) -> None:
    with store.write() as session:
        session.add(Destination(name="crowdsky"))
    ran = subprocess.run(
        [sys.executable, "-c", _FORKING, database_url], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_writer_that_may_wait_for_a_moment_only_gives_up_and_the_next_waits_again(
    store: Store, other: Store
) -> None:
    with store.write() as writing:
        writing.add(Destination(name="crowdsky"))
        writing.flush()
        with pytest.raises(OperationalError), other.write(within=timedelta(milliseconds=50)) as late:
            late.add(Destination(name="late"))
        waiting = threading.Thread(target=lambda: _add(other, "second"))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(20)
    with store.read() as session:
        assert set(session.scalars(select(Destination.name))) == {"crowdsky", "second"}


def _add(store: Store, name: str) -> None:
    with store.write() as session:
        session.add(Destination(name=name))
