"""A measurement on its way: safe in the outbox first, then tried once, and never waited for for long."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import update

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import CredentialsRefused, MeasurementInvalid
from skyrelay.cloud.measurement import read_measurement
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Admission
from skyrelay.outbox.measurements import (
    FIRST_TRY,
    Ticket,
    book_accepted,
    book_refused,
    count_waiting,
    enqueue_measurement,
)
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery
from skyrelay.store.tables.destinations import CLOUD
from skyrelay_cloud_agent.node import ACTOR, Node
from skyrelay_cloud_agent.standing import Standing

_log = get_logger(__name__)


def payload_of(measurement: Mapping[str, Any], conditions: Mapping[str, Any] | None) -> str:
    """Write a measurement as the JSON text that is sent, now and at each retry.

    Raises
    ------
    TypeError
        If there is something in it that JSON does not know.
    """
    return json.dumps({"measurement": measurement, "conditions": conditions or {}}, default=_plain)


def _plain(value: object) -> object:
    """Write the numbers of numpy, which photometry programs give, as numbers."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) else None
    if isinstance(plain, bool | int | float | str) and not (isinstance(plain, float) and math.isnan(plain)):
        return plain
    raise TypeError(f"a measurement takes numbers and texts, no {type(value).__name__}")


def _is_sendable(payload: str) -> bool:
    try:
        read_measurement(payload)
    except MeasurementInvalid:  # the outbox keeps it, and says why
        return False
    return True


class Submitting:
    """Takes measurements.

    Parameters
    ----------
    client
        One that is impatient: whoever submits waits for it.
    """

    def __init__(
        self, store: Store, client: CloudClient, node: Node, standing: Standing, *, queue_max: int
    ) -> None:
        self._store, self._client, self._node, self._standing = store, client, node, standing
        self._queue_max = queue_max

    def submit(self, payload: str, image: Path | None) -> bool:
        """Put a measurement into the outbox and try it once; tell whether the cloud has it."""
        credentials = self._node.usable()
        ticket = self._put(payload, image, is_registered=credentials is not None)
        if ticket.problem is not None:
            self._standing.note(f"a measurement cannot be sent: {ticket.problem}")
            _log.warning("a measurement cannot be sent", problem=ticket.problem)
        is_taken = False
        if credentials is not None and ticket.sent_at is not None:
            is_taken = self._try(ticket, payload, credentials)
        self.count()
        return is_taken

    def count(self) -> None:
        """Bring ``queued_uploads`` up to date."""
        with self._store.read() as session:
            self._standing.status["queued_uploads"] = count_waiting(session)

    def reopen(self, credentials: NodeCredentials, now: datetime, *, was_away: bool) -> None:
        """Let what waits go out: the cloud has just taken a heartbeat."""
        with self._store.write() as session:
            accounts.resume_if_changed(session, self._node.account(credentials), now)
            accounts.note_listing(session, CLOUD, now)
            if was_away:  # those waits were for a line that is up again
                session.execute(
                    update(Delivery)
                    .where(
                        Delivery.kind == DeliveryKind.MEASUREMENT,
                        Delivery.state == DeliveryState.RETRYING,
                        Delivery.item_faults == 0,
                    )
                    .values(next_attempt_at=now)
                )

    def _put(self, payload: str, image: Path | None, *, is_registered: bool) -> Ticket:
        now = utc_now()
        with self._store.write() as session:
            may_try = is_registered and _is_sendable(payload)
            may_try = may_try and accounts.admit(session, CLOUD, now) is not Admission.CLOSED
            return enqueue_measurement(
                session,
                payload,
                now=now,
                actor=ACTOR,
                first_try=FIRST_TRY if may_try else None,
                queue_max=self._queue_max,
                image=image,
            )

    def _try(self, ticket: Ticket, payload: str, credentials: NodeCredentials) -> bool:
        account = self._node.account(credentials)
        try:
            receipt = self._client.send_measurement(credentials, payload)
        except SkyrelayError as error:
            if isinstance(error, CredentialsRefused):
                self._node.note_refused(credentials)
            book_refused(self._store, account, ticket, error, utc_now())
            self._standing.note(str(error))
            return False
        book_accepted(self._store, account, ticket, receipt, utc_now())
        return True
