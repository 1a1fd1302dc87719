"""Deliver to the node cloud what the agent could not: measurements in batches, then their images."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.errors import PermanentError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.draining import are_measurements_due, send_due_measurements
from skyrelay.outbox.images import are_images_due, send_due_image
from skyrelay.queue.tasks import Nothing, TaskName
from skyrelay.store.tables.destinations import CLOUD
from skyrelay_uploader.workshop import Workshop

NOT_REGISTERED = (
    "the node has no credentials yet: the cloud agent registers it, or set cloud.node_id and cloud.api_key"
)
_TASK_TIME_S = 120.0  # tasks are short: whoever has done so much lets the next one go on

_log = get_logger(__name__)


def deliver_to_cloud(workshop: Workshop) -> None:
    """Send what is due; harmless when nothing is, when another is at it, or when the account is closed."""
    if not workshop.may_send_to_cloud:
        return
    with workshop.to_cloud.one() as free:
        credentials = _credentials(workshop) if free else None
        if credentials is None:
            return
        with workshop.cloud() as client:
            is_done = _send(workshop, client, credentials)
    if not is_done:
        workshop.say(TaskName.DELIVER_TO_CLOUD, Nothing())


def is_cloud_due(workshop: Workshop, session: Session, now: datetime) -> bool:
    """Tell whether there is anything to send to the cloud that it would take now."""
    if not workshop.may_send_to_cloud or accounts.is_closed(session, CLOUD, now):
        return False
    return are_measurements_due(session, now) or (
        workshop.quiet_until() is None and are_images_due(session, now)
    )


def look_after_cloud_account(workshop: Workshop, session: Session, now: datetime) -> None:
    """Pause while there are no credentials; go on when there are others."""
    if not workshop.may_send_to_cloud:
        return
    try:
        credentials, problem = workshop.node_credentials(), NOT_REGISTERED
    except PermanentError as error:
        credentials, problem = None, str(error)
    account = workshop.cloud_account(credentials)
    accounts.resume_if_changed(session, account, now)
    if credentials is None and not accounts.is_closed(session, CLOUD, now) and _is_owed(session, now):
        accounts.pause(session, account, problem, now)


def _is_owed(session: Session, now: datetime) -> bool:
    return are_measurements_due(session, now) or are_images_due(session, now)


def _credentials(workshop: Workshop) -> NodeCredentials | None:
    try:
        return workshop.node_credentials()
    except PermanentError as error:  # the reconciler pauses the account with it
        _log.warning("the node's credentials are of no use", problem=str(error))
        return None


def _send(workshop: Workshop, client: CloudClient, credentials: NodeCredentials) -> bool:
    """Send until nothing is due; tell whether that is so, else there was too much for one task."""
    account, end_s = workshop.cloud_account(credentials), time.monotonic() + _TASK_TIME_S
    send = partial(client.send_measurement, credentials)
    while send_due_measurements(workshop.store, account, send, clock=workshop.clock).more:
        if time.monotonic() > end_s:
            return False
    while _send_image(workshop, client, credentials, account):
        if time.monotonic() > end_s:
            return False
    return True


def _send_image(
    workshop: Workshop, client: CloudClient, credentials: NodeCredentials, account: Account
) -> bool:
    if workshop.quiet_until() is not None:
        return False

    def send(file: Path, name: str) -> str | None:
        scrub, pace = workshop.settings.crowdsky.scrubs_location, workshop.bandwidth.pace()
        return client.send_image(credentials, file, name, scrub_location=scrub, on_progress=pace)

    return send_due_image(
        workshop.store, account, send, clock=workshop.clock, renew_every=workshop.renew_every
    )
