"""The simulated node cloud: as a library for tests, and as a program."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

from starlette.types import ASGIApp

from skyrelay_simulators.cloud.app import ENDPOINTS, build_app
from skyrelay_simulators.cloud.endpoints import MOST_IMAGE_BYTES, Endpoints, Rules
from skyrelay_simulators.cloud.operating import broadcast, give_plan
from skyrelay_simulators.cloud.orders import InterruptOrder, PlanOrder
from skyrelay_simulators.cloud.records import StoredFile, StoredInterrupt, StoredMeasurement, StoredNode
from skyrelay_simulators.cloud.storage import EVERY_NODE, Storage
from skyrelay_simulators.web.server import SimulatedServer, run_until_told


class SimulatedCloud(SimulatedServer):
    """A node cloud of our own, in a thread.

    Parameters
    ----------
    data_dir
        Where it keeps files and index. Another server on the same folder goes on from there.
    host, port
        Where it listens; port 0 takes a free one, and keeps it over a stop and a start.
    activation_codes
        Those that it knows, each good for one registration.
    most_image_bytes
        Longer images are refused; 64 MiB, as the real server has it.

    Examples
    --------
    >>> with SimulatedCloud(tmp_path) as cloud:
    ...     cloud.show("heartbeat", Fault(mode="status", status=503, times=2))
    ...     ...
    ...     assert [node.node_id for node in cloud.nodes] == ["garden"]
    """

    name: ClassVar[str] = "node cloud simulator"

    def __init__(
        self,
        data_dir: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        activation_codes: Collection[str] = (),
        most_image_bytes: int = MOST_IMAGE_BYTES,
    ) -> None:
        super().__init__(host, port, ENDPOINTS)
        self._rules = Rules(activation_codes=frozenset(activation_codes), most_image_bytes=most_image_bytes)
        self._data_dir = data_dir
        self._storage: Storage | None = None

    @property
    def nodes(self) -> list[StoredNode]:
        """The registry, oldest node first."""
        return self._opened_storage().nodes()

    @property
    def measurements(self) -> list[StoredMeasurement]:
        """The measurements, in the order of their arrival."""
        return self._opened_storage().measurements()

    @property
    def images(self) -> list[StoredFile]:
        """The images, in the order of their (latest) arrival."""
        return self._opened_storage().files("image")

    @property
    def aavso_files(self) -> list[StoredFile]:
        """The AAVSO files, in the order of their arrival."""
        return self._opened_storage().files("aavso")

    @property
    def interrupts(self) -> list[StoredInterrupt]:
        """The interrupts, expired or not, oldest first."""
        return self._opened_storage().interrupts()

    def set_plan(self, items: Sequence[dict[str, Any]], *, node_id: str = EVERY_NODE, **traits: str) -> str:
        """Give this plan out from now on (traits: ``night``, ``plan_id``); give its name."""
        return give_plan(self._opened_storage(), PlanOrder(items=list(items), node_id=node_id, **traits))

    def clear_plan(self, node_id: str = EVERY_NODE) -> None:
        """Have no plan for a node (or for nobody in particular) any more."""
        self._opened_storage().put_plan(node_id, None)

    def interrupt(self, name: str, ra_deg: float, dec_deg: float, **traits: Any) -> int:
        """Broadcast an interrupt (traits: those of `InterruptOrder`); give its number."""
        order = InterruptOrder(name=name, ra_deg=ra_deg, dec_deg=dec_deg, **traits)
        return broadcast(self._opened_storage(), order)

    def revoke(self, node_id: str) -> None:
        """Accept a node's key no more."""
        self._opened_storage().revoke(node_id)

    def stored_bytes(self, file: StoredFile) -> bytes:
        """Give a file as the server holds it."""
        return self._opened_storage().path_of(file.stored_as).read_bytes()

    def _app(self) -> ASGIApp:
        storage = self._opened_storage()
        return build_app(Endpoints(storage, self._rules), storage, self._faults, self._journal)

    def _opened_storage(self) -> Storage:
        if self._storage is None:
            self._storage = Storage(self._data_dir)
        return self._storage


def serve(host: str, port: int, data_dir: Path, ready_file: Path | None = None) -> None:
    """Run the cloud until SIGTERM or SIGINT; call it in the main thread.

    Once it listens, ``{"base_url": "http://…"}`` is written to ``ready_file``, or printed if there
    is none.
    """
    run_until_told(SimulatedCloud(data_dir, host, port), ready_file)
