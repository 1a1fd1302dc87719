"""The services and Redis as processes that can be killed and started again, one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from skyrelay.cli.embedded_redis import redis_arguments
from skyrelay.service import installed_services
from skyrelay_simulators.chaos.machine import Machine
from skyrelay_simulators.demo.errors import DemoFailed

_NOT_KILLED = frozenset({"flower"})  # it holds nothing and does nothing
_OURS = ("SKYRELAY_", "CROWDSKY_")  # a person's own settings must not lead the rehearsal to a real home
_REDIS_WITHIN_S = 20.0
_STOP_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.05


class Services:
    """One process a service, each in a session of its own, and their Redis; a context."""

    def __init__(self, config: Path, logs: Path, socket: Path, machine: Machine | None = None) -> None:
        self._config = config
        self._machine = machine or Machine(config.parent, frozenset())
        self._logs = logs
        self._socket = socket
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._orphaned: list[int] = []  # process groups whose leader was killed alone
        self._files = ExitStack()
        self.names = sorted(set(installed_services()) - _NOT_KILLED)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = [name for name in self._running if name != "redis"]
        for name in ours:
            self._running[name].terminate()
        for name in [*ours, *self._running]:
            self._end(name)
        for group in self._orphaned:
            _kill_group(group)
        self._files.close()

    @property
    def redis_url(self) -> str:
        """Where Redis answers."""
        return f"unix://{self._socket}"

    def migrate(self) -> None:
        """Make the database's tables."""
        command = [sys.executable, "-m", "skyrelay.cli", "migrate", "--config", str(self._config)]
        subprocess.run(command, check=True, env=_environment(), stdout=self._log("migrate"))  # noqa: S603 - our own program

    def start(self, name: str, *beside: str) -> None:
        """Start a service, and others that share what it imports."""
        command = [sys.executable, "-m", "skyrelay.service", name, *beside, "--config", str(self._config)]
        self._start(name, self._machine.command(command), self._machine.environment())

    def freeze(self, name: str, seconds: float) -> None:
        """Stop a service and its children as they stand (SIGSTOP), and let them go on."""
        group = self._running[name].pid
        os.killpg(group, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(group, signal.SIGCONT)

    def pid_of(self, name: str) -> int:
        """Give the process id of a service that runs."""
        return self._running[name].pid

    def kill(self, name: str, *, with_children: bool) -> None:
        """End a service with SIGKILL: it and its children, as a container's end does, or it alone."""
        process = self._running.pop(name)
        if with_children:
            _kill_group(process.pid)
        else:
            process.kill()
            self._orphaned.append(process.pid)
        process.wait()

    def start_redis(self) -> None:
        """Start Redis, empty, and wait until it answers."""
        self._start("redis", redis_arguments(self._socket))
        deadline = time.monotonic() + _REDIS_WITHIN_S
        while not self._redis_answers():
            if time.monotonic() > deadline:
                raise DemoFailed(f"Redis does not answer within {_REDIS_WITHIN_S:.0f} s; see {self._logs}")
            time.sleep(_LOOK_EVERY_S)

    def stop_redis(self) -> None:
        """Stop Redis; what it held is gone."""
        self._running["redis"].terminate()
        self._end("redis")

    def wipe_redis(self) -> None:
        """Take everything out of Redis while it runs."""
        with Redis.from_url(self.redis_url) as redis:
            redis.flushall()

    def ended(self) -> list[str]:
        """Name the services that ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def _redis_answers(self) -> bool:
        try:
            with Redis.from_url(self.redis_url) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def _start(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self._running[name] = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log(name),
            stderr=subprocess.STDOUT,
            env={**_environment(), **(environment or {})},
            start_new_session=True,
        )

    def _log(self, name: str) -> int:
        return self._files.enter_context((self._logs / f"{name}.log").open("ab")).fileno()

    def _end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_WITHIN_S)
        _kill_group(process.pid)
        process.wait()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
