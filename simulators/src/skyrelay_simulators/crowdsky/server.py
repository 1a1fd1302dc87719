"""The simulated CrowdSky server: as a library for tests, and as a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from starlette.types import ASGIApp

from skyrelay_simulators.crowdsky.app import ENDPOINTS, build_app
from skyrelay_simulators.crowdsky.endpoints import Endpoints, Rules
from skyrelay_simulators.crowdsky.storage import Storage, StoredStack
from skyrelay_simulators.web.server import SimulatedServer, run_until_told


class SimulatedCrowdSky(SimulatedServer):
    """A CrowdSky server of our own, in a thread.

    Parameters
    ----------
    data_dir
        Where it keeps files and index. Another server on the same folder goes on from there.
    users
        Passwords by user name.
    host, port
        Where it listens; port 0 takes a free one, and keeps it over a stop and a start.
    processing_delay_s
        Seconds from an upload to its appearance in ``my_stacks``.
    server_scrubs
        Whether ``scrub_location`` is obeyed on the server's side.
    quota_bytes
        What an account may hold; `None`: anything.

    Examples
    --------
    >>> with SimulatedCrowdSky(tmp_path, {"alice": "s3cret"}) as server:
    ...     server.show("upload_stack", Fault(mode="status", status=503, times=2))
    ...     ...
    ...     assert server.uploads == []
    """

    name: ClassVar[str] = "CrowdSky simulator"

    def __init__(
        self,
        data_dir: Path,
        users: Mapping[str, str],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        processing_delay_s: float = 0.0,
        server_scrubs: bool = True,
        quota_bytes: int | None = None,
    ) -> None:
        super().__init__(host, port, ENDPOINTS)
        self._rules = Rules(
            users=dict(users),
            processing_delay_s=processing_delay_s,
            server_scrubs=server_scrubs,
            quota_bytes=quota_bytes,
        )
        self._data_dir = data_dir
        self._storage: Storage | None = None

    @property
    def uploads(self) -> list[StoredStack]:
        """All stacks that it holds, listed or not, oldest first."""
        return self._opened_storage().stacks()

    def stored_bytes(self, stack: StoredStack) -> bytes:
        """Give a stack's file as the server holds it."""
        return self._opened_storage().path_of(stack.stored_as).read_bytes()

    def list_all_now(self) -> None:
        """End the post-processing of all stacks at once."""
        self._opened_storage().list_all_now()

    def _app(self) -> ASGIApp:
        storage = self._opened_storage()
        return build_app(Endpoints(storage, self._rules), storage, self._faults, self._journal)

    def _opened_storage(self) -> Storage:
        if self._storage is None:
            self._storage = Storage(self._data_dir)
        return self._storage


def serve(
    host: str,
    port: int,
    data_dir: Path,
    username: str,
    password: str,
    ready_file: Path | None = None,
    *,
    processing_delay_s: float = 0.0,
) -> None:
    """Run the server until SIGTERM or SIGINT; call it in the main thread.

    Once it listens, ``{"base_url": "http://…"}`` is written to ``ready_file``, or printed if there
    is none.
    """
    users = {username: password}
    run_until_told(
        SimulatedCrowdSky(data_dir, users, host, port, processing_delay_s=processing_delay_s), ready_file
    )
