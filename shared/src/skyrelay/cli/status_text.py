"""The status as text for a terminal, drawn with Rich from the gateway's answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def status_tables(status: dict[str, Any]) -> Iterator[RenderableType]:
    """Draw the telescopes, what waits for what, and what needs a person."""
    telescopes = Table(title=f"Skyrelay {status['version']}", title_justify="left")
    for heading in ("Telescope", "State", "In words", "Since", "Why"):
        telescopes.add_column(heading, overflow="fold")
    for telescope in status["telescopes"]:
        since = _local(telescope["state_since"])
        cells = (telescope["name"], telescope["state"], telescope["words"], since, telescope["reason"])
        telescopes.add_row(*map(escape, cells))
    yield telescopes
    if status["auth"] == "none":
        yield Text("There is no login: whoever reaches the page may do everything.", style="bold red")
    counts = Table.grid(padding=(0, 2))
    for what in ("frames", "blocks", "deliveries"):
        counts.add_row(what, ", ".join(f"{count} {state}" for state, count in status[what].items()) or "none")
    counts.add_row("services", ", ".join(f"{each['service']} {each['state']}" for each in status["services"]))
    yield counts
    if status["needs_you"]:
        needs = Table(title="Needs you", title_justify="left", title_style="bold red")
        for heading in ("What", "Why", "What to do"):
            needs.add_column(heading, overflow="fold")
        for need in status["needs_you"]:
            needs.add_row(*(escape(need[key]) for key in ("what", "reason", "what_to_do")))
        yield needs


def _local(moment: str | None) -> str:
    """Write a moment by the clock of whoever sits at the terminal."""
    return "" if moment is None else f"{datetime.fromisoformat(moment).astimezone():%d %b %H:%M}"
