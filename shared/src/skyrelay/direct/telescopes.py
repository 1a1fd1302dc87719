"""Which telescopes a script means, and one of them ready to be driven under the common lease."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from threading import Event
from types import TracebackType
from typing import Self, TypeVar

from skyrelay.direct.books import Books, look_into_books, open_books, where_found
from skyrelay.errors import ConfigurationError, RefusedByRule, SkyrelayError, TransientError
from skyrelay.logs import get_logger
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import DeviceInfo
from skyrelay.seestar.errors import FileMissing, ShareMissing
from skyrelay.seestar.listing import FileListing
from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay.settings import Settings, TelescopeSettings
from skyrelay.store.holding import HeldLease

ALL = "all"
LEASE_PATIENCE = timedelta(seconds=30)  # the services' looks take seconds; only a stack holds for longer
_ASK_AGAIN_S = 0.5
_SERIAL = re.compile(r"[0-9a-f]{6,16}", re.ASCII)
Value = TypeVar("Value")


class TelescopeTaken(RefusedByRule):
    """Somebody else drives the telescope: the services, or another script."""


class SomeTelescopesFailed(SkyrelayError):  # noqa: N818 - what happened
    """Of several telescopes some failed.

    Attributes
    ----------
    results
        What the others gave, by serial number (or name, where no serial number is known).
    errors
        Why the others failed, by name.
    """

    def __init__(self, results: dict[str, object], errors: dict[str, SkyrelayError]) -> None:
        said = "; ".join(f"{name}: {error}" for name, error in errors.items())
        super().__init__(f"{len(errors)} of {len(results) + len(errors)} telescopes failed: {said}")
        self.results = results
        self.errors = errors


class OwnTelescope:
    """One configured telescope, as a script drives it. A context: nothing is opened before it is needed.

    Attributes
    ----------
    settings
        The whole configuration.
    configured
        The telescope's part of it.
    """

    def __init__(self, settings: Settings, configured: TelescopeSettings) -> None:
        self.settings = settings
        self.configured = configured
        self._lease: HeldLease | None = None
        self._books: Books | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._books is not None:
            self._books.close()

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        return self.configured.name

    @cached_property
    def seestar(self) -> Telescope:
        """The telescope itself: where it is configured, or where the services found that it has moved to."""
        configured, found = address_of(self.configured), where_found(self.settings, self.name)
        return Telescope(replace(configured, host=found) if found else configured)

    def close(self) -> None:
        """Close the connections to it; whoever waits for it is woken."""
        if "seestar" in self.__dict__:
            self.seestar.close()

    @cached_property
    def device(self) -> DeviceInfo:
        """Who answers at its address.

        Raises
        ------
        Unreachable, KeyMissing, KeyRefused, NotATelescope
        ConfigurationError
            If it is not the one that the configuration means.
        """
        device = self.seestar.identify()
        if self.configured.serial not in {None, device.serial}:
            raise ConfigurationError(
                f"telescopes[{self.name}].serial is {self.configured.serial}, but {device.serial} answers at "
                f"{self.configured.host}: correct host or serial"
            )
        return device

    @property
    def serial(self) -> str:
        """Its serial number: as configured, else as it says itself."""
        return self.configured.serial or self.device.serial

    @property
    def known_as(self) -> str:
        """Its serial number; its name where the configuration has none and it does not say."""
        try:
            return self.serial
        except SkyrelayError:  # it was listed over SMB alone, without a key say
            return self.name

    @property
    def books(self) -> Books | None:
        """What scripts and services have booked of it; `None` while there is no database yet."""
        if self._books is None:
            self._books = look_into_books(self.settings, self.name, lambda: self.serial)
        return self._books

    @contextmanager
    def leased(self) -> Iterator[tuple[HeldLease, Books]]:
        """Hold the telescope's lease in the ``with``; the database is made if there is none.

        Raises
        ------
        TelescopeTaken
            If somebody else holds it for longer than `LEASE_PATIENCE`.
        TransientError
            If the database cannot be asked who holds it.
        """
        books = open_books(self.settings, self.name, lambda: self.device.serial)
        if self._books is not None:
            self._books.close()
        self._books = books
        holder = f"{socket.gethostname()}:{os.getpid()} (script)"
        with books.held(holder, Deadline.after(LEASE_PATIENCE), Event().wait, _ASK_AGAIN_S) as lease:
            if lease is None:
                raise TelescopeTaken(
                    f"{self.name} is being driven by {books.who_holds()}: wait until that is done, or stop it"
                )
            self._lease = lease
            try:
                yield lease, books
            finally:
                self._lease = None

    def folders(self) -> tuple[str, ...]:
        """Name the folders in ``MyWorks``.

        Raises
        ------
        ListingFailed, ShareMissing, Unreachable, KeyMissing, KeyRefused, TelescopeTaken, TransientError
            A listing that failed is never an empty one.
        """
        return self._listed(lambda rpc: self.seestar.list_targets_folders(allow_rpc=rpc)).folders

    def list_folder(self, folder: str) -> FileListing:
        """List a folder; raises as `folders` does, `FileMissing` and `NameUnsafe` too."""
        return self._listed(lambda rpc: self.seestar.list_folder(folder, allow_rpc=rpc))

    def stacks_in(self, folder: str) -> frozenset[str]:
        """Name the files in a folder of stacks; none where the target's first stack has yet to make it."""
        try:
            return self.list_folder(folder).names
        except FileMissing:
            return frozenset()

    def _listed(self, ask: Callable[[bool], Value]) -> Value:
        """List by SMB; over RPC, whose one cursor all programs share, under the lease alone."""
        if self._lease is not None:
            self._lease.check()
            return ask(True)
        try:
            return ask(False)
        except (ShareMissing, TransientError) as error:
            get_logger(__name__).info("listing over RPC", telescope=self.name, reason=str(error))
            with self.leased():
                return ask(True)


