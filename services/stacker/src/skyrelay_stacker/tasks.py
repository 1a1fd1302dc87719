"""The stacker's tasks: read the message, call one use case."""

from __future__ import annotations

from datetime import timedelta

from celery import Celery

from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.tasks import (
    BlockMessage,
    Nothing,
    PurgeMessage,
    TaskName,
    TelescopeMessage,
    TrialMessage,
)
from skyrelay.service import utc_now
from skyrelay.store.idempotency import forget_old_keys
from skyrelay.store.retention import forget_history
from skyrelay_stacker.discovering import discover_telescopes, is_left_to_another
from skyrelay_stacker.driving import stack_block
from skyrelay_stacker.looking import look_at_telescope
from skyrelay_stacker.purging import see_to_purge
from skyrelay_stacker.reconciling import reconcile
from skyrelay_stacker.trying import try_telescope
from skyrelay_stacker.workshop import Workshop


def register_tasks(app: Celery, workshop: Workshop) -> None:
    """Give the worker its tasks."""

    @app.task(name=TaskName.RECONCILE_STACKING.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def reconcile_stacking(payload: object) -> None:
        Nothing.read(payload)
        reconcile(workshop.in_force())

    @app.task(name=TaskName.LOOK_AT_TELESCOPE.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def look(payload: object) -> None:
        look_at_telescope(workshop.in_force(), TelescopeMessage.read(payload).telescope_id)

    @app.task(name=TaskName.STACK_BLOCK.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def stack(payload: object) -> None:
        stack_block(workshop.in_force(), BlockMessage.read(payload).block_id)

    @app.task(name=TaskName.TRY_TELESCOPE.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def try_one(payload: object) -> None:
        try_telescope(workshop, TrialMessage.read(payload).trial_id)

    @app.task(name=TaskName.DISCOVER_TELESCOPES.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def find_telescopes(payload: object) -> None:
        Nothing.read(payload)
        if not is_left_to_another(workshop.settings.data_dir):
            discover_telescopes(workshop.in_force())

    @app.task(name=TaskName.TIDY.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def tidy_up(payload: object) -> None:
        Nothing.read(payload)
        with workshop.store.write() as session:
            forget_old_keys(session, utc_now())
            if days := workshop.in_force().settings.retention.history_days:
                forget_history(session, utc_now() - timedelta(days=days))

    @app.task(name=TaskName.PURGE.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def purge(payload: object) -> None:
        see_to_purge(workshop, PurgeMessage.read(payload).part_id)

    @app.task(name=TaskName.STACKER_CANARY.value)  # type: ignore[untyped-decorator] # Celery ships no types
    def canary(payload: object) -> None:
        Nothing.read(payload)
        state = "working" if workshop.in_force().may_act else "waiting for set-up"
        with connect_redis(workshop.settings.redis) as redis:
            beat(redis, "stacker", utc_now(), state=state)
