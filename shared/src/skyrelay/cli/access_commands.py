"""``skyrelay password`` and ``skyrelay token``: for who has access to the database anyway."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from skyrelay.access.owner import set_password
from skyrelay.access.passwords import Hasher
from skyrelay.access.tokens import Scope, create_token, list_tokens, revoke_token
from skyrelay.errors import ConfigurationError
from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated

_ACTOR = "command line"

app = typer.Typer(add_completion=False)
token_app = typer.Typer(no_args_is_help=True, help="Tokens with which programs speak to the gateway.")
app.add_typer(token_app, name="token")
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command()
def password(config: ConfigOption = None) -> None:
    """Set the password of the page: asked for without showing it, or read from a pipe. Ends all logins."""
    settings = load_settings(config)
    if settings.gateway.password.get_secret_value():
        raise ConfigurationError("gateway.password is configured: change it there, and start again")
    if sys.stdin.isatty():
        text = str(typer.prompt("New password", hide_input=True, confirmation_prompt=True))
    else:
        text = sys.stdin.readline().strip("\r\n")
    with _opened(settings) as store:
        set_password(store, Hasher(), text, now=utc_now(), actor=_ACTOR)
    typer.echo("The password is set, and all logins have ended.")


@token_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as 'Home Assistant'.")],
    scope: Annotated[Scope, typer.Option(help="What it may do; each includes those before it.")] = Scope.READ,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once."""
    with _opened(load_settings(config)) as store, store.write() as session:
        row, token = create_token(session, name, scope, now=utc_now(), actor=_ACTOR)
    if as_json:
        typer.echo(json.dumps({"id": row.id, "name": row.name, "scope": row.scope, "token": token}, indent=2))
        return
    typer.echo(token)
    typer.echo("It is shown this once. Send it as `Authorization: Bearer TOKEN`.", err=True)


@token_app.command(name="list")
def list_all(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the tokens that are not revoked; never what they are."""
    with _opened(load_settings(config)) as store, store.read() as session:
        rows = list_tokens(session)
    if as_json:
        fields = ("id", "name", "scope", "created_at", "last_used_at")
        listed = [{field: getattr(row, field) for field in fields} for row in rows]
        typer.echo(json.dumps(listed, indent=2, default=lambda moment: moment.isoformat()))
        return
    table = Table("id", "token", "scope", "made", "last used")
    for row in rows:
        used = f"{row.last_used_at:%Y-%m-%d %H:%M} UTC" if row.last_used_at else "never"
        table.add_row(str(row.id), row.name, row.scope, f"{row.created_at:%Y-%m-%d %H:%M} UTC", used)
    Console().print(table if rows else "There is no token.")


@token_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Its name, or its id.")], config: ConfigOption = None
) -> None:
    """Revoke a token: it is worth nothing from now on."""
    which = int(name) if name.isascii() and name.isdecimal() else name
    with _opened(load_settings(config)) as store, store.write() as session:
        row = revoke_token(session, which, now=utc_now(), actor=_ACTOR)
    typer.echo(f"The token {row.name!r} is revoked.")


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database)
    try:
        check_migrated(store)
        yield store
    finally:
        store.close()
