"""Several hosts, one PostgreSQL, one Redis: ``python -m support.many_hosts`` (from ``tests``).

Each "host" has a host name, a network (where root can make one) and a ``data_dir`` with an archive of its
own. What they share is the database, Redis and the file with the key of the secrets. One host is killed in
the middle, all its processes at once and its network with them. In the end each block must have been
stacked, named and delivered exactly once, and what the dead host held be taken over within 60 s.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
import yaml
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Delivery, Stack, Telescope
from skyrelay_simulators.chaos.machine import Machine
from skyrelay_simulators.chaos.rehearsal import start_simulators
from skyrelay_simulators.chaos.scene import Scene
from skyrelay_simulators.chaos.services import Services
from skyrelay_simulators.chaos.simulators import Simulators
from skyrelay_simulators.chaos.verdict import Verdict, is_settled, judge
from skyrelay_simulators.demo.processes import Processes
from skyrelay_simulators.demo.scene import free_port
from support.postgres_server import find_postgres, running_postgres
from support.redis_server import RedisServer

HOME = "10.213.0.1"  # where the simulators answer, seen from each host's network
OF_EACH = ("stacker", "uploader", "scheduler")
GATEWAYS = 2  # on the first hosts
TAKEN_OVER_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    telescopes: int = 50
    blocks: int = 4
    hosts: int = 3
    kill: bool = True
    within_s: float = 1500.0


@dataclass
class Report:
    """What happened."""

    verdict: Verdict | None = None
    blocks_per_minute: float = 0.0
    taken_over_s: float | None = None
    held_by_dead: list[str] = field(default_factory=list)
    gateways: list[int] = field(default_factory=list)
    connections: int = 0
    lasted_s: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost or came twice, and the dead host's work was taken over in time."""
        in_time = self.taken_over_s is None or self.taken_over_s <= TAKEN_OVER_WITHIN_S
        return self.verdict is not None and self.verdict.is_good and in_time


@dataclass(frozen=True, slots=True)
class HostMachine(Machine):
    """A machine with a name, and a network where root can make one."""

    name: str = ""
    network: str = ""

    def command(self, command: Sequence[str]) -> list[str]:
        """Start a service on this host."""
        if not self.network:
            return [*command]
        inside = f"hostname {self.name} && exec {shlex.join(command)}"
        return ["ip", "netns", "exec", self.network, "unshare", "--uts", "sh", "-c", inside]


class Host:
    """One host: its services, its data and its archive."""

    def __init__(self, number: int, folder: Path, network: str, address: str, redis: RedisServer) -> None:
        self.number, self.folder, self.network, self.address = number, folder, network, address
        self.name = f"host-{number}" if network else os.uname().nodename
        folder.mkdir(parents=True)
        machine = HostMachine(folder, frozenset(), name=self.name, network=network)
        self.services = Services(folder / "config.yaml", folder / "logs", redis.socket, machine)
        self.names = [*OF_EACH, *(["gateway"] if number <= GATEWAYS else [])]
        self.names += ["watcher", "cloud-agent"] if number == 1 else []  # one of each is enough
        self.port = free_port()

    def configure(self, common: dict[str, Any]) -> None:
        """Write its configuration: what all share, and what is its own."""
        own = {"data_dir": str(self.folder / "data"), "gateway": {"host": self.address, "port": self.port}}
        (self.folder / "config.yaml").write_text(yaml.safe_dump({**common, **own}), encoding="utf-8")

    def start(self) -> None:
        """Start its services."""
        for name in self.names:
            self.services.start(name)

    def die(self) -> None:
        """Lose its power: every process at once, and the network."""
        if self.network:
            subprocess.run(["ip", "link", "set", _link(self.network), "down"], check=True)
        for name in self.names:
            self.services.kill(name, with_children=True)
        self.names.clear()

    def gateway_answers(self) -> int:
        """Ask its page whether it is ready."""
        return requests.get(f"http://{self.address}:{self.port}/readyz", timeout=30).status_code


