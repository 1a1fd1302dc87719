"""``skyrelay settings``: what counts, where it comes from, and what the page can change of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from skyrelay.errors import ConfigurationError
from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated
from skyrelay.store.page_settings import change_settings
from skyrelay.store.secrets import SecretStore
from skyrelay.store.setting_lines import SettingLine, setting_lines

_ACTOR = "person"

app = typer.Typer(add_completion=False)
settings_app = typer.Typer(no_args_is_help=True, help="The settings in force, and those of the page.")
app.add_typer(settings_app, name="settings")
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@settings_app.command(name="list")
def list_settings(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Name each setting, its value and where it comes from; no secret, of the site a tenth of a degree."""
    with _opened(config) as (settings, store), store.read() as session:
        lines = list(setting_lines(session, settings, settings_in_force(settings, store, of=())))
    if as_json:
        typer.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    table = Table("setting", "value", "from")
    for line in lines:
        table.add_row(line.key, _in_words(line), line.source)
    Console().print(table)


@settings_app.command(name="set")
def set_setting(
    key: Annotated[str, typer.Argument(help="Such as stacking.when.")],
    value: Annotated[
        str, typer.Argument(help="As a YAML file would have it; secrets: `skyrelay secrets set`.")
    ],
    config: ConfigOption = None,
) -> None:
    """Change a setting that file and environment leave open."""
    try:
        read = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{key}: the value is no YAML") from error
    _change(config, key, read)
    typer.echo(f"{key} is changed.")


@settings_app.command()
def unset(key: Annotated[str, typer.Argument()], config: ConfigOption = None) -> None:
    """Let a setting's default count again."""
    _change(config, key, None)
    typer.echo(f"{key} is as it was by default.")


def _change(config: Path | None, key: str, value: Any) -> None:
    with _opened(config) as (settings, store), store.write() as session:
        secrets = SecretStore(store, settings.key_path)
        change_settings(session, settings, {key: value}, secrets=secrets, now=utc_now(), actor=_ACTOR)


def _in_words(line: SettingLine) -> str:
    if line.value is None:
        return "set" if line.is_set else ""
    return line.value if isinstance(line.value, str) else json.dumps(line.value)


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Settings, Store]]:
    settings = load_settings(config)
    store = Store(settings.database)
    try:
        check_migrated(store)
        yield settings, store
    finally:
        store.close()
