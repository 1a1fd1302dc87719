"""Secrets that a person entered: encrypted in the database, under a key that lies in a file of its own.

The file holds one Fernet key a line. The first encrypts; the others, which are there only while a key is
being replaced, still decrypt. It is read anew for each unit of work, so that no process has to be told of a
new key.
"""

from __future__ import annotations

import importlib
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.store.engine import Store
from skyrelay.store.tables import Secret
from skyrelay.store.transitions import audit

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

SecretName = Literal[
    "crowdsky.username",
    "crowdsky.password",
    "cloud.node_id",
    "cloud.api_key",
    "mqtt.username",
    "mqtt.password",
]
SECRET_NAMES: tuple[SecretName, ...] = get_args(SecretName)
_MOST_KEY_BYTES = 4096
_OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO
_SUBJECT = ("secret", None)

_log = get_logger(__name__)


class SecretStore:
    """The secrets of a home.

    Parameters
    ----------
    store
        The database.
    key_file
        Made when the first secret is kept; readable by its owner alone.

    Raises
    ------
    ConfigurationError
        By all that read or keep a secret: the key file is missing, cannot be read, or is not the one
        that the secrets were encrypted with. The message holds neither key nor secret.
    """

    def __init__(self, store: Store, key_file: Path) -> None:
        self._store = store
        self._key_file = key_file

    def check_key(self) -> None:
        """Make sure that everything kept can be read; harmless where nothing is kept."""
        self.read()

    def read(self) -> Mapping[str, SecretStr]:
        """Give all that is kept, by name."""
        with self._store.read() as session:
            rows = session.scalars(select(Secret)).all()
        if not rows:
            return {}
        keys = self._keys()
        return {row.name: self._decrypted(keys, row) for row in rows}

    def put(self, name: SecretName, value: SecretStr, *, now: datetime, actor: str) -> None:
        """Keep a secret in the place of the earlier one; an empty one takes it away."""
        with self._store.write() as session:
            self.put_within(session, name, value, now=now, actor=actor)

    def put_within(
        self, session: Session, name: SecretName, value: SecretStr, *, now: datetime, actor: str
    ) -> None:
        """Do the same in a writing session that does more than this."""
        self.check_key()  # else the first key to be found would lock the others out
        keys = self._keys(make=True)
        row = session.get(Secret, name)
        if not value.get_secret_value():
            if row is not None:
                session.delete(row)
            event = "removed"
        else:
            token = keys.encrypt(value.get_secret_value().encode()).decode()
            session.merge(Secret(name=name, token=token, updated_at=now))
            event = "set"
        audit(session, now=now, actor=actor, subject=_SUBJECT, event=event, detail={"name": name})

    def forget(self, *, now: datetime, actor: str) -> int:
        """Take all secrets away, even those that cannot be read any more; give how many there were."""
        with self._store.write() as session:
            rows = session.scalars(select(Secret)).all()
            for row in rows:
                session.delete(row)
            audit(session, now=now, actor=actor, subject=_SUBJECT, event="all removed")
        return len(rows)

    def rotate(self, *, now: datetime, actor: str) -> int:
        """Encrypt everything under a new key; give how many secrets there are.

        A kill at any moment leaves a key file that reads all of them. Where the file holds two keys
        already (a person put a new one on top, because the file is not ours to write), the first is taken.
        """
        self.check_key()
        old = self._lines(make=True)
        new = old if len(old) > 1 else [_new_key(), *old]
        if new is not old:
            self._write(new)
        keys = self._multi(new)
        with self._store.write() as session:
            rows = session.scalars(select(Secret)).all()
            for row in rows:
                row.token, row.updated_at = keys.rotate(row.token.encode()).decode(), now
            audit(session, now=now, actor=actor, subject=_SUBJECT, event="key replaced")
        self._write_if_ours(new[:1])
        return len(rows)

    def _decrypted(self, keys: MultiFernet, row: Secret) -> SecretStr:
        fernet = _fernet()
        try:
            return SecretStr(keys.decrypt(row.token.encode()).decode())
        except fernet.InvalidToken:
            raise ConfigurationError(
                f"the key in {self._key_file} is not the one that {row.name} was encrypted with: put the "
                f"right file there (secret_key_file), or run `skyrelay secrets forget` and enter all of them "
                f"again with `skyrelay secrets set {row.name}`"
            ) from None

    def _keys(self, *, make: bool = False) -> MultiFernet:
        return self._multi(self._lines(make=make))

    def _multi(self, lines: Sequence[str]) -> MultiFernet:
        fernet = _fernet()
        try:
            keys: MultiFernet = fernet.MultiFernet([fernet.Fernet(line) for line in lines])
        except ValueError:
            raise ConfigurationError(
                f"{self._key_file} holds no key: one line of 44 characters is wanted, as `skyrelay secrets` "
                "writes it"
            ) from None  # the text may be half a key
        return keys

    def _lines(self, *, make: bool = False) -> list[str]:
        try:
            with self._key_file.open("rb") as file:
                self._warn_of_readers(os.fstat(file.fileno()))
                text = file.read(_MOST_KEY_BYTES).decode("ascii", errors="replace")
        except FileNotFoundError:
            if make:
                return self._made()
            raise ConfigurationError(
                f"the key file {self._key_file} is missing, and the database holds secrets that only it "
                "can read: restore it, or name it with secret_key_file"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"the key file {self._key_file}: {error.strerror}") from error
        return text.split() or [""]

    def _made(self) -> list[str]:
        """Make the key file, unless another process is quicker: then its key is ours."""
        key = _new_key()
        try:
            self._key_file.parent.mkdir(parents=True, exist_ok=True)
            whole = self._written([key])
            try:
                os.link(whole, self._key_file)
            except FileExistsError:
                return self._lines()
            finally:
                whole.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        return [key]

    def _write(self, lines: Sequence[str]) -> None:
        try:
            self._written(lines).replace(self._key_file)
        except OSError as error:
            raise self._unwritable(error) from error

    def _write_if_ours(self, lines: Sequence[str]) -> None:
        try:
            self._write(lines)
        except ConfigurationError as error:  # all is under the first key by now: the rest is tidiness
            _log.warning("the replaced key can be taken out of the key file", problem=str(error))

    def _written(self, lines: Sequence[str]) -> Path:
        handle, name = tempfile.mkstemp(dir=self._key_file.parent, prefix=f".{self._key_file.name}.")  # 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"the key file {self._key_file} cannot be written ({error.strerror}): if it is not ours "
            "to write, put a new key on a line above the old one yourself"
        )

    def _warn_of_readers(self, status: os.stat_result) -> None:
        if status.st_mode & _OTHERS_READ and status.st_uid == os.getuid():
            _log.warning(
                "the key file can be read by others", file=str(self._key_file), what_to_do="chmod 600"
            )


def _new_key() -> str:
    key: bytes = _fernet().Fernet.generate_key()
    return key.decode()


def _fernet() -> ModuleType:
    """Load the cryptography (5 MB) in those processes alone that have a secret to read or to keep."""
    return importlib.import_module("cryptography.fernet")
