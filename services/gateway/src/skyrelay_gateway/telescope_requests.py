"""What a person wants of a telescope: a look, an inventory, to have it added, to forget it, to find others.

The gateway speaks to no telescope: it writes down what is wanted, and the stacker does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.asked import MOST_HOSTS, asked_of
from skyrelay.domain.home_address import check_home_host
from skyrelay.settings import Port, Zone
from skyrelay.store.pauses import lift_pauses
from skyrelay.store.tables import (
    Block,
    Delivery,
    Discovery,
    Frame,
    Run,
    ScriptedStack,
    Stack,
    Telescope,
)
from skyrelay.store.telescopes import take_address
from skyrelay.store.transitions import audit
from skyrelay_gateway.finding import find_telescope
from skyrelay_gateway.models import Page, TelescopeView, View
from skyrelay_gateway.paging import PageRequest, cut
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.views import telescope_view
from skyrelay_gateway.visits import actor

_FORGOTTEN = "was forgotten by a person"
_MOST_ADDRESSES = 16


class LookAnswer(View):
    """The telescope as it is known, and since when it waits to be asked again.

    The look has been made when ``looked_at`` of the telescope is ``asked_at`` or later.
    """

    telescope: TelescopeView
    asked_at: AwareDatetime
    note: str | None


class InventoryRequest(BaseModel):
    """Of which telescope to take the inventory: of one, or of all."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"telescope": "garden"}, {"all": True}]}
    )

    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    all: bool = False

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if self.all == bool(self.telescope):
            raise ValueError("name a telescope, or say all: true")
        return self


class InventoryAnswer(View):
    """Whose inventory is taken: at once, or when it has ended what it does.

    It has been taken when ``inventory_finished_at`` of the telescope is later than ``asked_at``.
    """

    telescopes: tuple[str, ...]
    asked_at: AwareDatetime
    note: str | None


class AddRequest(BaseModel):
    """A telescope to work with, at a home's own address. Its key is that of its settings in config.yaml."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"name": "garden", "host": "192.168.1.50"}]},
    )

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w .-]*[\w.-][\w .-]*$")
    host: Annotated[str, AfterValidator(check_home_host)] = Field(min_length=1, max_length=253)
    serial: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[\w-]+$")
    rpc_port: Port = 4700
    http_port: Port = 80
    smb_port: Port = 445
    timezone: Zone = "auto"


class ForgetAnswer(View):
    """What was removed of a telescope and what is kept: ``frames`` and so on say how many."""

    name: str
    removed: tuple[str, ...]
    frames: int
    blocks: int
    stacks: int
    deliveries: int


def _check_addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    asked = [one for address in addresses for one in asked_of(address)]
    if len(asked) > MOST_HOSTS:
        raise ValueError(f"{len(asked)} addresses are too many: {MOST_HOSTS} at most")
    for host in {one.host for one in asked}:
        check_home_host(host)
    return addresses


class DiscoveryRequest(BaseModel):
    """Whom to ask besides everybody in this network: addresses, or networks such as 192.168.1.0/24."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"addresses": ["192.168.1.0/24"]}, {}]}
    )

    addresses: Annotated[tuple[str, ...], AfterValidator(_check_addresses)] = Field(
        default=(), max_length=_MOST_ADDRESSES
    )


class FoundTelescope(View):
    """A telescope that answered; ``name`` is ours for it, null when it is new."""

    serial: str
    host: str
    hosts: tuple[str, ...]
    model: str
    name: str | None


class DiscoveryView(View):
    """A question to the network; ``finished_at`` is null until it was asked. ``problem``: why it was not."""

    id: int
    addresses: tuple[str, ...]
    asked_at: AwareDatetime
    finished_at: AwareDatetime | None
    found: tuple[FoundTelescope, ...]
    problem: str


class DiscoveryAnswer(View):
    """The question; read it again until it is finished."""

    discovery: DiscoveryView
    note: str | None


