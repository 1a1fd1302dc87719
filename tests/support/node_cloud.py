"""A simulated node cloud that knows our node, and the outbox before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from skyrelay.cloud.client import CloudClient, NodeCard
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.domain.states import DeliveryKind
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.draining import Drained, send_due_measurements
from skyrelay.outbox.images import send_due_image
from skyrelay.outbox.measurements import Ticket, enqueue_measurement
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Delivery, Destination
from skyrelay_simulators.cloud import SimulatedCloud

CARD = NodeCard("garden", "Ada", 48.2, 16.4, 170.0, "ZWO Seestar S50", "TG", 1.0)
ACTOR = "cloud-agent"


def payload(number: int = 0, **changes: Any) -> str:
    """Write a measurement's JSON text; each number is another one."""
    measurement = {
        "target_name": "T CrB",
        "bjd": 2460761.5 + number / 1000,
        "magnitude": 9.8,
        "uncertainty": 0.02,
        "filter": "TG",
        "quality_flag": "good",
    }
    return json.dumps({"measurement": measurement | changes, "conditions": {"clouds": 0.1}})


@dataclass
class NodeAndCloud:
    """What a test of the outbox has at hand; time passes by ``passed`` alone."""

    store: Store
    cloud: SimulatedCloud
    credentials: NodeCredentials
    passed: timedelta = field(default=timedelta(0))

    def clock(self) -> datetime:
        """Give the time."""
        return utc_now() + self.passed

    @property
    def account(self) -> Account:
        """The account of the node."""
        node = self.credentials
        return Account("cloud", self.cloud.base_url, node.node_id, node.api_key, ACTOR)

    def put(self, text: str | None = None, *, first_try: timedelta | None = None, **options: Any) -> Ticket:
        """Put a measurement into the outbox; without a try of its own, if none is asked for."""
        with self.store.write() as session:
            return enqueue_measurement(
                session, text or payload(), now=self.clock(), actor=ACTOR, first_try=first_try, **options
            )

    def drain(self, after: timedelta = timedelta(0), most: int = 100) -> list[Drained]:
        """Let time pass, then send batches until one says that there is no more."""
        self.passed += after
        done = []
        with CloudClient(self.cloud.base_url) as client:
            send = partial(client.send_measurement, self.credentials)
            while not done or done[-1].more:
                done.append(
                    send_due_measurements(self.store, self.account, send, clock=self.clock, most=most)
                )
        return done

    def send_image(self, after: timedelta = timedelta(0), *, scrub: bool = True) -> bool:
        """Let time pass, then send the image that is due."""
        self.passed += after
        with CloudClient(self.cloud.base_url) as client:

            def send(file: Path, name: str) -> str | None:
                return client.send_image(self.credentials, file, name, scrub_location=scrub)

            return send_due_image(self.store, self.account, send, clock=self.clock)

    def deliveries(self, kind: DeliveryKind = DeliveryKind.MEASUREMENT) -> list[Delivery]:
        """Give the deliveries of a kind, oldest first."""
        with self.store.read() as session:
            query = select(Delivery).where(Delivery.kind == kind).order_by(Delivery.id)
            return list(session.scalars(query))

    def states(self) -> list[str]:
        """Give the measurements' states, oldest first."""
        return [delivery.state for delivery in self.deliveries()]

    def steps(self, delivery_id: int) -> list[str | None]:
        """Give the states that the audit log saw a delivery go to."""
        with self.store.read() as session:
            query = select(AuditEntry.to_state).where(AuditEntry.subject_id == delivery_id)
            return list(session.scalars(query.where(AuditEntry.event == "step").order_by(AuditEntry.id)))

    def row(self) -> Destination:
        """Give the cloud's account."""
        with self.store.read() as session:
            return session.get_one(Destination, "cloud")

    def requests(self) -> int:
        """Count the measurements that were sent, taken or not."""
        return len(self.cloud.requests("measurements"))

    def arrived(self) -> list[float]:
        """Give the times of the measurements that the cloud has, in the order of their arrival."""
        return [stored.measurement["bjd"] for stored in self.cloud.measurements]


@pytest.fixture
def node(store: Store, tmp_path: Path) -> Iterator[NodeAndCloud]:
    """Give a registered node with an empty outbox, and its cloud."""
    with SimulatedCloud(tmp_path / "cloud") as cloud, CloudClient(cloud.base_url) as client:
        yield NodeAndCloud(store, cloud, client.register(CARD).credentials)


def revoked(credentials: NodeCredentials) -> NodeCredentials:
    """Give the same node with a key that is not its own."""
    return NodeCredentials(credentials.node_id, SecretStr("not-the-key"))
