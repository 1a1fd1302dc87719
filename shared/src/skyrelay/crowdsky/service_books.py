"""What the services owe to CrowdSky, or have delivered: scripts and commands leave that to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.domain.chunk import chunk_start
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import TransientError
from skyrelay.outbox.known_stacks import delivery_of, find_stack
from skyrelay.store.engine import Store, may_be_there
from skyrelay.store.tables import Block, Delivery, Telescope

_SAME_EXPTIME_S = 0.5


class ServiceBooks:
    """The deliveries in the configured database; empty where no service has ever run.

    A context, which closes the database; it is opened once, when it is first needed, for all threads.

    Parameters
    ----------
    database_url
        SQLAlchemy URL.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._opening = Lock()
        self._store: Store | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()

    def __repr__(self) -> str:
        """Leave the address out: a password may stand in it."""
        return "ServiceBooks()"

    def delivery_of(self, identity: StackIdentity) -> DeliveryState | None:
        """Tell how the services' delivery of a stack stands; `None` when they have none that lives.

        Raises
        ------
        TransientError
            If the database cannot be read: then it is not known what the services send.
        """
        if not may_be_there(self._url):
            return None
        with self._session() as session:
            stack = find_stack(session, identity)
            delivery = None if stack is None else delivery_of(session, stack)
        if delivery is None or delivery.state == DeliveryState.DEAD:
            return None
        return DeliveryState(delivery.state)

    def raw_delivery_of(
        self, chunk: str, telescope: str, filter_name: str, exposure_s: float
    ) -> DeliveryState | None:
        """Tell how the services' delivery of raw frames stands; `None` when they have none that lives.

        Parameters
        ----------
        chunk
            Of the frames' DATE-OBS.
        telescope, filter_name, exposure_s
            As the frames' headers have them.

        Raises
        ------
        TransientError
            If the database cannot be read: then it is not known what the services send.
        """
        if not may_be_there(self._url):
            return None
        query = (
            select(Delivery.state)
            .join(Block, Block.id == Delivery.block_id)
            .join(Telescope, Telescope.id == Block.telescope_id)
            .where(Delivery.kind == DeliveryKind.RAW, Delivery.state != DeliveryState.DEAD)
            .where(Telescope.serial == telescope.rpartition("_")[2], Block.start_at == chunk_start(chunk))
            .where(func.lower(Block.filter) == filter_name.casefold())
            .where(func.abs(Block.exposure_s - exposure_s) <= _SAME_EXPTIME_S)
        )
        with self._session() as session:
            state = session.scalar(query.limit(1))
        return None if state is None else DeliveryState(state)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with self._opened().read() as session:
                yield session
        except SQLAlchemyError as error:
            raise TransientError(
                "the database cannot be read, so that it is not known what the services send "
                f"({type(error).__name__}): is it running, and migrated by `skyrelay migrate`?"
            ) from error

    def _opened(self) -> Store:
        with self._opening:
            if self._store is None:
                self._store = Store(self._url)
            return self._store
