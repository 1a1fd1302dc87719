"""The program ``skyrelay``: commands for people, ``--json`` for machines.

Other distributions add commands of their own by entry point (group ``skyrelay.commands``).
"""

from __future__ import annotations

import sys

from typer.main import get_command

from skyrelay.cli.app import app
from skyrelay.errors import ConfigurationError, SkyrelayError


def main() -> None:
    """Run the command line; exit code 2 says that the configuration is wrong, 1 that it did not work."""
    try:
        get_command(app)()
    except ConfigurationError as error:
        sys.exit(_fail(error, 2))
    except SkyrelayError as error:
        sys.exit(_fail(error, 1))


def _fail(error: SkyrelayError, code: int) -> int:
    sys.stderr.write(f"skyrelay: {error}\n")
    return code
