"""The stacker's use cases in this process, against a real database, a real broker and a telescope."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from skyrelay.domain.states import BlockState
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import HEADER_CARDS, FrameEvent
from skyrelay.queue.tasks import Queue, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings, TelescopeSettings, load_settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Delivery, Frame, IgnoredFile, Stack, Telescope
from skyrelay.store.telescopes import lay_down_configured
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_stacker.driving import stack_block
from skyrelay_stacker.looking import look_at_telescope
from skyrelay_stacker.purging import see_to_purge
from skyrelay_stacker.reconciling import due_work, reconcile
from skyrelay_stacker.taking_in import take_in
from skyrelay_stacker.workshop import Workshop
from support.fits_files import BLOCK
from support.redis_server import RedisServer
from support.telescopes import settings_of, sub_folder

_DOERS = {
    TaskName.LOOK_AT_TELESCOPE: look_at_telescope,
    TaskName.STACK_BLOCK: stack_block,
    TaskName.PURGE: see_to_purge,
}
STACKING = {"min_exptime": 40.0, "idle_s": 0.0}


@dataclass
class Home:
    """A home with telescopes: its books, its broker, and a stacker at work in this process."""

    store: Store
    redis: RedisServer
    settings: Settings
    shutting_down: threading.Event = field(default_factory=threading.Event)

    # -- how it is set up --------------------------------------------------------------------------

    def configure(self, *telescopes: TelescopeSettings) -> Home:
        """Configure telescopes, as a service does when it starts."""
        self.settings = self.settings.model_copy(update={"telescopes": telescopes})
        with self.store.write() as session:
            lay_down_configured(session, telescopes, utc_now())
        return self

    def own(self, telescope: SimulatedTelescope, name: str = "garden", **changes: Any) -> Home:
        """Configure one running telescope."""
        return self.configure(settings_of(telescope, name, **changes))

    def prefer(self, section: str, **changes: Any) -> Home:
        """Change settings of a section."""
        part = getattr(self.settings, section)
        checked = type(part).model_validate({**part.model_dump(), **changes})
        self.settings = self.settings.model_copy(update={section: checked})
        return self

    @property
    def workshop(self) -> Workshop:
        """The collaborators of a use case."""
        return Workshop(self.settings, self.store, build_celery(self.redis.url), self.shutting_down)

    def another(self) -> Home:
        """Give a second stacker of the same home."""
        return replace(self, shutting_down=threading.Event())

    # -- what it does ------------------------------------------------------------------------------

    def look(self, name: str = "garden") -> Telescope:
        """Look at a telescope once; give its row."""
        look_at_telescope(self.workshop, self.telescope(name).id)
        return self.telescope(name)

    def stack(self, block: Block | None = None) -> Block:
        """Take a block (the only one, if none is given) as far as it goes now; give its row."""
        block_id = (block or self.block()).id
        stack_block(self.workshop, block_id)
        with self.store.read() as session:
            return session.get_one(Block, block_id)

    def look_and_stack(self) -> Block:
        """Take an inventory, then stack the only block."""
        self.look()
        return self.stack()

    def reconcile(self) -> None:
        """Say what is due, once."""
        reconcile(self.workshop)

    def work(self, rounds: int = 20) -> None:
        """Do what is due on each telescope, as the workers would, until nothing is."""
        for _ in range(rounds):
            due = [work for row in self.rows(Telescope) if (work := self._due(row)) is not None]
            for task, number in due:
                _DOERS[task](self.workshop, number)
            if not due:
                return
        raise AssertionError(f"still due after {rounds} rounds: {due}")

    def _due(self, row: Telescope) -> tuple[TaskName, int] | None:
        with self.store.read() as session:
            due = due_work(session, row, self.settings, utc_now())
        return (due[0], next(v for k, v in due[1].model_dump().items() if k != "version")) if due else None

    def take_in(self, *events: FrameEvent, clock: datetime | None = None) -> int:
        """Take events in, in one transaction, while this server's clock says ``clock``; give the news."""
        with self.store.write() as session:
            return take_in(session, events, self.settings, clock or utc_now())

    @contextmanager
    def in_background(self, block: Block | None = None) -> Iterator[threading.Thread]:
        """Have a block stacked by a worker of its own thread while the ``with`` runs."""
        thread = threading.Thread(target=self.stack, args=(block or self.block(),))
        thread.start()
        try:
            yield thread
        finally:
            self.shutting_down.set()
            thread.join(20)
            assert not thread.is_alive()

    # -- what its books say ------------------------------------------------------------------------

    def rows(self, table: type[Any]) -> list[Any]:
        """Give all rows of a table."""
        with self.store.read() as session:
            return list(session.scalars(select(table).order_by(table.id)))

    def telescope(self, name: str = "garden") -> Telescope:
        """Give the telescope of that name."""
        with self.store.read() as session:
            return session.scalars(select(Telescope).where(Telescope.name == name)).one()

    def block(self) -> Block:
        """Give the only block."""
        (block,) = self.rows(Block)
        assert isinstance(block, Block)
        return block

    def only_stack(self) -> Stack:
        """Give the only stack."""
        (stack,) = self.rows(Stack)
        assert isinstance(stack, Stack)
        return stack

    @property
    def frames(self) -> list[Frame]:
        """All frames."""
        return self.rows(Frame)

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries."""
        return self.rows(Delivery)

    @property
    def ignored(self) -> list[IgnoredFile]:
        """All files that are left alone."""
        return self.rows(IgnoredFile)

    def frame_states(self) -> set[str]:
        """Name the states that frames are in."""
        return {frame.state for frame in self.frames}

    def steps(self, block: Block | None = None) -> list[str]:
        """Name the states that a block went through, as the audit log has them."""
        number = (block or self.block()).id
        return [
            entry.to_state
            for entry in self.rows(AuditEntry)
            if (entry.subject_kind, entry.subject_id, entry.event) == ("block", number, "step")
        ]

    def nudges(self, queue: Queue = Queue.STACKER) -> list[tuple[str, Any]]:
        """Give the tasks that wait in a queue, oldest first, each with its message."""
        found = []
        for message in self._waiting(queue):
            arguments, _keywords, _embedded = json.loads(base64.b64decode(message["body"]))
            found.append((message["headers"]["task"], arguments[0]))
        return found

    def words(self, queue: Queue = Queue.STACKER) -> list[str]:
        """Give what the tasks that wait in a queue say that they are about, oldest first."""
        return [message["headers"]["argsrepr"] for message in self._waiting(queue)]

    def _waiting(self, queue: Queue) -> list[Any]:
        with connect_redis(self.redis.url) as redis:
            waiting = redis.lrange(f"skyrelay:{queue.value}", 0, -1)
        return [json.loads(text) for text in reversed(waiting)]

    # -- what time does ----------------------------------------------------------------------------

    def change(self, table: type[Any], **values: Any) -> None:
        """Change a column of all rows, as time (or a person) does."""
        with self.store.write() as session:
            session.execute(update(table).values(**values))

    def let_leases_expire(self) -> None:
        """Let as much time pass as a lease lasts after its holder died."""
        self.change(Telescope, lease_until=utc_now() - timedelta(seconds=1))

    def let_retries_come_due(self) -> None:
        """Let as much time pass as the next try waits."""
        self.change(Block, next_attempt_at=utc_now() - timedelta(seconds=1))


@pytest.fixture
def home(store: Store, redis_server: RedisServer, tmp_path: Path) -> Home:
    """Give a home without telescopes whose set-up is done."""
    settings = {
        "setup": "done",
        "data_dir": str(tmp_path / "data"),
        "redis_url": redis_server.url,
        "stacking": STACKING,
    }
    return Home(
        store, redis_server, Settings.model_validate({**load_settings(None, {}).model_dump(), **settings})
    )


def seen(telescope: SimulatedTelescope, file_name: str, target: str = "M 81", **changes: Any) -> FrameEvent:
    """Give the event of a watcher that has read a frame in its telescope's folder."""
    from skyrelay.fits_header import parse_header

    path = sub_folder(telescope, target) / file_name
    cards = parse_header(path.read_bytes()[: 10 * BLOCK]).cards
    usual: dict[str, Any] = {
        "root": "/photos",
        "path": f"{path.parent.name}/{file_name}",
        "size_bytes": path.stat().st_size,
        "modified_at": datetime.fromtimestamp(path.stat().st_mtime, UTC),
        "header": {card: cards[card] for card in HEADER_CARDS if card in cards},
        "header_sha256": "0" * 64,
        "seen_at": utc_now(),
    }
    return FrameEvent(**{**usual, **changes})


def half(event: FrameEvent) -> FrameEvent:
    """Give the event of the same frame while only half of it was there."""
    return event.model_copy(
        update={
            "header": {},
            "header_sha256": "",
            "problem": "it ends early",
            "size_bytes": event.size_bytes // 2,
        }
    )


def by_state(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    """Sort blocks by their state."""
    sorted_: dict[str, list[Block]] = {state.value: [] for state in BlockState}
    for block in blocks:
        sorted_[block.state].append(block)
    return {state: found for state, found in sorted_.items() if found}
