"""``skyrelay archive``: what was delivered, how much of each target that makes, and tables of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.errors import ConfigurationError
from skyrelay.gateway_client import ask_gateway
from skyrelay.settings import Settings, load_settings

app = typer.Typer(add_completion=False)
_AT_A_TIME = 500
NightOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Local date of its evening.")
]


@app.command()
def archive(
    telescope: Annotated[str | None, typer.Option(help="Only this one: name or serial number.")] = None,
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None,
    filter: Annotated[str | None, typer.Option(help="Only this filter.")] = None,  # noqa: A002 - its option's name
    since: NightOption = None,
    until: NightOption = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the stacks into this file: .csv, or .ecsv for astropy.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The YAML file; else $SKYRELAY_CONFIG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List what was delivered: the total exposure of each target and filter."""
    wish = {
        "telescope": telescope,
        "target": target,
        "filter": filter,
        "since": since and since.date().isoformat(),
        "until": until and until.date().isoformat(),
    }
    query = {name: value for name, value in wish.items() if value is not None}
    settings = load_settings(config)
    if export is not None:
        _export(settings, query, export)
        return
    answer = _part(settings, {**query, "limit": 1})
    if as_json:
        items = [item for part in _parts(settings, query) for item in part["items"]]
        typer.echo(json.dumps({"totals": answer["totals"], "items": items}, indent=2, ensure_ascii=False))
    else:
        Console().print(_table(answer["totals"]))


def _part(settings: Settings, query: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = ask_gateway(settings, f"/api/v1/archive?{urlencode(query)}")
    return answer


def _parts(settings: Settings, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the whole list, in parts."""
    cursor: dict[str, Any] | None = {}
    while cursor is not None:
        part = _part(settings, {**query, **cursor, "limit": _AT_A_TIME})
        yield part
        cursor = {"cursor": part["next_cursor"]} if part["next_cursor"] else None


def _export(settings: Settings, query: dict[str, Any], file: Path) -> None:
    from skyrelay.archive_tables import MEDIA_TYPES, archive_text
    from skyrelay.store.archive import ArchivedStack

    form = next((form for form in MEDIA_TYPES if file.suffix.lower() == f".{form}"), None)
    if form is None:
        raise ConfigurationError(f"--export: {file.name} ends in neither .csv nor .ecsv")
    number = sum(one["stacks"] for one in _part(settings, {**query, "limit": 1})["totals"])
    items = (item for part in _parts(settings, query) for item in part["items"])
    try:
        _write_whole(file, archive_text(map(ArchivedStack.model_validate, items), form))
    except OSError as error:
        raise ConfigurationError(f"--export: {file} cannot be written ({error.strerror})") from error
    typer.echo(f"{number} stacks are in {file}.")


def _write_whole(file: Path, parts: Iterable[str]) -> None:
    """Put a file in place once it is whole: the gateway may stop in the middle of it."""
    half = file.with_name(f".{file.name}.part")
    try:
        with half.open("w", encoding="utf-8", newline="") as out:
            out.writelines(parts)
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)


def _table(totals: list[dict[str, Any]]) -> Table | str:
    from skyrelay.store.receipts import duration_text

    if not totals:
        return "Nothing was delivered that fits."
    table = Table(title="Archive", title_justify="left")
    for heading in ("Target", "Filter"):
        table.add_column(heading, overflow="fold")
    for heading in ("Stacks", "Frames", "Exposure"):
        table.add_column(heading, justify="right")
    table.add_column("Nights")
    for one in totals:
        nights = dict.fromkeys((one["first_night"], one["last_night"]))
        figures = (str(one["stacks"]), str(one["frames"]), duration_text(one["exposure_total_s"]))
        table.add_row(escape(one["target"]), escape(one["filter"]), *figures, " to ".join(nights))
    return table
