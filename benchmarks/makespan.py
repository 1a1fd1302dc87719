"""From a night's last frame to its last delivery: our services beside the sequence that people run today.

Four telescopes with ten blocks each observe until the clock starts. Beside each other, in one run, on fresh
copies of the same simulated telescopes (processes of their own, on a telescope's own ports) and the server:

- the public client `seestarpy`, in a process and an environment of its own, started the very moment that the
  observation ends: ``stack_all(ips="all")``, which drives the four at once, then ``upload_all_stacks()`` for
  each of them;
- our services with a real Redis, which run already, as they do in a home, and have to notice the end: with
  their own settings but for ``stacking.idle_s: 0`` (who starts a script does not wait for the telescope
  to have been idle either).

The clock stops when the server has the last stack. A stack takes a real telescope one to two minutes; here it
takes ``--stack-seconds``, for both. The less it is, the more the waits of either side count: the client looks
every 3 s, our scheduler every 30 s. Needs root and smbd.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import yaml
from common import Goal, Report, options_of, repeats_of

from skyrelay.errors import SkyrelayError
from skyrelay.gateway_client import ask_gateway
from skyrelay.settings import Settings
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.demo.scene import free_port
from skyrelay_simulators.night import NightPlan, NightPlayer, TargetPlan, make_night
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec, generate_key_pair
from support.public_client import public_client

TELESCOPES, BLOCKS_EACH, FRAMES, EXPOSURE_S = 4, 10, 12, 20.0
ALL = TELESCOPES * BLOCKS_EACH
ACCOUNT, PASSWORD = "alice", "s3cret"
_SERIALS = ("1d3fe189", "5e3a7b21", "a3497936", "0b77c1d2")
_TARGETS = (("M 81", "M 31"), ("M 42", "NGC 7000"), ("M 51", "M 13"), ("IC 434", "M 101"))
_FIRST = datetime(2026, 2, 28, 2, 0, 5, tzinfo=UTC)
_LOOK_EVERY_S = 0.1
_AT_MOST_S = 1800.0
_THEIRS = """
import json, sys
from seestarpy import connection, crowdsky
from seestarpy.crowdsky import server
order = json.loads(sys.argv[1])
connection.AVAILABLE_IPS.clear(); connection.DISCOVERED.clear()
for number, host in enumerate(order["hosts"]):
    connection.AVAILABLE_IPS[f"simulated-{number}"] = host
connection.DEFAULT_IP = order["hosts"][0]
connection.VERBOSE_LEVEL = 0
server.set_base_url(order["base_url"])
server.set_credentials(order["username"], order["password"])
crowdsky.stack_all(ips="all")
for host in order["hosts"]:
    connection.DEFAULT_IP = host
    server.upload_all_stacks(dest=order["folder"])
"""


def main() -> None:
    """Measure and print the table."""
    own = ("--stack-seconds", {"type": float, "help": "what the telescope takes for a stack (10)"})
    options = options_of(__doc__, own)
    stack_s = options.stack_seconds or (0.5 if options.quick else 10.0)
    public_client()  # made where it is not there yet: that is not measured
    theirs_s, ours_s = [], []
    for _ in range(repeats_of(options, 1)):
        theirs_s.append(measure(7, stack_s, the_public_client))
        ours_s.append(measure(8, stack_s, our_services))
    report = Report("makespan", options)
    what = f"{ALL} blocks on {TELESCOPES} telescopes, {stack_s:g} s a stack, beside the client's sequence"
    report.add(f"until the last delivery: {what}", ours_s, theirs_s, goal=Goal(most=1))
    report.close()


@dataclass(frozen=True, slots=True)
class Place:
    """Fresh telescopes with their frames, a fresh server, and a folder for whoever is measured."""

    folder: Path
    hosts: tuple[str, ...]
    crowdsky: SimulatedCrowdSky

    @property
    def key(self) -> Path:
        """The private key that the telescopes want."""
        return self.folder / "key.pem"


Start = Callable[[], None]


def measure(subnet: int, stack_s: float, ready: Callable[[Place], AbstractContextManager[Start]]) -> float:
    """Give the seconds from the end of the observations until the server has the last stack.

    Parameters
    ----------
    ready
        Makes everything ready that is ready in a home before a night ends; gives what is then started.
    """
    with tempfile.TemporaryDirectory(prefix="sky-") as folder, ExitStack() as running:
        server = SimulatedCrowdSky(Path(folder) / "crowdsky", {ACCOUNT: PASSWORD})
        hosts = tuple(f"127.9.{subnet}.{number + 1}" for number in range(TELESCOPES))
        place = Place(Path(folder), hosts, running.enter_context(server))
        place.key.write_bytes((pair := generate_key_pair()).private_pem)
        ends = [
            running.enter_context(telescope(number, host, place.folder, pair.public_pem, stack_s))
            for number, host in enumerate(hosts)
        ]
        start = running.enter_context(ready(place))
        for end_observation in ends:
            end_observation()
        began = time.perf_counter()
        start()
        wait_for_all(server)
        return time.perf_counter() - began


def wait_for_all(server: SimulatedCrowdSky) -> None:
    """Wait until the server has every block's stack once; more than that is a fault."""
    deadline = time.monotonic() + _AT_MOST_S
    while len(server.uploads) < ALL:
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(server.uploads)} of {ALL} stacks have arrived")
        time.sleep(_LOOK_EVERY_S)
    if len({stack.file_name for stack in server.uploads}) != ALL:
        raise SystemExit("a stack has arrived twice")


