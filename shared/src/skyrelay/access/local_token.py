"""A token for our own programs, in a file that only those can read who could read the database anyway.

The gateway makes it; the commands, the health checks and whatever else shares ``data_dir`` show it. This
module is imported by all commands, so it needs nothing but the file.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_NAME = "gateway.token"


def read_local_token(data_dir: Path) -> str | None:
    """Give the token that lies in ``data_dir``; `None` when there is none, or it is not for us to read."""
    try:
        return (data_dir / _NAME).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def write_local_token(data_dir: Path, token: str) -> None:
    """Put a token into ``data_dir``, readable for its owner alone, whole or not at all."""
    data_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=f".{_NAME}.")  # 0600
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token + "\n")
    Path(name).replace(data_dir / _NAME)
