"""Commands whose modules are loaded when they are called (or when help lists them), not before.

The database's and the network's libraries cost a second on a small board, which a command that does not
use them should not spend: `skyrelay discover` is promised within three.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group

_GROUP = "skyrelay.commands"  # entry points: other distributions' commands, each a Typer of its own


class LazyGroup(TyperGroup):
    """A group that finds some of its commands in modules, each with an ``app``, and others by entry point."""

    modules: ClassVar[Mapping[str, str]] = {
        "targets": "skyrelay.cli.stacking_commands",
        "blocks": "skyrelay.cli.stacking_commands",
        "stack": "skyrelay.cli.stacking_commands",
        "purge": "skyrelay.cli.stacking_commands",
        "pause": "skyrelay.cli.control_commands",
        "resume": "skyrelay.cli.control_commands",
        "runs": "skyrelay.cli.control_commands",
        "upload": "skyrelay.cli.crowdsky_commands",
        "download": "skyrelay.cli.crowdsky_commands",
        "raw-upload": "skyrelay.cli.crowdsky_commands",
        "verify": "skyrelay.cli.verify",
        "secrets": "skyrelay.cli.secrets",
        "settings": "skyrelay.cli.settings_commands",
        "backup": "skyrelay.cli.backups",
        "restore": "skyrelay.cli.backups",
        "notify": "skyrelay.cli.notify_commands",
        "archive": "skyrelay.cli.archive_commands",
        "password": "skyrelay.cli.access_commands",
        "token": "skyrelay.cli.access_commands",
    }

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer's own copy of Click is private
        """Name all commands."""
        return [*super().list_commands(ctx), *self.modules, *_of_others()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give a command by its name; `None` when there is none."""
        others = _of_others()
        if cmd_name in self.modules:
            app: typer.Typer = import_module(self.modules[cmd_name]).app
        elif cmd_name in others:
            app = typer.Typer(add_completion=False)
            app.add_typer(others[cmd_name].load(), name=cmd_name)
        else:
            return super().get_command(ctx, cmd_name)
        return get_group(app).get_command(ctx, cmd_name)


def _of_others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}