def one_telescope(session: Session, name: str) -> TelescopeView:
    """Give the telescope of that name or serial number; raise a 404 `Problem` for none."""
    return telescope_view(session.get_one(Telescope, find_telescope(session, name)))


def ask_to_look(session: Session, name: str, now: datetime) -> Telescope:
    """Have a telescope asked how it is, as soon as nobody else speaks to it.

    Raises
    ------
    Problem
        404 for one that is not there, 409 for one without an address.
    """
    row = session.get_one(Telescope, find_telescope(session, name))
    if row.host is None:
        raise _no_address(row)
    row.next_look_at = now
    _note(session, row, "look asked for", now)
    return row


def ask_for_inventory(session: Session, request: InventoryRequest, now: datetime) -> list[Telescope]:
    """Have the inventory of telescopes taken; one that observes is left alone until it has ended."""
    query = select(Telescope).where(Telescope.host.is_not(None)).order_by(Telescope.name)
    if request.telescope is not None:
        row = session.get_one(Telescope, find_telescope(session, request.telescope))
        if row.host is None:
            raise _no_address(row)
        query = query.where(Telescope.id == row.id)
    rows = list(session.scalars(query))
    for row in rows:
        row.inventory_asked_at, row.next_look_at = now, now
        _note(session, row, "inventory asked for", now)
    return rows


def add(session: Session, request: AddRequest, now: datetime) -> Telescope:
    """Add a telescope, or give an address to one that is known without.

    Raises
    ------
    Problem
        409 where its name, serial number or address is another's already.
    """
    row = _known(session, request)
    for other in _rivals(session, request):
        if other is not row or other.host is not None:
            raise _taken(other, request)
    if row is None:
        row = Telescope(created_at=now, smb_share="auto")
        session.add(row)
    for column in ("name", "host", "rpc_port", "http_port", "smb_port", "timezone"):
        setattr(row, column, getattr(request, column))
    row.serial = request.serial or row.serial
    row.added_at, row.forgotten_at, row.next_look_at, row.found_host = now, None, now, None
    session.flush()
    _note(session, row, "added", now)
    return row


def forget(session: Session, name: str, configured: Iterable[str], now: datetime) -> ForgetAnswer:
    """Forget a telescope's address and key; what it took, and what was made of it, stays.

    One of which nothing was ever recorded goes altogether.

    Raises
    ------
    Problem
        404 for one that is not there, 409 for one that the configuration names.
    """
    row = session.get_one(Telescope, find_telescope(session, name))
    if row.name in set(configured):
        raise Problem(
            409,
            f"{row.name} stands in the configuration, which would bring it back.",
            "Take it out of `telescopes` in config.yaml and start Skyrelay again; then forget it.",
        )
    answer = _what_is_kept(session, row)
    _note(session, row, "forgotten", now)
    lift_pauses(session, row.id, None, by=actor(), now=now)
    if _is_referred_to(session, row.id):
        _strip(session, row, now)
        return answer
    session.delete(row)
    return answer.model_copy(update={"removed": ("its row", *answer.removed)})


def ask_network(session: Session, request: DiscoveryRequest, now: datetime) -> Discovery:
    """Write down a question to the network."""
    row = Discovery(addresses=list(request.addresses), asked_at=now)
    session.add(row)
    session.flush()
    return row


def one_discovery(session: Session, discovery_id: int) -> DiscoveryView:
    """Give one question with its answer; raise a 404 `Problem` for none of that id."""
    row = session.get(Discovery, discovery_id)
    if row is None:
        raise Problem(
            404, f"There is no discovery {discovery_id}.", "POST /api/v1/discoveries asks the network."
        )
    return discovery_view(session, row)


def list_discoveries(session: Session, page: PageRequest) -> Page[DiscoveryView]:
    """List the questions to the network, the latest first."""
    query = select(Discovery).order_by(Discovery.id.desc()).limit(page.limit + 1)
    if page.after_id is not None:
        query = query.where(Discovery.id < page.after_id)
    rows, cursor = cut(session.scalars(query).all(), page.limit, lambda row: str(row.id))
    return Page(items=tuple(discovery_view(session, row) for row in rows), next_cursor=cursor)


