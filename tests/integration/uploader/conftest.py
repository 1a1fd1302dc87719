"""A home with a telescope, a CrowdSky server, a database, and the uploader's use cases between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.outbox.raw_route import frames_for_raw, send_raw
from skyrelay.queue.tasks import DeliveryMessage, Message, StackMessage, TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Delivery, Destination, Frame, Stack, Telescope
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, TelescopeSpec
from skyrelay_uploader.cloud_sending import deliver_to_cloud
from skyrelay_uploader.confirming import confirm_deliveries
from skyrelay_uploader.delivering import deliver
from skyrelay_uploader.fetching import fetch_stack
from skyrelay_uploader.reconciling import reconcile
from skyrelay_uploader.workshop import Workshop
from support.fits_files import fits_bytes
from support.recorded_night import RecordedNight

PASSWORD = "s3cret-päss"
SERIAL = "1d3fe189"
JPEG = b"\xff\xd8\xff\xe0 a small picture \xff\xd9"
FIRST_START_LOCAL = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a wall clock
NOON = timedelta(hours=12)


@dataclass
class Clock:
    """The real time, moved on by what a test has said to have passed."""

    passed: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.passed


@dataclass
class Home:
    """What a test of the uploader has at hand."""

    folder: Path
    store: Store
    telescope: SimulatedTelescope
    crowdsky: SimulatedCrowdSky
    clock: Clock = field(default_factory=Clock)
    said: list[tuple[TaskName, Message]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    def settings(self, **crowdsky: Any) -> Settings:
        """Give the configuration, with changes to its section ``crowdsky``."""
        return Settings.model_validate(self.configuration(**crowdsky))

    def configuration(self, **crowdsky: Any) -> dict[str, Any]:
        """Give the same as the file would have it."""
        account = {"base_url": self.crowdsky.base_url, "username": "alice", "password": PASSWORD}
        at = self.telescope.endpoint
        garden = {"name": "garden", "host": at.host, "rpc_port": at.rpc_port, "http_port": at.http_port}
        return {
            "setup": "done",
            "telescopes": [garden],
            "data_dir": str(self.folder / "data"),
            "database_url": f"sqlite:///{self.folder / 'skyrelay.db'}",
            "crowdsky": {**account, "confirm_s": 1.0, **crowdsky},
            **self.changes,
        }

    def workshop(self, **crowdsky: Any) -> Workshop:
        """Give the uploader's collaborators; what it says to others is kept in ``said``."""
        return Workshop(
            self.settings(**crowdsky),
            self.store,
            lambda task, message: self.said.append((task, message)),
            self.clock,
        )

    def work(self, workshop: Workshop | None = None, after: timedelta = timedelta(0)) -> None:
        """Let time pass, reconcile, and do all that is said, until nothing is said any more."""
        self.clock.passed += after
        workshop = workshop or self.workshop()
        reconcile(workshop)
        while self.said:
            self._do(workshop, *self.said.pop(0))

    def work_on(self, stack_id: int) -> None:
        """Do what is due for one stack alone."""
        deliver(self.workshop(), self.delivery(stack_id).id)
        self.said.clear()

    def _do(self, workshop: Workshop, task: TaskName, message: Message) -> None:
        if isinstance(message, StackMessage):
            fetch_stack(workshop, message.stack_id)
        elif isinstance(message, DeliveryMessage):
            deliver(workshop, message.delivery_id)
        elif task is TaskName.DELIVER_TO_CLOUD:
            deliver_to_cloud(workshop)
        else:
            assert task is TaskName.CONFIRM_DELIVERIES
            confirm_deliveries(workshop)

    def add_stack(
        self, number: int = 0, *, target: str = "M 94", data: bytes = bytes(64), **changes: Any
    ) -> int:
        """Lay a stack on the telescope and into the books, with its delivery; give its id.

        ``changes`` are columns of the stack.
        """
        start_local = FIRST_START_LOCAL + timedelta(minutes=15 * number)
        with self.store.write() as session:
            night = RecordedNight(session)
            telescope = night_telescope(night, session, self.telescope)
            block = night.block(telescope, target, start_local, BlockState.STACKED, frames=2)
            stack = night.stack(block)
            stack.fetched_at, stack.renamed_at = None, stack.created_at
            for column, value in changes.items():
                setattr(stack, column, value)
            content = stack_bytes(stack.first_start_at, target, data)
            stack.size_bytes = changes.get("size_bytes", len(content))
            night.delivery(stack, DeliveryState.PENDING)
            name = stack.crowdsky_name if stack.renamed_at else stack.original_name
            self.lay(stack.folder, name, content)
            self.lay(stack.folder, Path(name).stem + "_thn.jpg", JPEG)
            return stack.id

    def add_raw_block(
        self,
        number: int = 0,
        *,
        frames: int = 3,
        at_hand: bool = False,
        data: bytes = bytes(64),
        **cards: Any,
    ) -> int:
        """Lay a block's frames on the telescope, or in a watched folder, and owe them raw; give its id.

        ``cards`` are changes to each frame's header.
        """
        start_local = FIRST_START_LOCAL + timedelta(minutes=15 * number)
        watched = self.folder / "watched"
        with self.store.write() as session:
            night = RecordedNight(session)
            telescope = night_telescope(night, session, self.telescope)
            block = night.block(telescope, "M 94", start_local, BlockState.READY, frames=frames)
            members = frames_for_raw(session, block)
            for frame in members:
                content = frame_bytes(frame.start_at, data, **cards)
                frame.size_bytes = len(content)
                if at_hand:
                    frame.seen_root, frame.seen_path = str(watched), f"{frame.folder}/{frame.file_name}"
                    frame.state = FrameState.NOT_ON_TELESCOPE
                    (watched / frame.folder).mkdir(parents=True, exist_ok=True)
                    (watched / frame.seen_path).write_bytes(content)
                else:
                    frame.inventoried_at = utc_now()
                    self.lay(frame.folder, frame.file_name, content)
            send_raw(session, block, members, now=utc_now(), actor="stacker", reason="crowdsky.route: raw")
            return block.id

    def raw_delivery(self, block_id: int) -> Delivery:
        """Give the delivery of a block's raw frames."""
        with self.store.read() as session:
            return session.scalars(select(Delivery).where(Delivery.block_id == block_id)).one()

    def frames(self, block_id: int) -> list[Frame]:
        """Give a block's frames."""
        with self.store.read() as session:
            query = select(Frame).where(Frame.block_id == block_id).order_by(Frame.start_at)
            return list(session.scalars(query))

    def lay(self, folder: str, name: str, content: bytes) -> Path:
        """Write a file onto the telescope."""
        path = self.telescope.emmc.target_folder(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def stack(self, stack_id: int) -> Stack:
        """Give a stack's row."""
        with self.store.read() as session:
            return session.get_one(Stack, stack_id)

    def delivery(self, stack_id: int) -> Delivery:
        """Give the delivery of a stack."""
        with self.store.read() as session:
            return session.scalars(select(Delivery).where(Delivery.stack_id == stack_id)).one()

    def account(self) -> Destination:
        """Give CrowdSky's row."""
        with self.store.read() as session:
            return session.get_one(Destination, "crowdsky")

    def change(self, row: Delivery | Stack, **columns: Any) -> None:
        """Change a row's columns."""
        with self.store.write() as session:
            for column, value in columns.items():
                setattr(session.get_one(type(row), row.id), column, value)

    def audit(self, subject: str) -> list[AuditEntry]:
        """Give what the audit log says of one kind of thing, oldest first."""
        with self.store.read() as session:
            query = select(AuditEntry).where(AuditEntry.subject_kind == subject).order_by(AuditEntry.id)
            return list(session.scalars(query))

    def archived(self) -> list[str]:
        """Name the files in the archive, without those that are still arriving."""
        root = self.folder / "data" / "archive"
        files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in files if path.parts[0] != ".arriving")


