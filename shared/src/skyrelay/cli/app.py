"""The commands of the product itself.

A command imports what it alone needs when it runs: the database's libraries cost most of a second, which
`skyrelay discover` would spend without using them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from skyrelay.cli.discover_command import discover
from skyrelay.cli.lazy import LazyGroup
from skyrelay.cli.status_text import status_tables
from skyrelay.gateway_client import ask_gateway, newest_night
from skyrelay.settings import load_settings
from skyrelay.version import __version__

app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")
app.command()(discover)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def skyrelay(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Brings the nights of Seestar telescopes to CrowdSky."""


@app.command()
def up(config: ConfigOption = None) -> None:
    """Run all services in the foreground until Ctrl-C."""
    from skyrelay.cli.supervisor import Supervisor

    settings = load_settings(config)
    raise typer.Exit(Supervisor(settings, config).run())


@app.command(name="migrate")
def migrate_database(config: ConfigOption = None) -> None:
    """Bring the database's schema to this release."""
    from skyrelay.backup import upgrade
    from skyrelay.service import utc_now
    from skyrelay.store.engine import Store

    settings = load_settings(config)
    store = Store(settings.database)
    copy = upgrade(settings, store, now=utc_now())
    store.close()
    if copy is not None:
        typer.echo(f"A copy of what was there is in {copy}.")


@config_app.command()
def check(config: ConfigOption = None) -> None:
    """Say whether the configuration is right; exit code 2 when it is not."""
    settings = load_settings(config)
    typer.echo(f"The configuration is right: {len(settings.telescopes)} telescopes, set-up {settings.setup}.")


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say what each telescope is doing and what waits for what."""
    settings = load_settings(config)
    answer = ask_gateway(settings, "/api/v1/status")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    console = Console()
    for table in status_tables(answer):
        console.print(table)


@app.command()
def receipt(
    night: Annotated[
        str, typer.Argument(help="Local date of the evening, YYYY-MM-DD; unset: the newest.")
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Account for every frame of a night; exit code 0 only when nothing is missing or waiting."""
    from skyrelay.receipt_text import render_receipt
    from skyrelay.store.receipts import Receipt

    settings = load_settings(config)
    night = night or newest_night(settings)
    answer = ask_gateway(settings, f"/api/v1/nights/{quote(night, safe='')}/receipt")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        Console().print(render_receipt(Receipt.model_validate(answer)))
    raise typer.Exit(0 if answer["complete"] else 1)
