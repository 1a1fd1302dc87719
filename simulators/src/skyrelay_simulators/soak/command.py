"""The command itself. What is heavy is imported when it runs, not when the program lists its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

soak = typer.Typer(
    help="Run the services through many nights, and watch memory, sockets, threads and tables."
)


@soak.callback(invoke_without_command=True)
def run(
    nights: Annotated[int, typer.Option(min=1, max=400, help="How many nights.")] = 20,
    telescopes: Annotated[int, typer.Option(min=1, max=4, help="How many telescopes.")] = 2,
    blocks: Annotated[int, typer.Option(min=2, max=24, help="Blocks of each telescope and night.")] = 4,
    folder: Annotated[Path | None, typer.Option(help="Where it keeps its files; unset: a new one.")] = None,
) -> None:
    """Exit code 0 only when every block arrived once and nothing grew but the books."""
    from skyrelay_simulators.soak.nights import SoakWishes, soak_nights

    raise typer.Exit(soak_nights(SoakWishes(nights, telescopes, blocks, folder)))
