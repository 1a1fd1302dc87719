"""``skyrelay backup`` and ``skyrelay restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skyrelay.backup import restore as put_back
from skyrelay.backup import save
from skyrelay.backup.manifest import default_name
from skyrelay.backup.replacing import settle
from skyrelay.backup.restoring import rows_there
from skyrelay.backup.upgrading import FOLDER
from skyrelay.cli.data_dir import claim_data_dir
from skyrelay.data_dir_use import nobody_works_in
from skyrelay.service import utc_now
from skyrelay.settings import load_settings
from skyrelay.store.engine import Store

app = typer.Typer(add_completion=False)
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]


@app.command()
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="Where to; unset: `backups` in the data folder.")
    ] = None,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="With what is secret too: keep the file as you keep a key.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Save all that is known of this home in one file; the services may go on. Stacks are not in it."""
    settings, now = load_settings(config), utc_now()
    file = file or settings.data_dir / FOLDER / default_name(now)
    store = Store(settings.database)
    manifest = save(settings, store, file, now=now, with_key=with_key)
    store.close()
    rows = sum(table.rows for table in manifest.tables)
    typer.echo(f"{file}: {rows} rows of {len(manifest.tables)} tables, {file.stat().st_size} bytes.")
    if manifest.left_out:
        typer.echo(f"Secret, and left out: {', '.join(manifest.left_out)} (--with-key puts them in).")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `skyrelay backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Do not ask: what is there goes, and a copy of it is kept.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Put a backup in the place of what is there. Stop the services first."""
    settings, now = load_settings(config), utc_now()
    with claim_data_dir(settings.data_dir), nobody_works_in(settings.data_dir):
        store = Store(settings.database)
        settle(settings, store)
        if there := rows_there(store):
            question = f"The database holds {there} rows. Replace them by what {file.name} holds?"
            if not replace and not typer.confirm(question):
                raise typer.Exit(1)
            copy = settings.data_dir / FOLDER / f"replaced-{default_name(now)}"
            save(settings, store, copy, now=now, with_key=True)
            typer.echo(f"A copy of what was there is in {copy}: it holds secrets.")
        restored = put_back(settings, store, file, now=now, replace=True)
        store.close()
    manifest = restored.manifest
    typer.echo(f"Restored as of {manifest.created_at:%Y-%m-%d %H:%M} UTC, from release {manifest.release}.")
    for each in restored.to_enter_again:
        typer.echo(f"To be given again: {each}.")
