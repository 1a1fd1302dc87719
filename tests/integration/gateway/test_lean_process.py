"""What the gateway's process does without: a small home server has other things in its memory."""

from __future__ import annotations

import subprocess
import sys

# Each is loaded by what needs it, when it is needed: pictures by a process of their own.
HEAVY = ("numpy", "astropy", "PIL", "requests", "urllib3", "alembic.command", "smbprotocol")
_ASK = "import sys, skyrelay_gateway.service; print(*(each for each in sys.argv[1:] if each in sys.modules))"


def test_the_gateway_starts_without_what_only_few_requests_need() -> None:
    loaded = subprocess.run([sys.executable, "-c", _ASK, *HEAVY], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
