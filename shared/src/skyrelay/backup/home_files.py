"""The files of ``data_dir`` that a home cannot do without, and which of them are secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from skyrelay.settings import Settings

KEY_MEMBER = "secret.key"
MOST_FILE_BYTES = 1024 * 1024  # a key, or credentials
_SECRET_FILES = ("cloud_state.json",)  # the node's credentials
_SECRET_FOLDERS = ("keys",)  # the telescopes' keys


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Give the name in a backup, and the place, of each file that holds a secret and is there."""
    if settings.key_path.is_file():
        yield KEY_MEMBER, settings.key_path
    for name in _SECRET_FILES:
        if (settings.data_dir / name).is_file():
            yield name, settings.data_dir / name
    for folder in _SECRET_FOLDERS:
        for file in sorted((settings.data_dir / folder).glob("*")):
            if _is_plain(file.name) and file.is_file() and not file.is_symlink():
                yield f"{folder}/{file.name}", file


def place_of(settings: Settings, member: str) -> Path | None:
    """Give where a file of a backup belongs; `None` for a name that is none of ours."""
    if member == KEY_MEMBER:
        return settings.key_path
    if member in _SECRET_FILES:
        return settings.data_dir / member
    folder, _, name = member.partition("/")
    if folder in _SECRET_FOLDERS and _is_plain(name):
        return settings.data_dir / folder / name
    return None


def _is_plain(name: str) -> bool:
    return bool(name) and name == Path(name).name and not name.startswith(".") and "\0" not in name


def in_words(members: Iterable[str]) -> Iterator[str]:
    """Say what a person has to give again where these were left out."""
    for member in members:
        if member == KEY_MEMBER:
            yield "what was entered with `skyrelay secrets set` or on the page (the key was left out)"
        elif member in _SECRET_FILES:
            yield f"{member}: the node's credentials; without them it registers anew"
        else:
            yield f"{member}: a telescope's key"
