"""The node's credentials, and the file that keeps them: losing it locks a node out for good.

The file is JSON with ``node_id`` and ``api_key`` on top, as scripts expect it, readable by its owner
alone. Credentials belong to one server: to another address they are never sent.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from skyrelay.errors import PermanentError

STATE_FILE = "cloud_state.json"  # below data_dir
_SENDABLE = re.compile(r"[\x21-\x7e]{1,512}")  # what an HTTP header carries unchanged


class CredentialsUnreadable(PermanentError):  # noqa: N818 - the state it names
    """The file is there and cannot be read; registering over it could lock the node out."""


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """What a node shows at each call.

    Raises
    ------
    ValueError
        If either is empty or holds what no header can carry.
    """

    node_id: str
    api_key: SecretStr

    def __post_init__(self) -> None:
        for name, text in (("node_id", self.node_id), ("api_key", self.api_key.get_secret_value())):
            if not _SENDABLE.fullmatch(text):
                raise ValueError(f"{name} is empty, or holds characters that no header can carry")


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    node_id: str
    api_key: SecretStr
    url: str = ""  # empty in files of other programs: the one server that they know


class _State(_Kept):
    earlier: tuple[_Kept, ...] = Field(default=())


class CredentialStore:
    """Keeps credentials, by the server that gave them.

    Parameters
    ----------
    file
        Its folder is made at the first `save`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def load(self, url: str) -> NodeCredentials | None:
        """Give the credentials for the server at ``url``; `None` when it gave none yet.

        Raises
        ------
        CredentialsUnreadable
            If there is a file and it cannot be read.
        """
        for number, kept in enumerate(self._all()):
            if kept.url == url or (number == 0 and not kept.url):
                return self._checked(kept)
        return None

    def save(self, url: str, credentials: NodeCredentials) -> None:
        """Keep credentials; a kill at any moment leaves the old file or the new one.

        Raises
        ------
        CredentialsUnreadable
            If there is a file that cannot be read: it is not written over.
        OSError
            If the file cannot be written.
        """
        others = [_plain(kept) for kept in self._all() if kept.url != url]
        newest = _Kept(node_id=credentials.node_id, api_key=credentials.api_key, url=url)
        self._write({**_plain(newest), "earlier": others})

    def bind(self, url: str) -> None:
        """Write down that credentials of another program's file are those of ``url``, which took them.

        From then on no other server is shown them, whatever ``cloud.url`` says.

        Raises
        ------
        CredentialsUnreadable, OSError
            As `save`.
        """
        kept = self._all()
        if kept and not kept[0].url:
            others = [_plain(each) for each in kept[1:]]
            self._write({**_plain(kept[0]), "url": url, "earlier": others})

    def check_writable(self) -> None:
        """Make sure that credentials could be kept, before they are asked for.

        Raises
        ------
        OSError
            If they could not.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.file.parent) as probe:
            probe.write(bytes(4096))
            probe.flush()

    def _all(self) -> tuple[_Kept, ...]:
        try:
            state = _State.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            raise CredentialsUnreadable(
                f"{self.file} cannot be read as the node's credentials ({type(error).__name__}): restore it "
                "from a backup, or remove it to register anew"
            ) from None  # the file's text holds the key
        return (state, *state.earlier)

    def _checked(self, kept: _Kept) -> NodeCredentials:
        try:
            return NodeCredentials(kept.node_id, kept.api_key)
        except ValueError as error:
            raise CredentialsUnreadable(f"{self.file}: {error}") from error

    def _write(self, state: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=f".{self.file.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(state, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(self.file.parent)


def choose_credentials(
    node_id: str, api_key: SecretStr, kept: NodeCredentials | None, file: Path
) -> NodeCredentials | None:
    """Give what is configured, else what was kept; the parts of two nodes are never mixed.

    Parameters
    ----------
    node_id, api_key
        As configured; empty if not.
    kept
        From a registration.
    file
        Where it is kept, for messages.

    Raises
    ------
    PermanentError
        If what is configured cannot be used, or contradicts what was kept.
    """
    if api_key.get_secret_value():
        owner = node_id or (kept.node_id if kept is not None else "")
        if not owner:
            raise PermanentError("cloud.api_key is set without cloud.node_id: set both, or neither")
        try:
            return NodeCredentials(owner, api_key)
        except ValueError as error:
            raise PermanentError(f"cloud: {error}") from error
    if kept is not None and node_id not in {"", kept.node_id}:
        raise PermanentError(
            f"cloud.node_id is {node_id}, but this node is registered as {kept.node_id}: leave it empty, "
            f"set cloud.api_key too, or move {file} away to register anew"
        )
    return kept


def _plain(kept: _Kept) -> dict[str, str]:
    return {"node_id": kept.node_id, "api_key": kept.api_key.get_secret_value(), "url": kept.url}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
