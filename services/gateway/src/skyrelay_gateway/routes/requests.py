"""Control of telescopes, frames and deliveries. These calls take JSON only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from skyrelay.access.tokens import Scope
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName, TelescopeMessage
from skyrelay_gateway import frames, giving_up, telescope_requests
from skyrelay_gateway.context import ConfiguredDep, GatewayDep
from skyrelay_gateway.details import DeliveryDetail, delivery_detail
from skyrelay_gateway.first_run.telescopes import with_telescope, without_telescope
from skyrelay_gateway.frames import ReleaseAnswer, ReleaseRequest
from skyrelay_gateway.giving_up import GiveUpRequest, UploadAnswer, UploadRequest
from skyrelay_gateway.idempotency import IDEMPOTENT, IdempotentRoute
from skyrelay_gateway.models import NoFields, TelescopeView
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.problems import problem_responses
from skyrelay_gateway.security import require_json
from skyrelay_gateway.setting_changes import change
from skyrelay_gateway.telescope_requests import (
    AddRequest,
    DiscoveryAnswer,
    DiscoveryRequest,
    ForgetAnswer,
    InventoryAnswer,
    InventoryRequest,
    LookAnswer,
    discovery_view,
)
from skyrelay_gateway.views import telescope_view
from skyrelay_gateway.visits import requires

router = APIRouter(
    prefix="/api/v1",
    tags=["control"],
    dependencies=[Depends(require_json), IDEMPOTENT],
    route_class=IdempotentRoute,
    responses=problem_responses(400, 404, 409, 413, 415),
)

# Which telescopes there are is a setting, and says where frames come from: it takes what settings take.
_CHANGES_SETTINGS = requires(Scope.ADMIN)
_Telescope = Annotated[str, Path(max_length=200, description="its serial number or name")]


@router.post("/telescopes", status_code=201, dependencies=[_CHANGES_SETTINGS])
def add_telescope(gateway: GatewayDep, configured: ConfiguredDep, request: AddRequest) -> TelescopeView:
    """Add a telescope, which no file needs to name; it is looked at soon. Takes the scope admin."""
    entry = request.model_dump(exclude_defaults=True)
    with gateway.store.write() as session:
        row = telescope_requests.add(session, request, gateway.clock())
        change(gateway, session, configured, with_telescope(session, configured, entry, watches=False))
        view, id_ = telescope_view(row), row.id
    try_to_nudge(gateway, TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=id_))
    get_logger(__name__).info("a telescope was added", telescope=view.name)
    return view


@router.post("/telescopes/{telescope}/test", status_code=202)
def look_at_telescope(gateway: GatewayDep, telescope: _Telescope, _: NoFields) -> LookAnswer:
    """Have a telescope asked who it is and what it does; read it again until ``looked_at`` says so."""
    now = gateway.clock()
    with gateway.store.write() as session:
        row = telescope_requests.ask_to_look(session, telescope, now)
        view, id_ = telescope_view(row), row.id
    note = try_to_nudge(gateway, TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=id_))
    return LookAnswer(telescope=view, asked_at=now, note=note)


@router.post("/telescopes/{telescope}/forget", dependencies=[_CHANGES_SETTINGS])
def forget_telescope(
    gateway: GatewayDep, configured: ConfiguredDep, telescope: _Telescope, _: NoFields
) -> ForgetAnswer:
    """Forget a telescope's address, key and place. Frames, blocks, stacks and deliveries stay.

    Takes the scope admin.
    """
    in_file = [each.name for each in configured.telescopes]
    with gateway.store.write() as session:
        name = telescope_requests.one_telescope(session, telescope).name
        if name not in in_file and any(each.name == name for each in gateway.settings.telescopes):
            change(gateway, session, configured, without_telescope(session, configured, name))
        answer = telescope_requests.forget(session, telescope, in_file, gateway.clock())
    get_logger(__name__).info("a telescope was forgotten", telescope=answer.name)
    return answer


@router.post("/inventory", status_code=202)
def take_inventory(gateway: GatewayDep, request: InventoryRequest) -> InventoryAnswer:
    """Have what lies on a telescope, or on all, listed now, or as soon as it has ended what it does."""
    now = gateway.clock()
    with gateway.store.write() as session:
        rows = telescope_requests.ask_for_inventory(session, request, now)
        asked = [(row.name, row.id) for row in rows]
    notes = (
        try_to_nudge(gateway, TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=id_))
        for _name, id_ in asked
    )
    note = next((each for each in notes if each), None)  # the first that nobody heard: the next would not be
    return InventoryAnswer(telescopes=tuple(name for name, _id in asked), asked_at=now, note=note)


@router.post("/discoveries", status_code=202)
def discover_telescopes(gateway: GatewayDep, request: DiscoveryRequest) -> DiscoveryAnswer:
    """Ask the network for telescopes; read the discovery again until it is finished."""
    with gateway.store.write() as session:
        view = discovery_view(session, telescope_requests.ask_network(session, request, gateway.clock()))
    note = try_to_nudge(gateway, TaskName.DISCOVER_TELESCOPES)
    return DiscoveryAnswer(discovery=view, note=note)


@router.post(
    "/frames/release",
    status_code=202,
    responses={200: {"model": ReleaseAnswer, "description": "A dry run, or nothing is held"}},
)
def release_frames(gateway: GatewayDep, request: ReleaseRequest, response: Response) -> ReleaseAnswer:
    """Let frames go on that are held because their telescope's clock was wrong.

    They go into the blocks that their own times name: release them only if those are right.
    """
    with gateway.store.write() as session:
        answer = frames.release(session, request, gateway.clock())
    if request.dry_run or not answer.frames:
        response.status_code = 200
        return answer
    note = try_to_nudge(gateway, TaskName.RECONCILE_STACKING)
    get_logger(__name__).info("frames were released", frames=answer.frames)
    return answer.model_copy(update={"note": note})


@router.post("/deliveries/{delivery_id}/give-up")
def give_up_delivery(
    gateway: GatewayDep, delivery_id: Annotated[int, Path(ge=1, le=2**53)], request: GiveUpRequest
) -> DeliveryDetail:
    """Send a delivery no more. It is kept as dead, and a retry brings it back."""
    with gateway.store.write() as session:
        giving_up.give_up(session, delivery_id, request.reason, gateway.clock())
        session.flush()
        detail = delivery_detail(session, delivery_id)
    get_logger(__name__).info("a delivery was given up", delivery=delivery_id)
    return detail


@router.post("/upload", status_code=202, responses={200: {"model": UploadAnswer, "description": "A dry run"}})
def upload(gateway: GatewayDep, request: UploadRequest, response: Response) -> UploadAnswer:
    """Try all deliveries now that wait, or (``dry_run``) hear how many those are."""
    with gateway.store.write() as session:
        answer = giving_up.upload_now(session, request, gateway.clock())
    if request.dry_run:
        response.status_code = 200
        return answer
    note = try_to_nudge(gateway, TaskName.RECONCILE_DELIVERIES)
    get_logger(__name__).info("all deliveries were asked for", deliveries=answer.deliveries)
    return answer.model_copy(update={"note": note})
