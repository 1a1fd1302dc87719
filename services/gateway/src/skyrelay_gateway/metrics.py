"""What Prometheus is told: figures of the whole house, looked up when it asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from skyrelay.domain.states import OWED_DELIVERIES, BlockState, DeliveryState, TelescopeState
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import Queue
from skyrelay.store.tables import Block, Delivery, Destination, Stack, Telescope
from skyrelay.version import __version__
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.models import PartView
from skyrelay_gateway.readiness import Signs, check_parts, read_signs, service_views
from skyrelay_gateway.status import count_frames, count_states

_MEBIBYTE = 1024 * 1024
_BROKER_PREFIX = "skyrelay:"  # as `skyrelay.queue.celery_app` sets it


def expose(gateway: Gateway, viewers: int) -> bytes:
    """Write all figures in Prometheus' text form; those of the database are left out while it is away."""
    registry = CollectorRegistry()
    registry.register(_House(gateway, viewers))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _House(Collector):
    """Looks everything up once, for one answer."""

    def __init__(self, gateway: Gateway, viewers: int) -> None:
        self._gateway = gateway
        self._viewers = viewers

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name nothing beforehand: that would look everything up twice."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """Give all families."""
        gateway, now = self._gateway, self._gateway.clock()
        signs = read_signs(gateway.redis)
        yield InfoMetricFamily("skyrelay_build", "This release.", {"version": __version__})
        yield _one("skyrelay_setup_done", "Whether the set-up is done.", gateway.settings.setup == "done")
        yield _one("skyrelay_live_viewers", "Open streams of events.", self._viewers)
        yield _parts(check_parts(gateway, signs))
        yield from _of_redis(gateway, signs, now)
        yield from _of_disks(gateway)
        yield from _if_there(gateway, now)


def _if_there(gateway: Gateway, now: datetime) -> Iterator[GaugeMetricFamily]:
    try:
        with gateway.store.read() as session:
            families = [*_of_work(session, now), *_of_telescopes(session, now)]
    except (DBAPIError, PoolTimeout) as error:
        get_logger(__name__).warning("the database gave no figures", problem=str(error))
        return
    yield from families


def _of_redis(gateway: Gateway, signs: Signs, now: datetime) -> Iterator[GaugeMetricFamily]:
    ages = {view.service: view.age_s for view in service_views(signs, now) if view.age_s is not None}
    yield _by("skyrelay_heartbeat_age_seconds", "Since a service's last sign of life.", "service", ages)
    if signs.backlog is not None:
        yield _one("skyrelay_stream_backlog", "Frame events that wait to be taken in.", signs.backlog)
    yield _by("skyrelay_queue_length", "Tasks that wait for a worker.", "queue", _queues(gateway))


def _queues(gateway: Gateway) -> dict[str, float]:
    try:
        return {queue.value: gateway.redis.llen(_BROKER_PREFIX + queue) for queue in Queue}
    except RedisError:
        return {}


def _of_disks(gateway: Gateway) -> Iterator[GaugeMetricFamily]:
    places = {"data": gateway.settings.data_dir, "archive": gateway.settings.archive_path}
    usage = {name: shutil.disk_usage(_existing(path)) for name, path in places.items()}
    free, total = (
        {name: each.free for name, each in usage.items()},
        {name: each.total for name, each in usage.items()},
    )
    yield _by("skyrelay_disk_free_bytes", "Free on the disk of a folder.", "folder", free)
    yield _by("skyrelay_disk_size_bytes", "Size of the disk of a folder.", "folder", total)


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _of_work(session: Session, now: datetime) -> Iterator[GaugeMetricFamily]:
    blocks = count_states(session, Block.state, BlockState)
    yield _by("skyrelay_frames", "Sub-frames in the books, by state.", "state", count_frames(session))
    yield _by("skyrelay_blocks", "Blocks by state.", "state", blocks)
    for column, name in ((Block, "blocks"), (Delivery, "deliveries")):
        count = session.scalar(select(func.count()).select_from(column).where(column.needs_you.is_(True)))
        yield _one(f"skyrelay_{name}_need_you", f"Those of the {name} that wait for a person.", count or 0)
    total, archived = session.execute(select(func.count(), func.count(Stack.fetched_at))).one()
    yield _one("skyrelay_stacks", "Stacks in the books.", total)
    yield _one("skyrelay_stacks_archived", "Stacks that were fetched into the archive.", archived)
    yield _deliveries(session)
    yield from _outbox(session, now)


def _deliveries(session: Session) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "skyrelay_deliveries", "Deliveries by destination and state.", labels=("destination", "state")
    )
    query = select(Delivery.destination, Delivery.state, func.count())
    rows = session.execute(query.group_by(Delivery.destination, Delivery.state))
    counts = {(destination, state): number for destination, state, number in rows}
    for destination in sorted({destination for destination, _state in counts}):
        for state in DeliveryState:
            family.add_metric((destination, state), counts.get((destination, state), 0))
    return family


def _outbox(session: Session, now: datetime) -> Iterator[GaugeMetricFamily]:
    owed = select(Delivery.destination, func.min(Delivery.created_at)).where(
        Delivery.state.in_(OWED_DELIVERIES)
    )
    rows = session.execute(owed.group_by(Delivery.destination))
    ages = {destination: (now - since).total_seconds() for destination, since in rows}
    yield _by(
        "skyrelay_outbox_oldest_seconds", "How long the oldest owed delivery waits.", "destination", ages
    )
    destinations = session.execute(select(Destination.name, Destination.paused_reason))
    paused = {name: float(reason is not None) for name, reason in destinations}
    yield _by("skyrelay_destination_paused", "Whether nothing is sent there.", "destination", paused)


def _of_telescopes(session: Session, now: datetime) -> Iterator[GaugeMetricFamily]:
    rows = session.scalars(
        select(Telescope).where(Telescope.forgotten_at.is_(None)).order_by(Telescope.name)
    ).all()
    states = GaugeMetricFamily(
        "skyrelay_telescope_state", "1 for the state that a telescope is in.", labels=("telescope", "state")
    )
    for row in rows:
        for state in TelescopeState:
            states.add_metric((row.name, state), float(row.state == state))
    yield states
    figures = (
        ("last_seen_seconds", "Since it was last spoken to.", lambda row: _since(row.last_seen_at, now)),
        (
            "inventory_age_seconds",
            "Since its last inventory.",
            lambda row: _since(row.inventory_finished_at, now),
        ),
        ("battery_percent", "Charge of its battery.", lambda row: row.battery_percent),
        ("temperature_celsius", "How warm it is inside.", lambda row: row.temperature_c),
        ("free_bytes", "Free on its storage.", lambda row: row.free_mb and row.free_mb * _MEBIBYTE),
    )
    for name, words, figure in figures:
        known = {row.name: value for row in rows if (value := figure(row)) is not None}
        yield _by(f"skyrelay_telescope_{name}", words, "telescope", known)


def _since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


def _parts(parts: Iterable[PartView]) -> GaugeMetricFamily:
    ready = {part.part: float(part.ready) for part in parts}
    return _by("skyrelay_part_ready", "Whether a part is ready, as /readyz says.", "part", ready)


def _one(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, float(value))


def _by(name: str, words: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), float(value))
    return family