def play(folder: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> Report:
    """Play it; give what happened."""
    report, began = Report(), time.monotonic()
    programs = find_postgres()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    with ExitStack() as running:
        postgres = running.enter_context(running_postgres(programs))
        redis = running.enter_context(_redis())
        store = Store(postgres.create_database())
        running.callback(store.close)
        networks = running.enter_context(_networks(plan.hosts))
        scene = Scene(folder, plan.telescopes, plan.blocks, host=HOME if networks else "127.0.0.1")
        simulators = start_simulators(running.enter_context(Processes(folder / "logs")), scene)
        hosts = _hosts(scene, plan, networks, redis, _common(scene, store, redis), running)
        hosts[0].services.migrate()
        simulators.start_night()
        _wait(simulators.night_is_over, plan.within_s, "the night is not over")
        say(f"{plan.telescopes} nights have fallen; {plan.hosts} hosts start")
        for host in hosts:
            host.start()
        if plan.kill:
            _kill_one(hosts, store, len(scene.expected()), report, plan, say)
        _settle(scene, simulators, store, plan, report, say)
        report.gateways = [host.gateway_answers() for host in hosts if "gateway" in host.names]
        report.verdict = judge(scene, simulators)
        _count(store, report)
    report.lasted_s = time.monotonic() - began
    return report


def _common(scene: Scene, store: Store, redis: RedisServer) -> dict[str, Any]:
    """Give what all hosts are told: the rehearsal's configuration, by database and Redis of their own."""
    scene.write_config(redis.url)
    common = yaml.safe_load(scene.config.read_text(encoding="utf-8"))
    url = store.engine.url.render_as_string(hide_password=False)
    return {
        **common,
        "database_url": url,
        "secret_key_file": str(scene.folder / "secret.key"),
        "image_watcher": {
            "enabled": False
        },  # inventories find the frames: no host sees the telescopes' disks
        "scheduler": {"reconcile_s": 5, "inventory_s": 30},
    }


def _hosts(
    scene: Scene,
    plan: Plan,
    networks: list[tuple[str, str]],
    redis: RedisServer,
    common: dict[str, Any],
    running: ExitStack,
) -> list[Host]:
    places = networks or [("", "127.0.0.1")] * plan.hosts
    hosts = []
    for number, (network, address) in enumerate(places, 1):
        host = Host(number, scene.folder / f"host-{number}", network, address, redis)
        host.configure(common)
        running.enter_context(host.services)
        hosts.append(host)
    return hosts


def _kill_one(
    hosts: list[Host], store: Store, blocks: int, report: Report, plan: Plan, say: Callable[[str], None]
) -> None:
    """Kill the last host once a third is stacked and it holds a telescope; wait until all is taken over."""
    victim = hosts[-1]
    _wait(lambda: _stacked(store) * 3 >= blocks, plan.within_s, "not a third is stacked")
    _wait(lambda: bool(_held_by(store, victim)), plan.within_s, "the last host holds nothing")
    victim.die()
    killed_at = time.monotonic()
    telescopes, rows = _held_by(store, victim), _rows_in_hand(store)
    report.held_by_dead = [*telescopes]
    say(f"{victim.name} is dead; it held {', '.join(telescopes)}; {len(rows)} transfers were under way")

    def is_taken_over() -> bool:
        still = set(_held_by(store, victim)) & set(telescopes)
        return not still and not rows & _rows_in_hand(store)

    _wait(is_taken_over, plan.within_s, "the dead host's work was not taken over")
    report.taken_over_s = time.monotonic() - killed_at
    say(f"taken over after {report.taken_over_s:.0f} s")


def _held_by(store: Store, host: Host) -> dict[str, str]:
    """Give the telescopes that some process of a host holds, with the fence of the holding."""
    pids = {str(host.services.pid_of(name)) for name in host.names}
    with store.read() as session:
        query = select(Telescope).where(Telescope.lease_holder.is_not(None))
        return {
            f"{each.name} ({each.lease_fence})": str(each.lease_holder)
            for each in session.scalars(query)
            if _is_of(str(each.lease_holder), host, pids)
        }


def _is_of(holder: str, host: Host, pids: set[str]) -> bool:
    """Tell by the host's name; where all have the machine's own, by the process's group."""
    name, _, pid = holder.partition(":")
    if host.network:
        return name == host.name
    try:
        return str(os.getpgid(int(pid))) in pids
    except ProcessLookupError:
        return False


def _rows_in_hand(store: Store) -> set[tuple[str, int, datetime]]:
    """Give the fetches and deliveries that some uploader has under a lease, each as it was claimed.

    A renewal changes the time; a claim that stays as it is has a holder that does nothing any more.
    """
    with store.read() as session:
        return {*_leases(session, "fetch"), *_leases(session, "delivery")}


def _leases(session: Session, kind: str) -> Iterator[tuple[str, int, datetime]]:
    table, until = (Stack, Stack.fetch_lease_until) if kind == "fetch" else (Delivery, Delivery.lease_until)
    for id_, at in session.execute(select(table.id, until).where(until.is_not(None))):
        yield kind, id_, at


def _stacked(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Stack)) or 0