def discovery_view(session: Session, row: Discovery) -> DiscoveryView:
    """Give a question as the API shows it."""
    found: list[dict[str, Any]] = row.found or []
    serials = [each["serial"] for each in found]
    known = select(Telescope.serial, Telescope.name).where(Telescope.serial.in_(serials))
    names = {serial: name for serial, name in session.execute(known)}  # noqa: C416 - rows are no pairs to mypy
    telescopes = (
        FoundTelescope.model_validate({**each, "name": names.get(each["serial"])}) for each in found
    )
    return DiscoveryView(
        id=row.id,
        addresses=tuple(row.addresses),
        asked_at=row.asked_at,
        finished_at=row.finished_at,
        found=tuple(telescopes),
        problem=row.problem,
    )


def _no_address(row: Telescope) -> Problem:
    return Problem(
        409,
        f"No address is known for {row.name}.",
        "Add it with its host (POST /api/v1/telescopes), or name it in config.yaml.",
    )


def _note(session: Session, row: Telescope, event: str, now: datetime) -> None:
    audit(session, now=now, actor=actor(), subject=("telescope", row.id), event=event, reason=row.name)


def _rivals(session: Session, request: AddRequest) -> Iterable[Telescope]:
    same_place = and_(Telescope.host == request.host, Telescope.rpc_port == request.rpc_port)
    same = [Telescope.name == request.name, same_place]
    if request.serial is not None:
        same.append(Telescope.serial == request.serial)
    return session.scalars(select(Telescope).where(or_(*same))).all()


def _taken(other: Telescope, request: AddRequest) -> Problem:
    if other.name == request.name:
        detail = f"There is a telescope called {other.name} already."
    elif request.serial is not None and other.serial == request.serial:
        detail = f"The telescope {request.serial} is here already, as {other.name}."
    else:
        detail = f"At {request.host}:{request.rpc_port} there is {other.name} already."
    what_to_do = f"GET /api/v1/telescopes/{other.name} shows it; give this one another name or address."
    return Problem(409, detail, what_to_do)


def _known(session: Session, request: AddRequest) -> Telescope | None:
    """Give the row that the telescope has without an address, by its serial number, else by its name."""
    if request.serial is not None:
        row = session.scalar(select(Telescope).where(Telescope.serial == request.serial))
        if row is not None:
            return row
    named = session.scalar(select(Telescope).where(Telescope.name == request.name))
    is_another = named is not None and request.serial is not None and named.serial is not None
    return None if is_another else named


def _what_is_kept(session: Session, row: Telescope) -> ForgetAnswer:
    def count(what: type[Frame] | type[Block] | type[Stack]) -> int:
        return session.scalar(select(func.count()).select_from(what).where(what.telescope_id == row.id)) or 0

    deliveries = select(func.count()).join_from(Delivery, Stack).where(Stack.telescope_id == row.id)
    return ForgetAnswer(
        name=row.name,
        removed=("its address", "where its key lies", "its place and zone", "its pauses"),
        frames=count(Frame),
        blocks=count(Block),
        stacks=count(Stack),
        deliveries=session.scalar(deliveries) or 0,
    )


def _is_referred_to(session: Session, telescope_id: int) -> bool:
    tables = (Frame, Block, Stack, Run, ScriptedStack)
    return any(session.scalar(select(exists().where(table.telescope_id == telescope_id))) for table in tables)


def _strip(session: Session, row: Telescope, now: datetime) -> None:
    take_address(session, row, _FORGOTTEN, now, actor())
    row.key_path, row.latitude_deg, row.longitude_deg, row.zone = None, None, None, None
    row.added_at, row.forgotten_at, row.next_look_at = None, now, None
