"""A service in the data folder is seen there, whoever made the lock, or says that it is not."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skyrelay.data_dir_use import nobody_works_in, work_in
from skyrelay.errors import ConfigurationError

_ANOTHER_USER = 65534
_NOT_SEEN = "cannot be locked: stop this service before `skyrelay restore`"

Said = Callable[[], str]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give a folder that another user may look into, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    return lambda: "".join(capsys.readouterr()) + caplog.text


@contextmanager
def without_power() -> Iterator[None]:
    """Be one to whom a file's mode applies: root reads and writes all."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_ANOTHER_USER)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_service_is_seen_by_a_lock_that_it_may_only_read(data_dir: Path, said: Said) -> None:
    lock = data_dir / "services.lock"
    lock.touch()
    lock.chmod(0o444)
    with without_power(), work_in(data_dir):
        refused = pytest.raises(ConfigurationError, match="services work in")
        with refused, nobody_works_in(data_dir):
            pass
    assert said() == ""


def test_one_who_hides_what_he_makes_leaves_a_lock_for_all(data_dir: Path) -> None:
    before = os.umask(0o077)
    try:
        with work_in(data_dir):
            pass
    finally:
        os.umask(before)
    assert (data_dir / "services.lock").stat().st_mode & 0o777 == 0o644


def test_a_lock_that_an_earlier_release_hid_is_shown(data_dir: Path) -> None:
    (data_dir / "services.lock").touch(0o600)
    with work_in(data_dir):
        assert (data_dir / "services.lock").stat().st_mode & 0o777 == 0o644


def test_a_service_that_may_not_even_read_the_lock_works_and_says_so(data_dir: Path, said: Said) -> None:
    lock = data_dir / "services.lock"
    lock.touch()
    lock.chmod(0)
    with without_power(), work_in(data_dir):
        pass
    assert _NOT_SEEN in said()


@pytest.mark.parametrize("trouble", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_on_a_file_system_without_locks_a_service_works_and_a_restore_is_refused(
    data_dir: Path, said: Said, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with work_in(data_dir):
        assert _NOT_SEEN in said()
    refused = pytest.raises(ConfigurationError, match=r"services\.lock cannot be locked")
    with refused, nobody_works_in(data_dir):
        pass
