"""Home Assistant's side of a real broker: what is kept there, what comes back, and what a switch does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.mqtt import BrokerState, Message, MqttConnection
from skyrelay.settings import HomeAssistantSettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.pauses import order_pause
from skyrelay.store.tables import AuditEntry, Pause, Telescope
from skyrelay_cloud_agent.home_assistant.presence import Presence
from support.mqtt_broker import PASSWORD, Broker, MakeBroker, make_broker
from support.recorded_night import RecordedNight
from support.waiting import eventually

__all__ = ["make_broker"]

EVENING = datetime(2025, 3, 26, 21)  # noqa: DTZ001 - the telescope's wall clock
NODE, GARDEN = "skyrelay/node", "skyrelay/telescope/sn-garden"
BATTERY = "homeassistant/sensor/skyrelay/skyrelay_sn-garden_battery/config"


class HomeAssistant:
    """Listens as Home Assistant does: to what the broker keeps, and to what comes."""

    def __init__(self, broker: Broker) -> None:
        self.kept: dict[str, bytes] = {}
        self.all: list[Message] = []
        self.connection = MqttConnection(
            broker.settings(), topics={"homeassistant/#", "skyrelay/#"}, on_message=self._hear
        )
        self.connection.start()
        eventually(lambda: self.connection.state is BrokerState.CONNECTED, within_s=60)

    def _hear(self, message: Message) -> None:
        self.all.append(message)
        if message.payload:
            self.kept[message.topic] = message.payload
        else:
            self.kept.pop(message.topic, None)

    def state(self, topic: str) -> Any:
        """Give the state at a topic, empty before there is one."""
        return json.loads(self.kept.get(topic, b"{}"))

    def say(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Publish."""
        self.connection.publish(Message(topic, payload, retained))


Listen = Callable[[Broker], HomeAssistant]
Live = Callable[[Broker], Presence]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as ends:

        def begin(broker: Broker) -> HomeAssistant:
            listener = HomeAssistant(broker)
            ends.callback(listener.connection.stop)
            return listener

        yield begin


@pytest.fixture
def live(store: Store) -> Iterator[Live]:
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope("garden", battery_percent=83, model="Seestar S50")
        night.telescope("attic", state=TelescopeState.UNREACHABLE, battery_percent=40)
        stacked = night.block(garden, "M 81", EVENING, BlockState.STACKED, frames=5)
        night.delivery(night.stack(stacked), DeliveryState.CONFIRMED)
        night.block(garden, "M 51", EVENING, BlockState.READY, frames=5)
    with ExitStack() as ends:

        def begin(broker: Broker) -> Presence:
            settings = Settings(
                setup="done",
                mqtt=broker.settings(),
                home_assistant=HomeAssistantSettings(enabled=True),
                observatory=ObservatorySettings(latitude=48.2345, longitude=16.3456),
            )
            presence = Presence(settings, Store(str(store.engine.url)))
            ends.callback(presence.stop)
            presence.start()
            return presence

        yield begin


@pytest.mark.parametrize(
    "options", [{}, {"secured": True}, {"secured": True, "tls": True}], ids=["open", "password", "tls"]
)
def test_a_home_assistant_that_comes_later_finds_everything(
    make_broker: MakeBroker, live: Live, listen: Listen, options: dict[str, bool]
) -> None:
    broker = make_broker(**options)
    first = listen(broker)
    live(broker)
    eventually(lambda: first.kept.get("skyrelay/status") == b"online", within_s=60)
    late = listen(broker)
    eventually(lambda: late.kept.get("skyrelay/status") == b"online" and NODE in late.kept)
    assert all(message.is_retained for message in late.all)
    node = late.state(NODE)
    assert (node["blocks_waiting"], node["blocks_stacked"], node["deliveries_delivered"]) == (1, 1, 1)
    assert node["receipt"]["night"] == "2025-03-26"
    assert late.state(GARDEN)["battery"] == 83
    attic = late.state("skyrelay/telescope/sn-attic")
    assert (attic["state"], attic["battery"]) == ("unreachable", None)
    everything = b" ".join(late.kept.values()).decode()
    for private in ("48.2", "16.3", PASSWORD, "SITELAT"):
        assert private not in everything


