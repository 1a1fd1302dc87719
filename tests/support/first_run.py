"""A home before its first run: a gateway over real HTTP, and a stacker in this process that answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import requests
import yaml
from sqlalchemy import select

from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.tables import Discovery, Telescope, TelescopeTrial
from skyrelay.store.trials import waiting
from skyrelay_stacker.discovering import discover_telescopes
from skyrelay_stacker.looking import look_at_telescope
from skyrelay_stacker.trying import try_telescope
from support.gateway import GatewayClient
from support.workshop import Home

_TOKEN = re.compile(r'name="csrf_token" value="([^"]*)"')


def configured(folder: Path, **sections: Any) -> Settings:
    """Read a file that says as little as a person's does."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(folder / "data"), **sections}), encoding="utf-8")
    return load_settings(file, {})


@dataclass
class FirstRun:
    """A person at the pages of the first run, in a browser that knows no JavaScript."""

    gateway: GatewayClient
    home: Home

    def see(self, path: str) -> str:
        """Open a page; give its text as a browser shows it, markup and all."""
        answer = self.gateway.get(path)
        assert answer.status_code == 200, answer.text
        return unescape(answer.text)

    def send(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> requests.Response:
        """Send a form and follow where it leads, while the stacker answers what is asked."""
        token = _TOKEN.search(self.gateway.get("/setup/start").text)
        data = {**(fields or {}), "csrf_token": token[1] if token else ""}
        headers = {"Origin": self.gateway.address}
        answer = self.gateway.send("POST", path, data=data, headers=headers, allow_redirects=False, **options)
        self.answer_all()
        if not answer.is_redirect:
            return answer
        return self.gateway.send("GET", requests.compat.urljoin(path, answer.headers["Location"]))

    def said(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> str:
        """Send a form; give the text of the page that it ends at."""
        return unescape(self.send(path, fields, **options).text)

    def answer_all(self) -> None:
        """Be the stacker: answer what waits."""
        workshop = self.home.workshop.in_force()
        with self.home.store.read() as session:
            numbers = waiting(session, utc_now())
            wanted = session.scalars(select(Telescope.id).where(Telescope.inventory_asked_at.is_not(None)))
            telescopes = list(wanted)
        for number in numbers:
            try_telescope(workshop, number)
        discover_telescopes(workshop)
        for telescope_id in telescopes:
            look_at_telescope(workshop, telescope_id)

    def settings(self) -> Settings:
        """Give the settings in force, the login among them."""
        return settings_in_force(self.home.settings, self.home.store)

    def trials(self) -> list[TelescopeTrial]:
        """Give the telescopes that were tried."""
        with self.home.store.read() as session:
            return list(session.scalars(select(TelescopeTrial).order_by(TelescopeTrial.id)))

    def discoveries(self) -> list[Discovery]:
        """Give the questions that the network was asked."""
        with self.home.store.read() as session:
            return list(session.scalars(select(Discovery).order_by(Discovery.id)))
