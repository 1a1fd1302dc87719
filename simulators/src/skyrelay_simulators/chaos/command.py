"""The command itself. What is heavy is imported when it runs, not when the program lists its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skyrelay_simulators.chaos.mishaps import Kind

chaos = typer.Typer(
    help="Let everything go wrong at random through a night, then count what was lost or came twice."
)


@chaos.callback(invoke_without_command=True)
def run(
    telescopes: Annotated[int, typer.Option(min=1, max=4, help="How many telescopes.")] = 4,
    blocks: Annotated[int, typer.Option(min=2, max=24, help="Blocks of each telescope.")] = 12,
    kills: Annotated[int, typer.Option(min=0, help="How often each service is killed.")] = 5,
    seed: Annotated[int | None, typer.Option(help="Of the dice; unset: by chance, and printed.")] = None,
    mishap: Annotated[
        list[Kind] | None, typer.Option(help="What goes wrong (again for more); unset: all of it.")
    ] = None,
    spell: Annotated[
        float, typer.Option(min=0.1, help="How long, in s: disk full, database locked, service stopped …")
    ] = 30.0,
    folder: Annotated[Path | None, typer.Option(help="Where it keeps its files; unset: a new one.")] = None,
) -> None:
    """Exit code 0 only when every block was stacked, named and delivered exactly once."""
    from skyrelay_simulators.chaos.rehearsal import Wishes, rehearse

    raise typer.Exit(
        rehearse(Wishes(telescopes, blocks, kills, seed, folder, frozenset(mishap or Kind), spell))
    )
