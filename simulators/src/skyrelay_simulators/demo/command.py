"""The command itself. What is heavy is imported when it runs, not when the program lists its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

demo = typer.Typer(help="Run a whole simulated night, then say what happened.")


@demo.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    frames: Annotated[
        Path | None, typer.Option(help="Replay the Light_*.fit of this folder as the night.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running, with its page to look at.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where it keeps its files; unset: a folder that is removed at the end."),
    ] = None,
    port: Annotated[int, typer.Option(help="The page's port; 0 takes any free one.")] = 8474,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the receipts as JSON and nothing else.")
    ] = False,
) -> None:
    """Exit code 0 only when every frame is accounted for and every stack was delivered once."""
    if context.invoked_subcommand is not None:
        return
    from skyrelay_simulators.demo.night import play_demo
    from skyrelay_simulators.demo.scene import Wishes

    raise typer.Exit(play_demo(Wishes(frames=frames, folder=folder, port=port, keep=keep, as_json=as_json)))


@demo.command()
def beside(
    gateway: Annotated[str, typer.Option(help="Address of the gateway of services that run elsewhere.")],
    folder: Annotated[Path, typer.Option(help="What the telescopes and the watcher share.")] = Path(
        "/frames"
    ),
    data_dir: Annotated[
        Path, typer.Option(help="Folder of the services, with their token for programs beside them.")
    ] = Path("/data"),
    project: Annotated[str, typer.Option(help="The compose project that this runs in.")] = "skyrelay-demo",
) -> None:
    """Run the simulators beside services that run elsewhere, and play the night once they are ready.

    This is the demo of docker-compose.yml, in a project of its own so that it never meets a real home.
    """
    from skyrelay_simulators.demo.night import play_beside

    raise typer.Exit(play_beside(folder, gateway, project, data_dir))
