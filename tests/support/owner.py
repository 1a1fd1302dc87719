"""A gateway that has an owner, and browsers that visit it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from skyrelay.access.owner import set_password
from skyrelay.store.engine import Store
from support.gateway import quick_hasher

PASSWORD = "a dark sky over the garden"
START = datetime(2026, 3, 1, 20, tzinfo=UTC)
NO_REDIS = "unix:///nowhere/redis.sock"  # nothing here gets as far as to need one


class Clock:
    """The aware UTC time, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        """Let time go by."""
        self.now += timedelta(**span)


class Browser:
    """Keeps cookies, follows no redirect, and says where its forms come from, as browsers do."""

    def __init__(self, address: str, origin: str | None = None) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "text/html"
        self.origin = origin or "/".join(address.split("/")[:3])

    def get(self, path: str, **headers: str) -> requests.Response:
        """Open a page."""
        return self.session.get(self.address + path, headers=headers, timeout=20, allow_redirects=False)

    def submit(self, path: str, **fields: str) -> requests.Response:
        """Send a form, with the token of the page that it stands on."""
        token = self.token_in(path)
        return self.post(path, {"csrf_token": token, **fields})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> requests.Response:
        """Send a form as it is."""
        return self.session.post(
            self.address + path,
            data=fields,
            headers={"Origin": self.origin, **headers},
            timeout=20,
            allow_redirects=False,
        )

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Ask as a script of our own page does."""
        return self.session.request(
            method, self.address + path, json=body, headers={"Origin": self.origin, **headers}, timeout=20
        )

    def token_in(self, path: str) -> str:
        """Give the token in a page's form; empty where it has none."""
        page = self.get(path).text
        return page.partition('name="csrf_token" value="')[2].partition('"')[0]

    def log_in(self, password: str = PASSWORD, **fields: str) -> requests.Response:
        """Send the form of the login."""
        return self.submit("/login", password=password, **fields)

    def is_logged_in(self) -> bool:
        """Tell whether the gateway knows this browser."""
        return self.get("/api/v1/access").status_code == 200


def give_owner(store: Store, password: str = PASSWORD) -> None:
    """Set the password as `skyrelay password` does."""
    set_password(store, quick_hasher(), password, now=START, actor="test")
