"""``skyrelay secrets``: credentials that are kept encrypted, for those that the configuration leaves out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from skyrelay.errors import ConfigurationError
from skyrelay.service import utc_now
from skyrelay.settings import load_settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated
from skyrelay.store.secrets import SECRET_NAMES, SecretName, SecretStore
from skyrelay.store.tables import Secret

_ACTOR = "person"

app = typer.Typer(add_completion=False)
secrets_app = typer.Typer(no_args_is_help=True, help="Credentials that are kept encrypted in the database.")
app.add_typer(secrets_app, name="secrets")
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@secrets_app.command(name="list")
def list_secrets(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Name what is kept, and since when; never what it is."""
    with _opened(config) as (store, _), store.read() as session:
        rows = session.scalars(select(Secret).order_by(Secret.name)).all()
    if as_json:
        kept = [{"name": row.name, "updated_at": row.updated_at.isoformat()} for row in rows]
        typer.echo(json.dumps(kept, indent=2))
        return
    table = Table("secret", "since")
    for row in rows:
        table.add_row(row.name, f"{row.updated_at:%Y-%m-%d %H:%M} UTC")
    Console().print(table if rows else "No secret is kept.")


@secrets_app.command(name="set")
def set_secret(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(SECRET_NAMES)}.")],
    config: ConfigOption = None,
) -> None:
    """Keep a secret: asked for without showing it, or read from a pipe. An empty one takes it away."""
    known = _known(name)
    is_shown_nowhere = sys.stdin.isatty()
    text = typer.prompt(name, hide_input=True, default="") if is_shown_nowhere else sys.stdin.readline()
    with _opened(config) as (_, secrets):
        secrets.put(known, SecretStr(text.strip("\r\n")), now=utc_now(), actor=_ACTOR)
    typer.echo(f"{name} is kept." if text.strip("\r\n") else f"{name} is no longer kept.")


@secrets_app.command()
def rotate(config: ConfigOption = None) -> None:
    """Encrypt all that is kept under a new key."""
    with _opened(config) as (_, secrets):
        number = secrets.rotate(now=utc_now(), actor=_ACTOR)
    typer.echo(f"{number} secrets are under a new key.")


@secrets_app.command()
def forget(config: ConfigOption = None) -> None:
    """Take all secrets away, also those that no key can read any more."""
    with _opened(config) as (_, secrets):
        number = secrets.forget(now=utc_now(), actor=_ACTOR)
    typer.echo(f"{number} secrets are gone: enter them again with `skyrelay secrets set NAME`.")


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Store, SecretStore]]:
    settings = load_settings(config)
    store = Store(settings.database)
    try:
        check_migrated(store)
        yield store, SecretStore(store, settings.key_path)
    finally:
        store.close()


def _known(name: str) -> SecretName:
    found: Any = next((known for known in SECRET_NAMES if known == name), None)
    if found is None:
        raise ConfigurationError(f"there is no secret {name!r}: it is one of {', '.join(SECRET_NAMES)}")
    result: SecretName = found
    return result
