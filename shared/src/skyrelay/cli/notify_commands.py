"""``skyrelay notify``: try the addresses at which people are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skyrelay.errors import ConfigurationError, PermanentError, TransientError
from skyrelay.settings import load_settings

app = typer.Typer(add_completion=False)
notify_app = typer.Typer(no_args_is_help=True, help="Notifications by Apprise (docs/notifications.md).")
app.add_typer(notify_app, name="notify")
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]


@notify_app.callback()
def notify() -> None:
    """Try the addresses at which people are told."""


@notify_app.command(name="test")
def try_addresses(config: ConfigOption = None) -> None:
    """Send a message to each address; exit code 0 only when all took it."""
    from skyrelay.apprise_sending import send_notification

    urls = load_settings(config).notifications.urls
    if not urls:
        raise ConfigurationError("notifications.urls is empty: put an address of Apprise there")
    failed = 0
    for number, url in enumerate(urls, 1):
        try:
            send_notification(url, "Skyrelay", "This is a test: from here on you are told what cannot wait.")
            typer.echo(f"Address {number} took it.")
        except (PermanentError, TransientError) as error:
            failed += 1
            typer.echo(f"Address {number}: {error}.", err=True)
    raise typer.Exit(1 if failed else 0)
