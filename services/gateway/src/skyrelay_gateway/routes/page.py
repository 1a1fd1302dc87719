"""The page: what the API says, for people."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.exc import DBAPIError
from starlette.responses import HTMLResponse

from skyrelay.access.tokens import Scope
from skyrelay.store.receipts import build_receipt
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.listings import Filters, list_deliveries
from skyrelay_gateway.models import StatusView
from skyrelay_gateway.network_part import network_part
from skyrelay_gateway.nights import known_nights, latest_offset
from skyrelay_gateway.paging import PageRequest
from skyrelay_gateway.readiness import check_readiness
from skyrelay_gateway.status import build_status
from skyrelay_gateway.templating import render
from skyrelay_gateway.timeline import build_timeline, title_of
from skyrelay_gateway.visits import requires

router = APIRouter(include_in_schema=False, dependencies=[requires(Scope.READ)])

_DELIVERIES_SHOWN = 8


@router.get("/")
def overview(
    gateway: GatewayDep,
    night: Annotated[date | None, Query(ge=date(2000, 1, 1), le=date(2999, 12, 31))] = None,
) -> HTMLResponse:
    """Show a night (the latest, unless one is asked for) and how everything is."""
    try:
        return _overview(gateway, night)
    except DBAPIError:
        return render("starting.html", 503, parts=check_readiness(gateway))


def _overview(gateway: Gateway, night: date | None) -> HTMLResponse:
    status = build_status(gateway)
    with gateway.store.read() as session:
        nights = known_nights(session)
        shown = night or (nights[0] if nights else None)
        receipt = build_receipt(session, shown) if shown else None
        now_local = status.at + (latest_offset(session) or timedelta(0))
        network = network_part(session, gateway.settings, status.at)
        deliveries = list_deliveries(session, PageRequest(_DELIVERIES_SHOWN, None), Filters(), None).items
    return render(
        "overview.html",
        status=status,
        now=status.at,
        headline=_headline(status),
        receipt=receipt,
        timeline=build_timeline(receipt) if receipt else None,
        title=title_of(shown, now_local) if shown else "",
        earlier=max((each for each in nights if shown and each < shown), default=None),
        later=min((each for each in nights if shown and each > shown), default=None),
        deliveries=deliveries,
        network=network,
        unseen=_unseen(gateway, status),
    )


def _headline(status: StatusView) -> tuple[str, str]:
    """Give the state of everything as a class and in words."""
    number = len(status.needs_you)
    if number:
        return "needs", f"{number} thing{' needs' if number == 1 else 's need'} you"
    is_busy = status.blocks["stacking"] or status.deliveries["sending"]
    return ("busy", "At work") if is_busy else ("well", "All is well")


def _unseen(gateway: Gateway, status: StatusView) -> tuple[str, ...]:
    """Name the configured telescopes that no service has laid down yet."""
    known = {telescope.name for telescope in status.telescopes}
    return tuple(each.name for each in gateway.settings.telescopes if each.name not in known)
