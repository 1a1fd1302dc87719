"""What the gateway's process does without: a small home server has other things in its memory."""

from __future__ import annotations

import subprocess
import sys

from sqlalchemy import text

from skyrelay.store.engine import Store
from skyrelay_gateway.lean import confine_memory

# Each is loaded by what needs it, when it is needed: pictures by a process of their own.
HEAVY = ("numpy", "astropy", "PIL", "requests", "urllib3", "alembic.command", "smbprotocol", "rich")
_ASK = "import sys, skyrelay_gateway.service; print(*(each for each in sys.argv[1:] if each in sys.modules))"


def test_the_gateway_starts_without_what_only_few_requests_need() -> None:
    loaded = subprocess.run([sys.executable, "-c", _ASK, *HEAVY], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_each_connection_keeps_little_of_the_database_to_itself(store: Store) -> None:
    store.close()  # the connections that were made before
    confine_memory(store)
    with store.read() as session:
        assert session.scalar(text("PRAGMA cache_size")) == -128
