"""A Seestar telescope, as a caller wants it: who it is, what it does, its files, its batch stack.

Nothing is opened before it is needed: a caller that only fetches files never takes port 4700.
Commands that change something, and listings over RPC, are for whoever holds the telescope's lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from skyrelay.domain.states import TelescopeState
from skyrelay.fits_header import FitsHeader
from skyrelay.seestar.auth import load_signer
from skyrelay.seestar.batch_stack import BatchStack, StackStart
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.device import DeviceInfo, TelescopeStatus, read_device, read_status
from skyrelay.seestar.downloads import HttpFiles
from skyrelay.seestar.errors import (
    AnotherTelescope,
    CommandRefused,
    KeyMissing,
    KeyRefused,
    MethodUnknown,
    Unreachable,
)
from skyrelay.seestar.fields import JsonValue
from skyrelay.seestar.files import Renamed, TelescopeFiles
from skyrelay.seestar.listing import FileListing, FolderListing
from skyrelay.seestar.smb import SmbShare
from skyrelay.seestar.stack_run import StackRun, StackSetting
from skyrelay.seestar.view_plan import PlannedView, RunningPlan, running_plan, start_plan, stop_plan

__all__ = ["Telescope", "TelescopeAddress"]


@dataclass(frozen=True, slots=True)
class TelescopeAddress:
    """Where a telescope answers, and the key to it.

    Attributes
    ----------
    host, rpc_port, http_port, smb_port
        Every port can differ: people forward them.
    smb_share
        Name of the share; ``auto`` tries the known ones.
    key_path
        The user's PEM file, for firmware 7.18 and later.
    name
        What the configuration calls it; messages name settings with it.
    """

    host: str
    rpc_port: int = 4700
    http_port: int = 80
    smb_port: int = 445
    smb_share: str = "auto"
    key_path: Path | None = field(default=None, repr=False)
    name: str = ""

    @property
    def label(self) -> str:
        """Its name, else its host."""
        return self.name or self.host


class Telescope:
    """One telescope. Use it as a context manager, or close it.

    Parameters
    ----------
    address
        Where it is.
    connect, reply
        How long to wait for a connection and for one reply.
    """

    def __init__(
        self,
        address: TelescopeAddress,
        *,
        connect: timedelta = timedelta(seconds=5),
        reply: timedelta = timedelta(seconds=15),
    ) -> None:
        self.address = address
        host, name = address.host, address.label
        key_path = address.key_path
        self._connection = Connection(
            host,
            address.rpc_port,
            name=name,
            signer=None if key_path is None else lambda: load_signer(key_path),
            connect=connect,
            reply=reply,
        )
        share = SmbShare(
            host, address.smb_port, address.smb_share, name=name, connect=connect, operation=reply
        )
        self._files = TelescopeFiles(share, self._connection)
        self._http = HttpFiles(host, address.http_port, name=name, connect=connect, silence=reply)
        self._batch_stack = BatchStack(self._connection, lambda: self._known().firmware_int)
        self._identity: DeviceInfo | None = None
        self._identified = 0  # at which opening of the connection

    def __enter__(self) -> Telescope:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections for good."""
        self._connection.close()
        self._files.close()
        self._http.close()

    # Who it is and what it does

    def identify(self) -> DeviceInfo:
        """Ask who it is, and for its clock.

        Raises
        ------
        Unreachable, KeyMissing, KeyRefused, NotATelescope, CommandRefused
        """
        state = self._connection.read("get_device_state", {"keys": ["device", "location_lon_lat"]})
        self._identity = read_device(state, self._read_if_known("pi_get_time"))
        self._identified = self._connection.open()
        return self._identity

    def state(self) -> TelescopeStatus:
        """Ask what it does. Not being able to ask is an answer too: this raises nothing for it."""
        try:
            return read_status(
                self._connection.read("get_device_state", {"keys": ["device", "pi_status"]}),
                self._read_if_known("get_disk_volume"),
                self._connection.read("get_view_state"),
                self._read_if_known("iscope_get_app_state"),
            )
        except KeyMissing as error:
            return TelescopeStatus(TelescopeState.KEY_MISSING, str(error))
        except KeyRefused as error:
            return TelescopeStatus(TelescopeState.KEY_REFUSED, str(error))
        except Unreachable as error:
            return TelescopeStatus(TelescopeState.UNREACHABLE, str(error), reach=error.reach)
        except CommandRefused as error:
            return TelescopeStatus(TelescopeState.UNKNOWN, str(error))

    # Its files

    def list_targets_folders(self, *, allow_rpc: bool = True) -> FolderListing:
        """Name the targets' folders in ``MyWorks``.

        Parameters
        ----------
        allow_rpc
            Whether to fall back to RPC, which leaves folders out and wants the lease.

        Raises
        ------
        ListingFailed, FileMissing, ShareMissing, Unreachable, KeyMissing, KeyRefused, TransientError
            A listing that failed is never an empty one.
        """
        return self._files.folders(allow_rpc=allow_rpc)

    def list_folder(self, folder: str, *, allow_rpc: bool = True) -> FileListing:
        """List the files of a folder; as `list_targets_folders`, and raises `NameUnsafe` too."""
        return self._files.files(folder, allow_rpc=allow_rpc)

    def read_header(self, folder: str, name: str) -> FitsHeader:
        """Read a FITS file's header, a few kB over HTTP.

        Raises
        ------
        FileMissing, Unreachable, HeaderIncomplete, NotFits, NameUnsafe
        """
        return self._http.read_header(folder, name)

    def download(
        self,
        folder: str,
        name: str,
        to: Path,
        expected_size: int | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> Path:
        """Fetch a file; see `skyrelay.seestar.downloads.HttpFiles.download`."""
        return self._http.download(folder, name, to, expected_size, deadline=deadline)

    def rename(self, folder: str, old: str, new: str, *, deadline: Deadline | None = None) -> Renamed:
        """Give a FITS file another name, then its companions as far as it goes.

        Raises
        ------
        NameTaken, FileMissing, NameUnsafe
            Nothing was done, nor will be.
        Unreachable, ShareMissing, DeadlinePassed, TransientError
            Nothing was done.
        ReplyLost
            It may have been done: list the folder.
        """
        return self._files.rename(folder, old, new, deadline)

    def delete(self, folder: str, name: str, *, deadline: Deadline | None = None) -> None:
        """Delete a file. Raises as `rename` does."""
        self._files.delete(folder, name, deadline)

    def upload(self, folder: str, name: str, source: Path, *, deadline: Deadline | None = None) -> None:
        """Write a file into an existing folder. Raises as `rename` does."""
        self._files.upload(folder, name, source, deadline)

    # Its batch stack

    def start_stack(
        self, folder: str, file_names: Iterable[str], *, deadline: Deadline | None = None
    ) -> StackStart:
        """Have files of one folder stacked, or adopt the run that does exactly that already.

        Raises
        ------
        Observing, StackingAlready
            It is busy with something that is not ours to end.
        CommandRefused, SettingDiffers, Unreachable, KeyMissing, KeyRefused, DeadlinePassed
            It was not started.
        AnotherTelescope
            Since it was asked who it is, another one has come to its address; that was told nothing.
        ReplyLost
            It may have been started: look at `stack_progress` before the next try (`start_stack` does).
        NameUnsafe, ValueError
            For names that are none, or no names.
        """
        return self._batch_stack.start(folder, file_names, deadline)

    def stack_progress(self) -> StackRun:
        """Ask how far the present or last stack is. Raises as `identify` does."""
        return self._batch_stack.progress()

    def stack_files_now(self) -> StackSetting | None:
        """Ask which files are (to be) stacked, as bare names; `None` when the telescope does not say."""
        return self._batch_stack.setting()

    def wait_for_stack(
        self,
        deadline: Deadline,
        on_progress: Callable[[StackRun], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> StackRun:
        """Wait for the run to end.

        Parameters
        ----------
        deadline
            When to come back all the same.
        on_progress
            Called with each change.
        should_stop
            Asked several times a second; when it says yes the run goes on without us.

        Returns
        -------
        StackRun
            The last that was seen: ended, or ``working`` when we came back before, or ``none`` when
            the telescope knows of no run (any more).

        Raises
        ------
        Unreachable, KeyMissing, KeyRefused, CommandRefused
            If the telescope was away when the time was over; being away for a while is endured.
        """
        return self._batch_stack.wait(deadline, on_progress, should_stop)

    def stop_stack(self, only: StackSetting | None = None, *, deadline: Deadline | None = None) -> StackRun:
        """Abort the run, if there is one; gives what is seen after it.

        Parameters
        ----------
        only
            Leave the run alone (`StackingAlready`) if it is not of these files.
        """
        return self._batch_stack.stop(only, deadline)

    def clear_stack(self, only: StackSetting | None = None, *, deadline: Deadline | None = None) -> None:
        """Make it forget its last result; raises `StackingAlready` while it is working.

        Parameters
        ----------
        only
            Leave the result alone (`StackingAlready`) if it is not of these files.
        """
        self._batch_stack.clear(only, deadline)

    # Its plan of the night

    def running_plan(self) -> RunningPlan | None:
        """Ask for the plan that it works on; `None` when on none. Raises as `identify` does."""
        return running_plan(self._connection)

    def start_plan(
        self, name: str, evening: str, views: Sequence[PlannedView], *, deadline: Deadline | None = None
    ) -> None:
        """Hand a plan over; see `skyrelay.seestar.view_plan.start_plan`."""
        start_plan(self._connection, name, evening, views, deadline)

    def stop_plan(self, *, deadline: Deadline | None = None) -> None:
        """Stop the plan under way, if there is one; raises as `start_stack` does."""
        stop_plan(self._connection, deadline)

    def _known(self) -> DeviceInfo:
        """Give who it is; asked again behind each new connection, where it may be another, or updated."""
        known = self._identity
        if known is not None and self._identified == self._connection.open():
            return known
        now = self.identify()
        if known is not None and known.serial != now.serial:
            self._identity, self._identified = known, 0
            raise AnotherTelescope(now.serial)
        return now

    def _read_if_known(self, method: str) -> JsonValue:
        try:
            return self._connection.read(method)
        except MethodUnknown:
            return None
