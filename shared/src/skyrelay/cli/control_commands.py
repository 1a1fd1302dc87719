"""The commands that have the services do something, or say what they did: they speak to the gateway."""

from __future__ import annotations

import getpass
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.errors import ConfigurationError
from skyrelay.gateway_client import ask_gateway, tell_gateway
from skyrelay.settings import load_settings

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
TelescopeOption = Annotated[
    str | None, typer.Option("--telescope", help="Only this one: name or serial number.")
]
TargetOption = Annotated[str | None, typer.Option("--target", help="Only this target.")]
app = typer.Typer(add_completion=False)


@app.command()
def pause(
    telescope: TelescopeOption = None,
    target: TargetOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever looks.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin no stack: of a telescope, a target, both, or none at all. A run under way is left to end."""
    body = {**_scope(telescope, target), "reason": reason}
    _show_pauses(tell_gateway(load_settings(config), "/api/v1/pause", body), as_json=as_json)


@app.command()
def resume(
    telescope: TelescopeOption = None,
    target: TargetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let stacking go on; exit code 0 only when nothing that was named is paused any more."""
    answer = tell_gateway(load_settings(config), "/api/v1/resume", _scope(telescope, target))
    _show_pauses(answer, as_json=as_json)
    held = [pause for pause in answer["pauses"] if _holds(pause, telescope, target)]
    raise typer.Exit(1 if held else 0)


@app.command()
def runs(
    telescope: TelescopeOption = None,
    night: Annotated[
        datetime | None, typer.Option("--night", formats=["%Y-%m-%d"], help="Local date of its evening.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="Most runs.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was stacked in one go, the latest first; a run that goes on has what came of it so far."""
    wish = {"telescope": telescope, "night": night and night.date().isoformat(), "limit": limit}
    query = urlencode({name: value for name, value in wish.items() if value is not None})
    found = ask_gateway(load_settings(config), f"/api/v1/runs?{query}")["items"]
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        Console().print(_run_table(found))


def _scope(telescope: str | None, target: str | None) -> dict[str, Any]:
    """Name what is meant as the gateway wants it: everything, where nothing is named."""
    if "" in {telescope, target}:
        raise ConfigurationError("--telescope and --target want a name: leave them out to mean all")
    named = {name: value for name, value in (("telescope", telescope), ("target", target)) if value}
    return {**(named or {"all": True}), "by": _who()}


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "person"


def _holds(pause: dict[str, Any], telescope: str | None, target: str | None) -> bool:
    """Tell whether a pause holds (some of) what was named, which a wider one still does."""
    return (telescope is None or pause["telescope"] in {None, telescope}) and (
        target is None or pause["target"] in {None, target}
    )


def _show_pauses(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    if not answer["pauses"]:
        typer.echo("Nothing is paused.")
        return
    table = _table("Paused", "What", "By", "Since", "Why")
    for one in answer["pauses"]:
        table.add_row(escape(one["what"]), escape(one["by"]), _local(one["paused_at"]), escape(one["reason"]))
    Console().print(table)


def _run_table(found: list[dict[str, Any]]) -> Table:
    table = _table("Runs", "Telescope", "Night", "Began", "Ended", "Stacked", "Failed", "Skipped", "Targets")
    for run in found:
        summary = run["summary"]
        counts = (str(summary[f"total_blocks_{what}"]) for what in ("stacked", "failed", "skipped"))
        ended = "goes on" if run["ended_at"] is None else _local(run["ended_at"])
        targets = ", ".join(one["target"] for one in summary["per_target"])
        table.add_row(
            escape(run["telescope"]), run["night"], _local(run["began_at"]), ended, *counts, escape(targets)
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _local(moment: str) -> str:
    """Write a moment by the clock of whoever sits at the terminal."""
    return f"{datetime.fromisoformat(moment).astimezone():%d %b %H:%M}"
