"""What the watcher is to watch now: its configuration, and below it what the page says, told by the gateway.

What it was told last is kept in a file, so that it begins at once after a restart, gateway or not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from redis import Redis
from redis.exceptions import RedisError

from skyrelay.gateway_client import gateway_address
from skyrelay.logs import get_logger
from skyrelay.queue.watcher_pass import HEADER, watcher_pass
from skyrelay.settings import Settings
from skyrelay.settings_page import with_page_values
from skyrelay.staying_session import StayingSession

PATH = "/api/v1/settings/watcher"
_FILE = Path("watcher") / "page.json"  # below data_dir
_TIMEOUT_S = 5.0
_MOST_BYTES = 256 * 1024

_log = get_logger(__name__)


class Wanted:
    """The settings in force, as far as the watcher can know them.

    Parameters
    ----------
    settings
        The watcher's own configuration, which wins.
    redis
        Client, for the word by which the gateway knows us.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings, self._redis = settings, redis
        self._file = settings.data_dir / _FILE
        self._page = self._read_kept()

    def now(self) -> Settings:
        """Give the settings in force, by what the gateway said last."""
        return with_page_values(self._settings, self._page)

    def ask(self) -> None:
        """Ask the gateway; without an answer, what it said last goes on to count."""
        try:
            told = self._told()
        except (requests.RequestException, RedisError, TypeError, ValueError) as error:
            _log.debug("the gateway says nothing", problem=str(error))
            return
        if told != self._page:
            self._page = told
            self._keep(told)

    def _told(self) -> Mapping[str, Any]:
        headers = {HEADER: watcher_pass(self._redis)}
        with StayingSession() as session:
            session.trust_env = False  # no proxy of the environment stands between us and ourselves
            answer = session.get(
                gateway_address(self._settings.gateway) + PATH,
                headers=headers,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
        if answer.status_code != requests.codes.ok or len(answer.content) > _MOST_BYTES:
            raise ValueError(f"the gateway answers with status {answer.status_code}")
        told = answer.json()
        if not isinstance(told, dict):
            raise TypeError("the gateway gives no settings")
        return told

    def _read_kept(self) -> Mapping[str, Any]:
        try:
            kept = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):  # none yet, half a file, or no file of ours
            return {}
        return kept if isinstance(kept, dict) else {}

    def _keep(self, told: Mapping[str, Any]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(told, file)
            Path(name).replace(self._file)
        except OSError as error:  # it is asked for again after a restart
            _log.warning("the settings cannot be kept", problem=str(error))
