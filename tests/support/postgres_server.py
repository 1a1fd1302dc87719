"""A real PostgreSQL server of the tests' own, on a Unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from support.waiting import eventually

_OWNER = "postgres"  # PostgreSQL refuses to run as root


def find_postgres() -> Path | None:
    """Give the folder of PostgreSQL's programs; `None` where it is not installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class PostgresServer:
    """A server with room for many databases; `create_database` gives the URL of a fresh one."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Make the cluster, start it and wait until it answers."""
        data = self._folder / "data"
        options = ["--auth=trust", f"--username={_OWNER}", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", f"--pgdata={data}", *options)
        arguments = ["-D", str(data), "-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        self._process = subprocess.Popen(self._command("postgres", *arguments), stderr=subprocess.DEVNULL)
        eventually(self._answers)

    def stop(self) -> None:
        """Stop it at once."""
        if self._process is not None:
            self._process.send_signal(2)  # fast shutdown
            self._process.wait(20)

    def create_database(self, encoding: str = "UTF8") -> str:
        """Make an empty database and give its SQLAlchemy URL."""
        self._databases += 1
        name = f"test{self._databases}"
        with self._connect() as connection:
            connection.execute(
                f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode()
            )
        return f"postgresql+psycopg://{_OWNER}@/{name}?host={self._folder}"

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self._folder), user=_OWNER, dbname=_OWNER, autocommit=True)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, stdout=subprocess.DEVNULL)

    def _command(self, program: str, *arguments: str) -> list[str]:
        as_owner = (
            ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        return [*as_owner, str(self._programs / program), *arguments]


@contextmanager
def running_postgres(programs: Path) -> Iterator[PostgresServer]:
    """Run a server for as long as the ``with`` lasts."""
    with tempfile.TemporaryDirectory(prefix="skyrelay-pg-") as folder:  # short: socket paths end at 108 bytes
        place = Path(folder)
        if os.geteuid() == 0:
            shutil.chown(place, _OWNER, _OWNER)
        server = PostgresServer(programs, place)
        try:
            server.start()
            yield server
        finally:
            server.stop()
