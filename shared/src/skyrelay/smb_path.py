"""The grammar of ``smb://host[:port]/share[/folder…]``: a folder of a share that is not mounted anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEME = "smb://"
_PORT = 445  # IANA's for SMB over TCP
_LAST_PORT = 65535
_HOST = re.compile(
    r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)  # a name, an address, or one of version 6 in brackets
_FORBIDDEN = re.compile(r'[\x00-\x1f\\:*?"<>|]')  # MS-FSCC 2.1.5: in no component of a path
_ESCAPED = str.maketrans({"%": "%25", "#": "%23", "?": "%3F"})


@dataclass(frozen=True, slots=True)
class SmbPath:
    """A folder of a share; ``folder`` is relative to the share, with ``/``, empty for the share itself."""

    host: str
    share: str
    folder: str = ""
    port: int = _PORT

    @classmethod
    def parse(cls, text: str) -> SmbPath:
        """Read an address; blanks may be written as they are or as ``%20``.

        Raises
        ------
        ValueError
            If it is none, with the reason.
        """
        address, _, rest = text.removeprefix(SCHEME).partition("/")
        if "@" in address:
            raise ValueError(
                "an smb:// address is entered as guest, as telescopes want it: "
                "mount a share that asks for a user, and give the mount's path"
            )
        match = _HOST.fullmatch(address)
        share, *folders = [unquote(part) for part in rest.strip("/").split("/") if part] or [""]
        if not text.startswith(SCHEME) or match is None or not share:
            raise ValueError(f"{text!r} is no address of a share: write it as smb://host/share/folder")
        port = int(match["port"] or _PORT)
        if not 1 <= port <= _LAST_PORT or not all(_is_component(part) for part in (share, *folders)):
            raise ValueError(f"{text!r} names no folder of a share: port or path is impossible")
        return cls(match["host"].strip("[]"), share, "/".join(folders), port)

    def in_share(self, path: str = "") -> str:
        """Write a path below the folder (with ``/``) as SMB does, relative to the share."""
        return "\\".join(part for part in (*self.folder.split("/"), *path.split("/")) if part)

    def __str__(self) -> str:
        """Write the address as `parse` reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORT else f":{self.port}"
        path = "/".join(part for part in (self.share, self.folder) if part)
        return f"{SCHEME}{host}{port}/{path.translate(_ESCAPED)}"


def _is_component(part: str) -> bool:
    return part not in {".", ".."} and "/" not in part and _FORBIDDEN.search(part) is None