def test_a_switch_pauses_and_resumes_and_the_audit_log_says_who(
    make_broker: MakeBroker, live: Live, listen: Listen, store: Store
) -> None:
    broker = make_broker()
    home = listen(broker)
    live(broker)
    with store.write() as session:
        order_pause(session, None, "M 51", by="ada", reason="", now=datetime.now(UTC))
    eventually(lambda: home.state(GARDEN).get("paused") == "OFF", within_s=60)
    home.say(f"{GARDEN}/pause/set", b"ON")
    eventually(lambda: home.state(GARDEN)["paused"] == "ON")
    home.say("skyrelay/node/pause/set", b"ON")
    eventually(lambda: home.state(NODE)["paused"] == "ON")
    home.say(f"{GARDEN}/pause/set", b"OFF")
    eventually(lambda: home.state(GARDEN)["paused"] == "OFF")
    home.say("skyrelay/node/pause/set", b"OFF")
    eventually(lambda: home.state(NODE)["paused"] == "OFF")
    with store.read() as session:
        left = session.scalars(select(Pause)).one()
        steps = session.scalars(select(AuditEntry).where(AuditEntry.actor == "home assistant")).all()
        assert (left.target, left.by) == ("M 51", "ada"), "a switch lifts only what it shows"
        assert [step.event for step in steps] == ["paused", "paused", "resumed", "resumed"]


def test_a_switch_that_is_flipped_while_the_database_is_away_is_heeded_when_it_is_back(
    make_broker: MakeBroker, live: Live, listen: Listen, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = make_broker()
    home = listen(broker)
    live(broker)
    eventually(lambda: home.state(NODE).get("paused") == "OFF", within_s=60)
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE pauses RENAME TO away"))
    for payload in (b"OFF", b"ON"):
        home.say("skyrelay/node/pause/set", payload)
        eventually(lambda sent=payload: any(each.payload == sent for each in home.all))
        capsys.readouterr()
        eventually(lambda: "could not be told" in "".join(capsys.readouterr()), within_s=60)
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO pauses"))
    eventually(lambda: home.state(NODE)["paused"] == "ON", within_s=60)


def test_commands_of_unknown_age_or_for_no_telescope_of_ours_do_nothing(
    make_broker: MakeBroker, live: Live, listen: Listen, store: Store
) -> None:
    broker = make_broker()
    home = listen(broker)
    home.say("skyrelay/node/pause/set", b"ON", retained=True)
    eventually(lambda: "skyrelay/node/pause/set" in home.kept)
    live(broker)
    eventually(lambda: home.kept.get("skyrelay/status") == b"online", within_s=60)
    home.say("skyrelay/telescope/somebody/pause/set", b"ON")
    home.say(f"{GARDEN}/pause/set", b"ON")
    eventually(lambda: home.state(GARDEN)["paused"] == "ON")
    with store.read() as session:
        assert len(session.scalars(select(Pause)).all()) == 1


def test_everything_is_there_again_after_a_restart_of_the_broker(
    make_broker: MakeBroker, live: Live, listen: Listen
) -> None:
    broker = make_broker()
    live(broker)
    before = listen(broker)
    eventually(lambda: NODE in before.kept, within_s=60)
    broker.stop()
    broker.start()  # it has forgotten all
    late = listen(broker)
    eventually(lambda: BATTERY in late.kept and late.kept.get("skyrelay/status") == b"online", within_s=90)


def test_everything_is_said_again_when_home_assistant_begins(
    make_broker: MakeBroker, live: Live, listen: Listen
) -> None:
    broker = make_broker()
    home = listen(broker)
    live(broker)
    eventually(lambda: home.kept.get("skyrelay/status") == b"online", within_s=60)
    home.all.clear()
    home.say("homeassistant/status", b"online")
    eventually(lambda: {BATTERY, NODE, "skyrelay/status"} <= {message.topic for message in home.all})


def test_a_forgotten_telescope_and_what_an_earlier_release_left_disappear(
    make_broker: MakeBroker, live: Live, listen: Listen, store: Store
) -> None:
    broker = make_broker()
    home = listen(broker)
    old = "homeassistant/sensor/skyrelay/skyrelay_of_old/config"
    foreign = "homeassistant/sensor/somebody/else/config"
    for topic in (old, foreign, "skyrelay/telescope/sn-gone"):
        home.say(topic, b"{}", retained=True)
    eventually(lambda: "skyrelay/telescope/sn-gone" in home.kept)
    live(broker)
    eventually(lambda: BATTERY in home.kept and old not in home.kept, within_s=60)
    with store.write() as session:
        garden = session.scalars(select(Telescope).where(Telescope.name == "garden")).one()
        garden.forgotten_at = datetime.now(UTC)
    eventually(lambda: not [topic for topic in home.kept if "sn-garden" in topic], within_s=60)
    late = listen(broker)
    eventually(lambda: NODE in late.kept)
    assert foreign in late.kept
    assert not [topic for topic in late.kept if "garden" in topic or "gone" in topic or topic == old]


def test_it_is_said_that_we_are_gone(make_broker: MakeBroker, live: Live, listen: Listen) -> None:
    broker = make_broker()
    home = listen(broker)
    presence = live(broker)
    eventually(lambda: home.kept.get("skyrelay/status") == b"online", within_s=60)
    presence.stop()
    eventually(lambda: home.kept["skyrelay/status"] == b"offline")
