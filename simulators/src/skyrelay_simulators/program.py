"""``skyrelay simulate …``: the stand-ins as programs.

Everything heavy is imported by the command that needs it: this module is loaded by every
``skyrelay`` command that lists its siblings.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from skyrelay_simulators.site import SiteSpec

_WRONG_USE = 2  # exit code
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

simulate = typer.Typer(
    name="simulate",
    help="Stand-ins for telescopes, CrowdSky and the node cloud, over their real protocols.",
    no_args_is_help=True,
)

SerialOption = Annotated[str, typer.Option(help="Serial number of the telescope.")]
RootOption = Annotated[Path | None, typer.Option(help="Folder that plays the eMMC (holds MyWorks).")]
ZoneOption = Annotated[str, typer.Option(help="IANA name of the zone that the telescope's clock shows.")]
FirmwareOption = Annotated[int, typer.Option(help="firmware_ver_int: 2427, 2732, 2775, 2846, …")]
SpeedOption = Annotated[
    float | None, typer.Option(help="Simulated seconds a real second; without it as fast as possible.")
]
FramesOption = Annotated[Path | None, typer.Option(help="Play the Light_*.fit of this folder as the night.")]


@simulate.command()
def telescope(
    site: Annotated[
        Path | None, typer.Option(help="JSON or YAML file that describes one or more telescopes.")
    ] = None,
    serial: SerialOption = "5e3a7b21",
    root: RootOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    rpc_port: Annotated[int, typer.Option(help="Command port; 0 is any free one.")] = 4700,
    http_port: Annotated[int, typer.Option(help="File port; 0 is any free one.")] = 0,
    smb_port: Annotated[int, typer.Option(help="Share's port; 0 is any free one.")] = 0,
    udp_port: Annotated[int, typer.Option(help="Discovery port; 0 is any free one.")] = 4720,
    firmware: FirmwareOption = 2846,
    timezone: ZoneOption = "UTC",
    stack_seconds: Annotated[float, typer.Option(help="How long a batch stack takes, at least.")] = 60.0,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file: commands want the key that belongs to it.")
    ] = None,
    smb: Annotated[str, typer.Option(help="Share's server: auto, smbd, impacket or off.")] = "auto",
    frames: FramesOption = None,
    speed: SpeedOption = None,
    play: Annotated[bool, typer.Option(help="Begin the nights at once.")] = False,
    control_port: Annotated[int, typer.Option(help="Port to drive it all; 0 is any free one.")] = 0,
    endpoints: Annotated[
        Path | None, typer.Option(help="File that tells where everything answers, once it does.")
    ] = None,
) -> None:
    """Run telescopes until Ctrl-C; prints one line of JSON, where they answer, when they are ready."""
    from skyrelay_simulators.site import load_site, run_site  # heavy: the telescopes themselves

    with _explained():
        if site is not None:
            spec = load_site(site)
        else:
            traits: dict[str, Any] = {
                "host": host,
                "rpc_port": rpc_port,
                "http_port": http_port,
                "smb_port": smb_port,
                "udp_port": udp_port,
                "firmware_ver_int": firmware,
                "stack_seconds": stack_seconds,
                "smb_backend": smb,
                "wants_key": public_key is not None,
                "public_key_pem": public_key.read_bytes() if public_key is not None else None,
            }
            spec = _one_telescope(traits, serial, timezone, root, frames, speed, control_port)
        with _until_told():
            run_site(spec, stop=threading.Event(), announce=typer.echo, endpoints_file=endpoints, play=play)


@simulate.command()
def garden(
    folder: Annotated[Path, typer.Option(help="Where the eMMCs, the key and the configuration are put.")],
    control_port: Annotated[int, typer.Option(help="Port to drive it all; 0 is any free one.")] = 4790,
) -> None:
    """Run three telescopes until Ctrl-C: one observes, one wants a key, one is switched off.

    They are at 127.0.0.2 to 127.0.0.4, with the usual command and discovery ports. FOLDER gets what to look
    at them with: config.yaml for Skyrelay, and site.yaml for `skyrelay simulate telescope --site`.
    """
    from skyrelay_simulators.garden import lay_out  # heavy: the telescopes themselves
    from skyrelay_simulators.site import load_site, run_site

    with _explained():
        spec = load_site(lay_out(folder, control_port=control_port))
        with _until_told():
            run_site(spec, stop=threading.Event(), announce=typer.echo, play=True)


def _one_telescope(
    traits: dict[str, Any],
    serial: str,
    timezone: str,
    root: Path | None,
    frames: Path | None,
    speed: float | None,
    control_port: int,
) -> SiteSpec:
    from dataclasses import replace

    from skyrelay_simulators.site import SiteSpec, SiteTelescope, replay_site
    from skyrelay_simulators.telescope import SmbBackend, TelescopeSpec

    traits["smb_backend"] = SmbBackend(traits["smb_backend"])
    place = root or Path("telescope-data")
    if frames is not None:  # serial and zone are the frames' own
        return replace(replay_site(frames, place, speed=speed, **traits), control_port=control_port)
    spec = TelescopeSpec(serial=serial, root=place, timezone=timezone, **traits)
    return SiteSpec(telescopes=(SiteTelescope(telescope=spec),), control_port=control_port)


@simulate.command()
def crowdsky(
    data_dir: Annotated[Path, typer.Option(help="Where uploads are kept.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 is any free one.")] = 8480,
    username: Annotated[str, typer.Option(help="The one account's name.")] = "demo",
    password: Annotated[
        str, typer.Option(envvar="CROWDSKY_PASSWORD", help="Its password; better in the environment.")
    ] = "demo",  # noqa: S107 - a stand-in's password guards nothing
    ready_file: Annotated[
        Path | None, typer.Option(help="File that tells the address, once it answers.")
    ] = None,
    processing_delay_s: Annotated[
        float, typer.Option(help="Seconds until an upload shows in the list.")
    ] = 0.0,
) -> None:
    """Run a CrowdSky server until Ctrl-C."""
    from skyrelay_simulators.crowdsky import serve  # heavy: a web server

    serve(host, port, data_dir, username, password, ready_file, processing_delay_s=processing_delay_s)


@simulate.command()
def cloud(
    data_dir: Annotated[Path, typer.Option(help="Where the registry and uploads are kept.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 is any free one.")] = 8481,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that tells the address, once it answers.")
    ] = None,
) -> None:
    """Run a node cloud until Ctrl-C; plans and interrupts are set below /_sim/."""
    from skyrelay_simulators.cloud import serve  # heavy: a web server

    with _explained():
        serve(host, port, data_dir, ready_file)


@simulate.command()
def night(
    root: Annotated[Path, typer.Option(help="Folder that plays the eMMC: frames appear in its MyWorks.")],
    target: Annotated[str, typer.Option(help="Name of the target.")] = "M 81",
    ra_deg: Annotated[float, typer.Option(help="Right ascension, degrees.")] = 148.888,
    dec_deg: Annotated[float, typer.Option(help="Declination, degrees.")] = 69.065,
    start: Annotated[str, typer.Option(help="First exposure, ISO 8601 with offset; default: now.")] = "",
    count: Annotated[int, typer.Option(help="How many frames.")] = 90,
    exposure_s: Annotated[float, typer.Option(help="Exposure time, seconds.")] = 10.0,
    filter_name: Annotated[str, typer.Option("--filter", help="IRCUT or LP.")] = "IRCUT",
    width: Annotated[int, typer.Option(help="Pixels.")] = 1080,
    height: Annotated[int, typer.Option(help="Pixels.")] = 1920,
    serial: SerialOption = "5e3a7b21",
    timezone: ZoneOption = "UTC",
    firmware: FirmwareOption = 2846,
    frames: FramesOption = None,
    speed: SpeedOption = None,
) -> None:
    """Write a night's frames into a folder, without any telescope."""
    from skyrelay_simulators.night import (  # heavy: numpy
        NightPlan,
        NightPlayer,
        ReplayPlan,
        TargetPlan,
        make_night,
        replay_night,
    )
    from skyrelay_simulators.telescope import SystemClock, TelescopeSpec
    from skyrelay_simulators.telescope.clock import WallClock

    with _explained(), _until_told():
        if frames is not None:
            played = replay_night(ReplayPlan(directory=frames, speed=speed), root)
        else:
            begin = datetime.fromisoformat(start) if start else datetime.now(UTC)
            plan = TargetPlan(
                target=target,
                ra_deg=ra_deg,
                dec_deg=dec_deg,
                start=begin,
                frames=count,
                exposure_s=exposure_s,
                filter=filter_name,
            )
            spec = TelescopeSpec(serial=serial, root=root, timezone=timezone, firmware_ver_int=firmware)
            sky = NightPlan(targets=(plan,), width=width, height=height, speed=speed)
            played = make_night(sky, spec, WallClock(SystemClock(), timezone).to_local)
        progress = NightPlayer(played).play()
        typer.echo(f"{progress.written} of {progress.total} frames written below {root}")
        if progress.error:
            raise OSError(progress.error)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what a person got wrong into one line and exit code 2."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(_WRONG_USE) from error


@contextmanager
def _until_told() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block cleanly; the second signal does not disturb the first."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