def address_of(configured: TelescopeSettings) -> TelescopeAddress:
    """Give the address of a configured telescope."""
    return TelescopeAddress(
        name=configured.name,
        host=configured.host,
        rpc_port=configured.rpc_port,
        http_port=configured.http_port,
        smb_port=configured.smb_port,
        smb_share=configured.smb_share,
        key_path=configured.key_path,
    )


def choose(settings: Settings, ips: str | Iterable[str] | None) -> tuple[TelescopeSettings, ...]:
    """Give the telescopes that are meant.

    Parameters
    ----------
    ips
        Names, serial numbers or addresses; ``"all"``; `None` for the only one that is configured.

    Raises
    ------
    ConfigurationError
        If it is not clear which are meant.
    """
    configured = settings.telescopes
    if ips is None and len(configured) > 1:
        names = ", ".join(telescope.name for telescope in configured)
        raise ConfigurationError(
            f"several telescopes are configured ({names}): name one or several of them, or say {ALL!r}"
        )
    if ips is None or ips == ALL:
        if not configured:
            raise ConfigurationError(
                "no telescope is configured: fill in telescopes in the configuration, or give an address"
            )
        return configured
    wanted = [ips] if isinstance(ips, str) else list(ips)
    chosen = {found.name: found for text in wanted for found in (_meant(configured, text),)}
    if not chosen:
        raise ConfigurationError("no telescope is named: give a name, a serial number or an address")
    return tuple(chosen.values())


def on_each(
    settings: Settings, ips: str | Iterable[str] | None, work: Callable[[OwnTelescope], Value]
) -> Value | dict[str, Value]:
    """Do something with each of the telescopes that are meant, all at once.

    Returns
    -------
    The value for one telescope, a dict by serial number for several.

    Raises
    ------
    SomeTelescopesFailed
        If some of several failed; it holds what the others gave.
    """
    chosen = choose(settings, ips)
    if len(chosen) == 1:
        with OwnTelescope(settings, chosen[0]) as telescope:
            return work(telescope)
    values: dict[str, Value] = {}
    errors: dict[str, SkyrelayError] = {}

    def attempt(telescope: OwnTelescope) -> None:
        try:
            with telescope:
                value = work(telescope)
                values[telescope.known_as] = value
        except SkyrelayError as error:
            errors[telescope.name] = error

    _all_at_once([OwnTelescope(settings, one) for one in chosen], attempt)
    if errors:
        raise SomeTelescopesFailed(dict(values), errors)
    return values


def _all_at_once(telescopes: list[OwnTelescope], attempt: Callable[[OwnTelescope], None]) -> None:
    with ThreadPoolExecutor(len(telescopes), thread_name_prefix="telescope") as pool:
        try:
            list(pool.map(attempt, telescopes))
        except KeyboardInterrupt:
            for telescope in telescopes:  # the waits of all end with their connections
                telescope.close()
            raise


def _meant(configured: tuple[TelescopeSettings, ...], text: str) -> TelescopeSettings:
    for telescope in configured:
        if text in {telescope.name, telescope.serial, telescope.host}:
            return telescope
    if _SERIAL.fullmatch(text):
        return _by_its_own_word(configured, text)
    try:
        return TelescopeSettings(name=text, host=text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is neither a configured telescope nor an address: known are "
            f"{', '.join(telescope.name for telescope in configured) or 'none'}"
        ) from None


def _by_its_own_word(configured: tuple[TelescopeSettings, ...], serial: str) -> TelescopeSettings:
    """Ask the telescopes that are configured without a serial number who they are."""
    for telescope in configured:
        if telescope.serial is None:
            try:
                with Telescope(address_of(telescope)) as seestar:
                    if seestar.identify().serial == serial:
                        return telescope
            except SkyrelayError as error:
                get_logger(__name__).info("cannot say who it is", telescope=telescope.name, reason=str(error))
    raise ConfigurationError(f"no configured telescope that answers has the serial number {serial}")
