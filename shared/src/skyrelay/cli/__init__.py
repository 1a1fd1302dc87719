"""The program ``skyrelay``: commands for people, ``--json`` for machines.

Other distributions add commands of their own by entry point (group ``skyrelay.commands``).
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from typer.main import get_command

from skyrelay.cli.app import app
from skyrelay.errors import ConfigurationError, SkyrelayError

_GROUP = "skyrelay.commands"
_QUICK = "discover"  # promised within three seconds, of which the database's libraries would cost one


def main() -> None:
    """Run the command line; exit code 2 says that the configuration is wrong, 1 that it did not work."""
    if sys.argv[1:2] != [_QUICK]:
        _add_what_takes_long()
    try:
        get_command(app)()
    except ConfigurationError as error:
        sys.exit(_fail(error, 2))
    except SkyrelayError as error:
        sys.exit(_fail(error, 1))


def _add_what_takes_long() -> None:
    from skyrelay.cli.stacking_commands import add_stacking_commands

    add_stacking_commands(app)
    for point in entry_points(group=_GROUP):
        app.add_typer(point.load(), name=point.name)


def _fail(error: SkyrelayError, code: int) -> int:
    sys.stderr.write(f"skyrelay: {error}\n")
    return code
