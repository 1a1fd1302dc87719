"""Whether everything that Skyrelay needs is there, and what to do about what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from skyrelay.errors import TransientError
from skyrelay.queue.beats import Beat, read_beats
from skyrelay.queue.frame_stream import Intake
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.models import PartView, ServiceView

# The services that beat; the gateway's own sign of life is its answer.
SERVICES = ("watcher", "intake", "stacker", "scheduler", "uploader", "cloud-agent")


@dataclass(frozen=True, slots=True)
class Signs:
    """What Redis says; `None` for ``beats`` and ``backlog`` when it does not answer."""

    beats: Mapping[str, Beat] | None
    backlog: int | None
    problem: str | None = None


def read_signs(redis: Redis) -> Signs:
    """Ask Redis for the beats and the stream's backlog."""
    try:
        return Signs(read_beats(redis), Intake(redis, "gateway").backlog())
    except RedisError as error:
        return Signs(None, None, str(error) or type(error).__name__)
    except (ValueError, KeyError, TypeError):
        return Signs(None, None, "it holds beats that are none of ours")


def check_readiness(gateway: Gateway) -> tuple[PartView, ...]:
    """Look at each part."""
    return check_parts(gateway, read_signs(gateway.redis))


def check_parts(gateway: Gateway, signs: Signs) -> tuple[PartView, ...]:
    """Look at each part, when it is known already what Redis says."""
    redis = "answers" if signs.problem is None else f"does not answer: {signs.problem}"
    what_to_do = None if signs.problem is None else "Start Redis, or correct redis_url."
    return (
        _check_database(gateway.store),
        _check_archive(gateway.settings.archive_path),
        PartView(part="redis", ready=signs.problem is None, state=redis, what_to_do=what_to_do),
        *(_service_part(service) for service in service_views(signs, gateway.clock())),
    )


def service_views(signs: Signs, now: datetime) -> Iterator[ServiceView]:
    """Say of each service how it is; those that nobody expected come last."""
    beats = signs.beats or {}
    for name in (*SERVICES, *sorted(beats.keys() - set(SERVICES))):
        beat = beats.get(name)
        if beat is None:
            unseen = "cannot know" if signs.beats is None else "never seen"
            yield ServiceView(service=name, state=unseen, at=None, age_s=None, detail={})
        else:
            state = "silent" if beat.is_stale(now) else "working"
            age_s = (now - beat.at).total_seconds()
            yield ServiceView(service=name, state=state, at=beat.at, age_s=age_s, detail=dict(beat.detail))


def service_remedy(service: ServiceView) -> str | None:
    """Say what to do about a service that does not work."""
    if service.state == "working":
        return None
    if service.state == "cannot know":
        return "Services beat in Redis: start that first."
    return f"Start the {service.service}, or look into its log for why it is silent."


def _service_part(service: ServiceView) -> PartView:
    state = (
        service.state if service.age_s is None else f"{service.state}, last beat {service.age_s:.0f} s ago"
    )
    remedy = service_remedy(service)
    return PartView(part=service.service, ready=remedy is None, state=state, what_to_do=remedy)


def _check_archive(folder: Path) -> PartView:
    """Look whether the archive can be read, or has yet to be made: its disk may not be there."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if existing.is_dir() and os.access(existing, os.R_OK | os.X_OK):
        words = "can be read" if existing == folder.absolute() else "is made when the first stack arrives"
        return PartView(part="archive", ready=True, state=words, what_to_do=None)
    what_to_do = "See that archive.path is a folder that Skyrelay may read."
    return PartView(part="archive", ready=False, state=f"cannot be read: {existing}", what_to_do=what_to_do)


def _check_database(store: Store) -> PartView:
    try:
        check_migrated(store)
    except TransientError as error:
        return PartView(part="database", ready=False, state=str(error), what_to_do="Run `skyrelay migrate`.")
    except DBAPIError as error:
        state = f"does not answer: {error.orig}"
        what_to_do = "Start the database, or correct database_url or data_dir."
        return PartView(part="database", ready=False, state=state, what_to_do=what_to_do)
    return PartView(part="database", ready=True, state="has this release's schema", what_to_do=None)