def _settle(
    scene: Scene,
    simulators: Simulators,
    store: Store,
    plan: Plan,
    report: Report,
    say: Callable[[str], None],
) -> None:
    said_at = time.monotonic()
    deadline = time.monotonic() + plan.within_s
    while not is_settled(scene, simulators) and time.monotonic() < deadline:
        with store.read() as session:
            connections = session.scalar(text("SELECT count(*) FROM pg_stat_activity"))
            report.connections = max(report.connections, int(connections or 0))
        if time.monotonic() - said_at > 15:
            said_at = time.monotonic()
            say(f"{_stacked(store)} stacks of {len(scene.expected())}, {len(simulators.kept())} delivered")
        time.sleep(4 * _LOOK_EVERY_S)


def _count(store: Store, report: Report) -> None:
    """Count blocks a minute, from the first step towards a stack to the last stack, and who did them."""
    with store.read() as session:
        steps = select(func.min(AuditEntry.at), func.max(AuditEntry.at)).where(
            AuditEntry.subject_kind == "block",
            AuditEntry.to_state.in_([BlockState.STACKING, BlockState.STACKED]),
        )
        first, last = session.execute(steps).one()
        report.blocks_per_minute = 60 * _stacked(store) / max((last - first).total_seconds(), 1.0)
        owed = select(func.count()).where(Delivery.state.in_([DeliveryState.DEAD]))
        if session.scalar(owed):
            raise AssertionError("a delivery is dead")


@contextmanager
def _redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="skyrelay-redis-") as folder:  # short: socket paths end at 108
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _networks(number: int) -> Iterator[list[tuple[str, str]]]:
    """Make a network for each host, as root; give their names and addresses, or none."""
    if os.geteuid() != 0:
        yield []
        return
    made: list[str] = []
    _ip("addr", "replace", f"{HOME}/32", "dev", "lo")
    try:
        for each in range(1, number + 1):
            network = f"sky{os.getpid() % 100000}h{each}"
            made.append(network)
            _make_network(network, each)
        yield [(name, f"10.213.{each}.2") for each, name in enumerate(made, 1)]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "addr", "del", f"{HOME}/32", "dev", "lo"], check=False)


def _make_network(name: str, number: int) -> None:
    here, there, net = _link(name), f"{_link(name)}p", f"10.213.{number}"
    _ip("netns", "add", name)
    _ip("link", "add", here, "type", "veth", "peer", "name", there)
    _ip("link", "set", there, "netns", name)
    _ip("addr", "add", f"{net}.1/24", "dev", here)
    _ip("link", "set", here, "up")
    for words in (
        ("addr", "add", f"{net}.2/24", "dev", there),
        ("link", "set", there, "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", name, *words)
    _ip("-n", name, "route", "add", "default", "via", f"{net}.1")


def _link(network: str) -> str:
    return f"v{network.removeprefix('sky')}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _wait(is_so: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(_LOOK_EVERY_S)


def main() -> int:
    """Play it; exit code 0 only when nothing is lost, nothing came twice, and the take-over was in time."""
    full = Plan()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--telescopes", type=int, default=full.telescopes)
    parser.add_argument("--blocks", type=int, default=full.blocks)
    parser.add_argument("--hosts", type=int, default=full.hosts)
    parser.add_argument("--no-kill", dest="kill", action="store_false")
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="skyrelay-hosts-") as folder:
        report = play(Path(folder), plan, lambda line: print(line, flush=True))  # noqa: T201 - a program
    _print(plan, report)
    return 0 if report.is_good else 1


def _print(plan: Plan, report: Report) -> None:
    verdict = report.verdict
    if verdict is None:
        return
    lines = [
        *(f"lost: {line}" for line in verdict.lost),
        *(f"twice: {line}" for line in verdict.twice),
        *(f"odd: {line}" for line in verdict.odd),
        *(f"against the rules: {line}" for line in verdict.misconduct),
        _in_words(plan, report, verdict),
    ]
    if report.taken_over_s is not None:
        lines.append(f"The dead host's work was taken over after {report.taken_over_s:.0f} s.")
    print("\n".join(lines))  # noqa: T201 - a program


def _in_words(plan: Plan, report: Report, verdict: Verdict) -> str:
    return (
        f"{plan.hosts} hosts, {plan.telescopes} telescopes, {verdict.blocks} blocks: "
        f"lost {len(verdict.lost)}, twice {len(verdict.twice)}, odd {len(verdict.odd)}; "
        f"{report.blocks_per_minute:.1f} blocks a minute; most connections {report.connections}; "
        f"gateways {report.gateways}; {report.lasted_s:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
