"""The uploader at work for the node cloud."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from skyrelay.cloud.credentials import STATE_FILE, CredentialStore
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import Destination
from skyrelay_uploader.workshop import Workshop
from support.fits_files import fits_bytes
from support.node_cloud import NodeAndCloud, node, payload

from .conftest import Home

__all__ = ["node"]

CONFIRMED = DeliveryState.CONFIRMED


def workshop(home: Home, node: NodeAndCloud, **cloud: Any) -> Workshop:
    home.changes["cloud"] = {"enabled": True, "url": node.cloud.base_url, **cloud}
    return home.workshop()


def configured(home: Home, node: NodeAndCloud) -> Workshop:
    key = node.credentials.api_key.get_secret_value()
    return workshop(home, node, node_id="garden", api_key=key)


def paused(home: Home) -> str | None:
    with home.store.read() as session:
        row = session.get(Destination, "cloud")
        return None if row is None else row.paused_reason


def test_measurements_and_then_their_images_go_out(home: Home, node: NodeAndCloud, tmp_path: Path) -> None:
    image = tmp_path / "T CrB.fit"
    image.write_bytes(fits_bytes(bytes(64)))
    for number in range(150):
        node.put(payload(number), image=image if number % 50 == 0 else None)

    home.work(configured(home, node))

    assert set(node.states()) == {CONFIRMED}
    assert [row.state for row in node.deliveries(DeliveryKind.IMAGE)] == [CONFIRMED] * 3
    assert (len(node.cloud.measurements), len(node.cloud.images)) == (150, 3)


def test_a_node_that_is_not_registered_yet_waits_and_says_so(home: Home, node: NodeAndCloud) -> None:
    node.put()
    home.work(workshop(home, node))
    assert "the cloud agent registers it" in (paused(home) or "")
    assert node.states() == [DeliveryState.PENDING]

    kept = CredentialStore(home.folder / "data" / STATE_FILE)
    kept.save(node.cloud.base_url, node.credentials)
    home.work(workshop(home, node))

    assert (node.states(), paused(home)) == ([CONFIRMED], None)


def test_credentials_that_a_person_entered_are_used(home: Home, node: NodeAndCloud) -> None:
    node.put()
    shop = workshop(home, node)
    secrets = SecretStore(home.store, shop.settings.key_path)
    secrets.put("cloud.node_id", SecretStr("garden"), now=home.clock(), actor="person")
    secrets.put("cloud.api_key", node.credentials.api_key, now=home.clock(), actor="person")

    home.work(shop)

    assert node.states() == [CONFIRMED]


def test_a_cloud_that_is_switched_off_gets_nothing(home: Home, node: NodeAndCloud) -> None:
    node.put()
    home.work()
    assert (node.states(), node.requests()) == ([DeliveryState.PENDING], 0)


@pytest.mark.parametrize("destination", ["crowdsky", "cloud"])
def test_trouble_at_one_destination_holds_the_other_back_for_nothing(
    home: Home, node: NodeAndCloud, destination: str
) -> None:
    stack_id = home.add_stack()
    node.put()
    (home.crowdsky if destination == "crowdsky" else node.cloud).stop()

    home.work(configured(home, node))

    arrived = (
        home.delivery(stack_id).state in {DeliveryState.ACCEPTED, CONFIRMED},
        node.states() == [CONFIRMED],
    )
    assert arrived == ((False, True) if destination == "crowdsky" else (True, False))
    node.cloud.start() if destination == "cloud" else home.crowdsky.start()


def test_quiet_hours_hold_images_back_and_let_measurements_pass(
    home: Home, node: NodeAndCloud, tmp_path: Path
) -> None:
    image = tmp_path / "T CrB.fit"
    image.write_bytes(fits_bytes(bytes(64)))
    node.put(image=image)
    configured(home, node)
    home.changes["observatory"] = {"timezone": "UTC"}
    now = home.clock()
    hours = f"{now - timedelta(minutes=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"

    home.work(home.workshop(quiet_hours=hours))
    assert (len(node.cloud.measurements), len(node.cloud.images)) == (1, 0)

    home.work(home.workshop(quiet_hours=hours), after=timedelta(hours=2))
    assert len(node.cloud.images) == 1