@contextmanager
def the_public_client(place: Place) -> Iterator[Start]:
    """Give what runs the sequence, in the client's own environment."""
    order = {
        "hosts": place.hosts,
        "base_url": place.crowdsky.base_url,
        "username": ACCOUNT,
        "password": PASSWORD,
        "folder": str(place.folder / "downloads"),
    }
    environment = {
        "PATH": os.defpath,
        "HOME": str(place.folder),
        "TZ": "America/New_York",
        "PYTHONUTF8": "1",
        "SEESTAR_KEY_PATH": str(place.key),
    }
    command = [str(public_client().python), "-c", _THEIRS, json.dumps(order)]
    with ExitStack() as running:

        def start() -> None:
            popen = subprocess.Popen(command, env=environment, cwd=place.folder, stdout=subprocess.DEVNULL)
            running.callback(running.enter_context(popen).terminate)

        yield start


@contextmanager
def our_services(place: Place) -> Iterator[Start]:
    """Run all services and a Redis, and wait until they have seen that each telescope observes."""
    config = {
        "setup": "done",
        "data_dir": str(place.folder / "data"),
        "redis_url": f"unix://{place.folder / 'redis.sock'}",
        "telescopes": [
            {"name": f"telescope-{number + 1}", "host": host, "key_path": str(place.key)}
            for number, host in enumerate(place.hosts)
        ],
        "stacking": {"idle_s": 0},
        "crowdsky": {"base_url": place.crowdsky.base_url, "username": ACCOUNT, "password": PASSWORD},
        "gateway": {"host": "127.0.0.1", "port": free_port()},
    }
    (place.folder / "config.yaml").write_text(yaml.safe_dump(config))
    redis = place.folder / "redis.sock"
    with Services(place.folder / "config.yaml", place.folder / "logs", redis) as services:
        services.migrate()
        services.start_redis()
        for name in services.names:
            services.start(name)
        wait_until_seen(Settings.model_validate(config))
        yield lambda: None


def wait_until_seen(settings: Settings) -> None:
    """Wait until the services know that every telescope observes."""
    while True:
        with suppress(SkyrelayError):  # the gateway does not answer at once
            seen = ask_gateway(settings, "/api/v1/status")["telescopes"]
            if [each["state"] for each in seen] == ["observing"] * TELESCOPES:
                return
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def telescope(
    number: int, host: str, folder: Path, public_key_pem: bytes, stack_s: float
) -> Iterator[Callable[[], None]]:
    """Run a telescope with its night's frames in a process of its own; give what ends its observation."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    arguments = (there, number, host, folder / _SERIALS[number], public_key_pem, stack_s)
    process = context.Process(target=_simulate, args=arguments)
    process.start()
    try:
        here.recv()
        yield lambda: _end_observation(here)
    finally:
        here.send("stop")
        process.join()


def _end_observation(there: Connection) -> None:
    there.send("end")
    there.recv()


def _simulate(
    control: Connection, number: int, host: str, root: Path, public_key_pem: bytes, stack_s: float
) -> None:
    spec = TelescopeSpec(
        serial=_SERIALS[number],
        root=root,
        host=host,
        rpc_port=4700,
        http_port=80,
        smb_port=445,
        timezone="America/New_York",
        wants_key=True,
        public_key_pem=public_key_pem,
        smb_backend=SmbBackend.SMBD,
        stack_seconds=stack_s,
    )
    with SimulatedTelescope(spec) as running:
        for block in range(BLOCKS_EACH):
            target = TargetPlan(
                target=_TARGETS[number][block % 2],
                start=_FIRST + block * timedelta(minutes=15),
                frames=FRAMES,
                exposure_s=EXPOSURE_S,
                ra_deg=40.0 + 80.0 * number + 10.0 * (block % 2),
                dec_deg=40.0,
            )
            night = NightPlan(targets=(target,), width=32, height=48)
            NightPlayer(make_night(night, spec, running.wall_clock.to_local)).play()
        running.observe(_TARGETS[number][0])
        control.send("ready")
        if control.recv() == "end":
            running.finish_observing()
            control.send("ended")
            control.recv()


if __name__ == "__main__":
    main()