def night_telescope(night: RecordedNight, session: Any, telescope: SimulatedTelescope) -> Any:
    """Give the row of the simulated telescope, made at its first stack."""
    at, serial = telescope.endpoint, telescope.spec.serial
    row = session.scalar(select(Telescope).where(Telescope.name == "garden"))
    if row is None:
        return night.telescope(serial=serial, host=at.host, http_port=at.http_port, rpc_port=at.rpc_port)
    row.serial = serial  # the service may have laid the configured telescope down before
    return row


def stack_bytes(start: datetime, target: str, data: bytes) -> bytes:
    """Write a stack as the telescope does; its first frame began at ``start``."""
    stamp = start.astimezone(UTC).replace(tzinfo=None).isoformat()
    shape = {"NAXIS1": len(data) // 2, "NAXIS2": 1}
    return fits_bytes(data, DATE_OBS=stamp, OBJECT=target, **shape)


def frame_bytes(start: datetime | None, data: bytes, **changes: Any) -> bytes:
    """Write a light frame as the telescope does; its exposure began at ``start``."""
    stamp = None if start is None else start.astimezone(UTC).replace(tzinfo=None).isoformat()
    shape = {"NAXIS1": len(data) // 2, "NAXIS2": 1}
    return fits_bytes(data, **{"DATE_OBS": stamp, "TOTALEXP": None, **shape, **changes})


Simulate = Callable[..., SimulatedCrowdSky]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    """Give a function that starts a CrowdSky server which knows alice."""
    with ExitStack() as running:

        def start(**options: Any) -> SimulatedCrowdSky:
            server = SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": PASSWORD}, **options)
            return running.enter_context(server)

        yield start


@pytest.fixture
def telescope(tmp_path: Path) -> Iterator[SimulatedTelescope]:
    """Give a telescope without a share: the uploader needs none."""
    spec = TelescopeSpec(serial=SERIAL, root=tmp_path / "emmc", smb_backend=SmbBackend.OFF)
    with SimulatedTelescope(spec) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, store: Store, telescope: SimulatedTelescope, simulate: Simulate) -> Home:
    """Give a home whose CrowdSky server lists a stack as soon as it has it."""
    return Home(tmp_path, store, telescope, simulate())


@pytest.fixture
def slow_home(home: Home, simulate: Simulate) -> Home:
    """Give a home whose CrowdSky server lists nothing by itself (`SimulatedCrowdSky.list_all_now` does)."""
    home.crowdsky.stop()
    return replace(home, crowdsky=simulate(processing_delay_s=1e6))
