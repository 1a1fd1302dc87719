"""Notifications against a real sink and a real gateway: what is told, how often, and what a failure costs."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from apprise import Apprise
from pydantic import SecretStr
from sqlalchemy import select
from typer.testing import CliRunner

from skyrelay.access.tokens import Scope
from skyrelay.apprise_sending import send_notification
from skyrelay.cli import app
from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.errors import PermanentError, TransientError
from skyrelay.settings import GatewaySettings, NotificationsSettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Notice, Telescope
from skyrelay_cloud_agent.notifying.notifier import Notifier
from support.gateway import make_token, running_gateway
from support.notification_sink import Sink, other_sink, sink
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer
from support.waiting import eventually

__all__ = ["other_sink", "sink"]

EVENING = datetime(2025, 3, 26, 21)  # noqa: DTZ001 - the telescope's wall clock
NIGHT = datetime(2025, 3, 27, 3, tzinfo=UTC)  # 23:00 in Toronto
MORNING = datetime(2025, 3, 27, 12, tzinfo=UTC)  # 08:00, the sun is up
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Home:
    """A home with a clock of the test's, and a notifier that is asked to look."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.now, self.store, self.settings = MORNING, store, settings
        self.notifier = self.begin()

    def begin(self) -> Notifier:
        """Begin anew, as after a restart."""
        self.notifier = Notifier(self.settings, self.store, clock=lambda: self.now)
        return self.notifier

    def look(self, after: timedelta = timedelta()) -> None:
        """Look, some time later."""
        self.now += after
        self.notifier.tell_what_is_new()


@pytest.fixture
def garden(store: Store) -> None:
    """Lay down a night: two blocks delivered, nothing left."""
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope("garden")
        for number in range(2):
            start = EVENING + number * timedelta(minutes=15)
            block = night.block(garden, "M 81", start, BlockState.STACKED, frames=5)
            night.delivery(night.stack(block), DeliveryState.CONFIRMED)


MakeHome = Callable[..., Home]


@pytest.fixture
def make_home(store: Store, garden: None, redis_server: RedisServer) -> Iterator[MakeHome]:
    with ExitStack() as ends:

        def make(*sinks: Sink, **wanted: bool) -> Home:
            gateway = ends.enter_context(running_gateway(store, redis_server.url))
            address, token = urlsplit(gateway.address), make_token(store, Scope.READ)
            settings = Settings(
                setup="done",
                gateway=GatewaySettings(
                    host=address.hostname or "", port=address.port or 0, token=SecretStr(token or "")
                ),
                observatory=ObservatorySettings(latitude=43.7, longitude=-79.4, timezone="America/Toronto"),
                notifications=NotificationsSettings(urls=tuple(each.url for each in sinks), **wanted),
            )
            return Home(store, settings)

        yield make


def fail_block(store: Store, number: int) -> None:
    with store.write() as session:
        block = session.scalars(select(Block).order_by(Block.id)).all()[number]
        block.state, block.needs_you, block.reason = BlockState.FAILED, True, "no stack three times"


def test_the_receipt_comes_in_the_morning_once_and_not_again_after_a_restart(
    make_home: MakeHome, sink: Sink
) -> None:
    home = make_home(sink, needs_you=False)
    home.now = NIGHT
    home.look()
    assert sink.messages == [], "it is night"
    home.now = MORNING
    home.look()
    home.begin()
    home.look(after=2 * HOUR)
    (message,) = sink.messages
    assert message["title"] == "Night of 26 March 2025"
    assert "10 frames, 1 min 40 s" in message["message"]
    assert "2 of 2 blocks stacked, 2 delivered\nNo frame is missing" in message["message"]


