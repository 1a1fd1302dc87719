"""Flower, for looking at the queues; it is no record of history and holds nothing of value."""

from __future__ import annotations

from skyrelay.queue.celery_app import build_celery, keep_our_logs
from skyrelay.settings import Settings

_KEPT_TASKS = 5000  # in its memory; older ones are forgotten
_COLUMNS = "name,args,state,received,runtime,worker,uuid"  # args: what a task is about, in words


def main(settings: Settings) -> int:
    """Run Flower until SIGTERM or SIGINT, below the path at which the gateway shows it."""
    keep_our_logs()
    app = build_celery(settings.redis)  # so that the broker's address stands in no process's arguments
    app.start(
        [
            "flower",
            f"--address={settings.flower.host}",
            f"--port={settings.flower.port}",
            f"--url-prefix={settings.flower_path.strip('/')}",
            f"--max-tasks={_KEPT_TASKS}",
            f"--tasks-columns={_COLUMNS}",
        ]
    )
    return 0
