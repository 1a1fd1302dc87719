"""We as Home Assistant sees us: what the broker keeps for us is kept true, and switches are heeded.

The broker may restart and forget, Home Assistant may begin anew, a telescope may be forgotten: whenever one
of these happens, everything is laid down again, and what lies there that is ours no more is taken away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from skyrelay.logs import get_logger
from skyrelay.mqtt import Message, MqttConnection
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.pauses import is_paused, lift_exactly, order_pause
from skyrelay_cloud_agent.broker_login import broker_login
from skyrelay_cloud_agent.home_assistant.documents import (
    OFFLINE,
    ONLINE,
    PauseCommand,
    Topics,
    read_command,
    retained_documents,
)
from skyrelay_cloud_agent.home_assistant.home_state import HomeReader, HomeState, telescope_of
from skyrelay_cloud_agent.loop import Loop

ACTOR = "home assistant"
_LOOK = timedelta(seconds=5)  # at counts in our own database; what people do is noticed at once
_STOP_S = 1.0
_MOST_COMMANDS = 100  # that wait; a switch is flipped by people and automations

_log = get_logger(__name__)


def set_pause(session: Session, telescope_id: int | None, *, is_on: bool, now: datetime) -> None:
    """Do what a switch wants: pause stacking, or lift just the pause that the switch shows.

    What is paused already keeps the name of whoever paused it.
    """
    if not is_on:
        lift_exactly(session, telescope_id, None, by=ACTOR, now=now)
    elif not is_paused(session, telescope_id, None):
        order_pause(session, telescope_id, None, by=ACTOR, reason="", now=now)


class Presence:
    """Keeps Home Assistant told.

    Parameters
    ----------
    settings
        With the broker and ``home_assistant``.
    store
        The services' database.
    clock
        Gives the aware time.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store, self._clock = store, clock
        self._topics, self._reader = Topics.of(settings.home_assistant), HomeReader()
        self._commands: dict[str | None, PauseCommand] = {}  # that wait: of each switch the latest
        self._taking = threading.Lock()  # both threads change them
        self._wants_all = threading.Event()
        self._kept: dict[str, bytes] = {}  # what we believe that the broker keeps
        self._found: dict[str, None] = {}  # what the broker says that it keeps, of ours
        self._loop = Loop("home-assistant", self._turn)
        self.connection = MqttConnection(
            settings.mqtt,
            login=broker_login(settings, store),
            topics=(self._topics.birth, *self._topics.own, *self._topics.commands),
            on_message=self._hear,
            will=Message(self._topics.availability, OFFLINE, is_retained=True),
            on_connected=self._begin_anew,
        )

    def start(self) -> None:
        """Begin; nothing is waited for."""
        self.connection.start()
        self._loop.start()

    def stop(self) -> None:
        """End, and say so: the broker says it by itself only when it loses us."""
        self._loop.tell_to_stop()
        self._loop.thread.join(_STOP_S)
        self.connection.publish(Message(self._topics.availability, OFFLINE, is_retained=True))
        self.connection.stop()
        self._store.close()

    def turns(self) -> bool:
        """Tell whether its work goes round."""
        return self._loop.turns()

    def _begin_anew(self) -> None:
        self._found.clear()  # it tells anew what it keeps
        self._say_all()

    def _say_all(self) -> None:
        self._wants_all.set()
        self._loop.wake()

    def _hear(self, message: Message) -> None:
        """Take a message; called from the connection's thread, so nothing is done here that could wait."""
        if message.topic == self._topics.birth:
            if message.payload == ONLINE:
                self._say_all()
            return
        command = read_command(self._topics, message.topic, message.payload)
        if command is not None:
            self._take(command, is_old=message.is_retained)
        elif not message.topic.endswith("/set"):
            self._note_kept(message)

    def _take(self, command: PauseCommand, *, is_old: bool) -> None:
        if is_old:  # of unknown age: whoever flipped it may have thought better of it
            _log.info("a switch's retained message is not heeded", telescope=command.telescope)
            return
        with self._taking:
            if command.telescope in self._commands or len(self._commands) < _MOST_COMMANDS:
                self._commands[command.telescope] = command
            else:
                _log.warning("too many commands at once: one is dropped", telescope=command.telescope)
        self._loop.wake()

    def _note_kept(self, message: Message) -> None:
        if not message.payload:
            self._found.pop(message.topic, None)
            return
        is_new = message.topic not in self._found
        self._found[message.topic] = None
        if is_new and message.topic not in self._kept:
            self._loop.wake()

    def _turn(self) -> timedelta:
        try:
            self._obey()
            self._tell()
        except Exception:  # noqa: BLE001 - a database that is away must not end the thread; the log has it
            _log.exception("Home Assistant could not be told")
        return _LOOK

    def _obey(self) -> None:
        """Do what switches want; what the database does not take waits for the next turn."""
        with self._taking:
            waiting = list(self._commands.values())
        for command in waiting:
            try:
                with self._store.write() as session:
                    self._obey_one(session, command)
            except SQLAlchemyError:
                raise
            except Exception:  # noqa: BLE001 - one that fails each time must not hold up the others; it is logged
                _log.exception("a switch cannot be heeded", telescope=command.telescope)
            with self._taking:
                if self._commands.get(command.telescope) is command:  # else it was flipped again meanwhile
                    del self._commands[command.telescope]
            # The switch shows what became of it, even where that is nothing new.
            self._wants_all.set()

    def _obey_one(self, session: Session, command: PauseCommand) -> None:
        telescope_id = None if command.telescope is None else telescope_of(session, command.telescope)
        if command.telescope is not None and telescope_id is None:
            _log.info("a switch of no telescope of ours", telescope=command.telescope)
            return
        set_pause(session, telescope_id, is_on=command.is_on, now=self._clock())
        _log.info("a switch was flipped", telescope=command.telescope, paused=command.is_on)

    def _tell(self) -> None:
        with self._store.read() as session:
            home = self._reader.read(session, self._clock())
        wants_all = self._wants_all.is_set()
        if wants_all:  # cleared only if seen: it may be set in between
            self._wants_all.clear()
        self._lay_down(home, wants_all=wants_all)

    def _lay_down(self, home: HomeState, *, wants_all: bool) -> None:
        documents = retained_documents(self._topics, home)
        for topic in {*list(self._found), *self._kept} - documents.keys():
            self.connection.publish(Message(topic, b"", is_retained=True))
            self._found.pop(topic, None)
        for topic, payload in documents.items():
            if wants_all or self._kept.get(topic) != payload:
                self.connection.publish(Message(topic, payload, is_retained=True))
        if wants_all:
            self.connection.publish(Message(self._topics.availability, ONLINE, is_retained=True))
        self._kept = dict(documents)