def test_a_receipt_that_waits_for_something_is_told_at_noon(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    home = make_home(sink, needs_you=False)
    with store.write() as session:
        session.scalars(select(Block)).first().state = BlockState.READY  # type: ignore[union-attr] # laid down
    home.look()
    assert sink.messages == []
    home.look(after=4 * HOUR + MINUTE)
    assert "1 blocks waiting" in sink.messages[0]["message"]


def test_a_receipt_that_was_told_is_not_told_again_when_the_night_is_complete_again(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    def become(state: BlockState) -> None:
        with store.write() as session:
            session.scalars(select(Block)).first().state = state  # type: ignore[union-attr] # laid down

    home = make_home(sink, needs_you=False)
    home.look()
    become(BlockState.READY)
    home.look(after=MINUTE)
    become(BlockState.STACKED)
    home.look(after=2 * HOUR)
    assert sink.titles == ["Night of 26 March 2025"]


def test_many_needs_make_a_message_that_every_service_takes(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    home = make_home(sink, receipt=False)
    with store.write() as session:
        night = RecordedNight(session)
        attic = night.telescope("attic")
        for number in range(30):
            start = EVENING + number * timedelta(minutes=15)
            night.block(attic, "NGC 2403", start, BlockState.FAILED, needs_you=True, reason="no stack")
    home.look()
    home.look(after=6 * MINUTE)
    (message,) = sink.messages
    said = re.search(r"\n\nand (\d+) more: see the page$", message["message"])
    assert said is not None
    with store.read() as session:
        noted = session.scalars(select(Notice)).all()
    assert message["message"].count("NGC 2403 on attic") + int(said[1]) == len(noted)
    assert len(message["message"]) < 1024, "Pushover's bound"
    home.look(after=2 * HOUR)
    assert len(sink.messages) == 1, "all were told"


def test_what_needs_a_person_is_told_once_it_has_lasted_and_at_most_once_an_hour(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    home = make_home(sink, receipt=False)
    fail_block(store, 0)
    home.look()
    assert sink.messages == [], "it may put itself right"
    home.look(after=6 * MINUTE)
    (message,) = sink.messages
    assert message["title"] == "Skyrelay needs you"
    assert "M 81 on garden, 21:00" in message["message"]
    fail_block(store, 1)
    home.look(after=6 * MINUTE)
    home.look(after=6 * MINUTE)
    assert len(sink.messages) == 1, "not within the hour"
    home.look(after=HOUR)
    home.look(after=2 * HOUR)
    assert len(sink.messages) == 2
    assert "21:15" in sink.messages[1]["message"]
    assert "21:00" not in sink.messages[1]["message"], "what was told goes on without being told again"


def test_a_telescope_that_is_gone_in_the_night_is_told_and_its_flapping_is_not(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    home = make_home(sink, needs_you=False, receipt=False)

    def become(state: TelescopeState) -> None:
        with store.write() as session:
            row = session.scalars(select(Telescope).where(Telescope.name == "garden")).one()
            row.state, row.state_since, row.state_reason = state, home.now, "no route"
            row.last_seen_at = home.now

    home.now = NIGHT
    become(TelescopeState.UNREACHABLE)
    home.look()
    assert sink.messages == []
    home.look(after=11 * MINUTE)
    assert sink.titles == ["garden is gone"]
    assert "since 23:00" in sink.messages[0]["message"]
    become(TelescopeState.OBSERVING)
    home.look(after=MINUTE)
    become(TelescopeState.UNREACHABLE)
    home.look(after=12 * MINUTE)
    home.look(after=3 * HOUR)
    assert len(sink.messages) == 1, "the hour was not over when it went again"
    become(TelescopeState.OBSERVING)
    home.look(after=MINUTE)
    become(TelescopeState.UNREACHABLE)
    home.look(after=12 * MINUTE)
    assert len(sink.messages) == 2


def test_a_telescope_that_is_off_by_day_is_nobodys_business(
    make_home: MakeHome, sink: Sink, store: Store
) -> None:
    home = make_home(sink, needs_you=False, receipt=False)
    with store.write() as session:
        row = session.scalars(select(Telescope).where(Telescope.name == "garden")).one()
        row.state, row.state_since = TelescopeState.UNREACHABLE, MORNING - HOUR
        row.last_seen_at = MORNING - HOUR
    home.look()
    assert sink.messages == []


def test_an_address_that_fails_is_tried_later_and_holds_up_no_other(
    make_home: MakeHome, sink: Sink, other_sink: Sink, store: Store
) -> None:
    sink.status = 503
    home = make_home(sink, other_sink, needs_you=False)
    home.look()
    assert (len(sink.messages), len(other_sink.messages)) == (0, 1)
    home.look()
    assert sink.refused == 1, "not at once"
    sink.status = 200
    home.look(after=2 * MINUTE)
    assert (len(sink.messages), len(other_sink.messages)) == (1, 1)
    with store.read() as session:
        kept = " ".join(
            f"{row.key} {row.address} {row.text} {row.problem}" for row in session.scalars(select(Notice))
        )
    assert "s3cret" not in kept


def test_an_address_that_hangs_holds_up_no_other(make_home: MakeHome, sink: Sink, other_sink: Sink) -> None:
    sink.answers.clear()
    home = make_home(sink, other_sink, needs_you=False)
    slow = SecretStr(f"{sink.url.get_secret_value()}?rto=120&cto=120")  # how long Apprise waits
    wanted = home.settings.notifications.model_copy(update={"urls": (slow, other_sink.url)})
    home.settings = home.settings.model_copy(update={"notifications": wanted})
    notifier = Notifier(home.settings, home.store, clock=lambda: home.now, sending=timedelta(seconds=2))
    looking = threading.Thread(target=notifier.tell_what_is_new, daemon=True)
    looking.start()
    eventually(lambda: other_sink.titles == ["Night of 26 March 2025"])
    looking.join(60)
    assert not looking.is_alive(), "the look has ended"
    assert sink.messages == [], "while the message is on its way"
    sink.answers.set()
    eventually(lambda: len(sink.messages) == 1)


def test_what_apprise_does_not_catch_itself_is_a_fault_that_names_no_secret(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise SystemError("json://me:s3cret@host")

    monkeypatch.setattr(Apprise, "notify", fail)
    with pytest.raises(TransientError, match="SystemError") as refused:
        send_notification(sink.url, "t", "x")
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


def test_a_gateway_that_is_away_ends_no_need(make_home: MakeHome, sink: Sink, store: Store) -> None:
    home = make_home(sink, receipt=False)
    fail_block(store, 0)
    home.look()
    right = home.settings
    home.settings = right.model_copy(update={"gateway": GatewaySettings(host="127.0.0.1", port=1)})
    home.begin()
    home.look(after=MINUTE)
    home.settings = right
    home.begin()
    home.look(after=5 * MINUTE)
    assert sink.titles == ["Skyrelay needs you"], "it has lasted for six minutes"


def test_what_was_told_to_an_address_that_is_in_use_no_more_is_forgotten(
    make_home: MakeHome, sink: Sink, other_sink: Sink, store: Store
) -> None:
    home = make_home(sink, other_sink)
    home.look()
    home.settings = home.settings.model_copy(
        update={"notifications": NotificationsSettings(urls=(sink.url,), receipt=True)}
    )
    home.begin()
    for after, addresses in ((timedelta(days=29), 2), (timedelta(days=2), 1)):
        home.look(after=after)
        with store.read() as session:
            assert len(set(session.scalars(select(Notice.address)))) == addresses


def test_faults_are_typed_and_name_no_secret(sink: Sink) -> None:
    sink.status = 500
    with pytest.raises(TransientError) as refused:
        send_notification(sink.url, "t", "x")
    with pytest.raises(PermanentError) as unknown:
        send_notification(SecretStr("nosuch://me:s3cret@host"), "t", "x")
    assert "s3cret" not in str(refused.value) + str(unknown.value)
    assert "nosuch://" in str(unknown.value)


def run_test(folder: Path, urls: list[str]) -> tuple[int, str]:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"notifications": {"urls": urls}}), encoding="utf-8")
    result = CliRunner().invoke(app, ["notify", "test", "--config", str(config)])
    return result.exit_code, result.output


def test_the_command_tries_each_address(sink: Sink, other_sink: Sink, tmp_path: Path) -> None:
    other_sink.status = 500
    urls = [each.url.get_secret_value() for each in (sink, other_sink)]
    code, said = run_test(tmp_path, urls)
    assert code == 1
    assert "Address 1 took it." in said
    assert "Address 2: the service behind json://" in said
    assert "s3cret" not in said
    assert run_test(tmp_path, urls[:1])[0] == 0
    assert sink.titles == ["Skyrelay", "Skyrelay"]
