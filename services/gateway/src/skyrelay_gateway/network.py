"""The observation network over the API: its plan, its interrupts, and measurements on their way to it."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.cloud.errors import MeasurementInvalid
from skyrelay.cloud.measurement import MeasurementKey, read_measurement
from skyrelay.domain.observing_plan import Site, Verdict, judge_plan
from skyrelay.domain.states import DeliveryKind, DeliveryState, HandOverState
from skyrelay.outbox.measurements import enqueue_measurement
from skyrelay.settings import Settings
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow, Delivery, Measurement
from skyrelay.store.transitions import audit
from skyrelay_gateway.models import Page, View
from skyrelay_gateway.paging import PageRequest, cut
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor


class PlanItemView(View):
    """An item of the plan; ``reason`` says why it would not be handed over, empty if it would be.

    ``start_local`` is by the observatory's clock. Altitudes are degrees above the horizon.
    """

    target: str
    ra_hours: float | None
    dec_deg: float | None
    exposure_s: float | None
    count: int | None
    filter: str
    notes: str
    start_at: AwareDatetime | None
    start_local: str | None
    end_at: AwareDatetime | None
    altitude_start_deg: float | None
    altitude_end_deg: float | None
    rise_at: AwareDatetime | None
    set_at: AwareDatetime | None
    reason: str


class PlanView(View):
    """The plan that the network gave last; ``run_state`` is empty, waiting, handed over or refused.

    ``can_replace``: it was refused for what runs on the telescope, which a person may have replaced.
    """

    plan_id: str
    version: int
    night: str
    generated_at: str
    received_at: AwareDatetime
    withdrawn_at: AwareDatetime | None
    timezone: str | None
    items: tuple[PlanItemView, ...]
    run_state: str
    run_reason: str
    run_asked_at: AwareDatetime | None
    run_at: AwareDatetime | None
    can_replace: bool
    telescope: str | None


class PlanAnswer(View):
    """``plan`` is null before the first."""

    plan: PlanView | None


class PlanRunRequest(BaseModel):
    """Which plan to hand to the telescope; another one than the present is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"plan_id": "2025-03-26-garden"}]}
    )

    plan_id: str = Field(max_length=200)
    replace_running: bool = Field(
        default=False, description="stop a plan that runs on the telescope now, for this one"
    )


class InterruptRunRequest(BaseModel):
    """Have an interrupt observed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"replace_running": False}]}
    )

    replace_running: bool = Field(
        default=False, description="stop a plan that runs on the telescope now, for this"
    )


class InterruptView(View):
    """An interrupt: ``state`` is new, failing (``problem`` says why), handled, acknowledged or expired.

    ``run_state`` says how far it is to the telescope, as for a plan.
    """

    id: int
    number: str
    name: str
    reason: str
    ra_deg: float | None
    dec_deg: float | None
    mag: float | None
    received_at: AwareDatetime
    expires_at: AwareDatetime | None
    state: Literal["new", "failing", "handled", "acknowledged", "expired"]
    attempts: int
    problem: str
    handled_at: AwareDatetime | None
    acked_at: AwareDatetime | None
    run_state: str
    run_reason: str
    run_asked_at: AwareDatetime | None
    run_at: AwareDatetime | None
    can_replace: bool
    telescope: str | None


class GivenMeasurement(BaseModel):
    """A photometric measurement, within the network's bounds; further fields are sent as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    target_name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    bjd: float = Field(gt=2_400_000, lt=2_500_000, description="barycentric Julian date, days")
    magnitude: float = Field(gt=-5, lt=30)
    uncertainty: float = Field(default=0.0, ge=0, lt=5)
    filter: str = Field(default="CV", max_length=50)
    quality_flag: Literal["good", "acceptable", "poor"] = "poor"
    airmass: float | None = None
    fwhm: float | None = None
    snr: float | None = None
    comparison_stars: int | None = None
    zero_point: float | None = None
    zp_scatter: float | None = None
    node_id: str | None = Field(default=None, max_length=200)
    fits_file: str | None = Field(default=None, max_length=500)


_MEASUREMENT: dict[str, Any] = {
    "measurement": {
        "target_name": "T CrB",
        "bjd": 2460761.65432,
        "magnitude": 10.12,
        "uncertainty": 0.03,
        "filter": "TG",
        "quality_flag": "good",
    },
    "conditions": {"seeing_arcsec": 2.4},
}


class MeasurementRequest(BaseModel):
    """A measurement and the conditions that it was made under."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_MEASUREMENT]})

    measurement: GivenMeasurement
    conditions: dict[str, Any] = {}


class MeasurementView(View):
    """A measurement on its way; ``bjd`` is its number as it is sent."""

    id: int
    target: str
    filter: str
    bjd: str
    created_at: AwareDatetime
    state: DeliveryState
    reason: str
    attempts: int
    next_attempt_at: AwareDatetime | None
    confirmed_at: AwareDatetime | None
    server_id: str | None
    needs_you: bool


class MeasurementAnswer(View):
    """The measurement; ``is_new`` is false for one that was submitted before."""

    measurement: MeasurementView
    is_new: bool
    note: str | None


def present_plan(session: Session, *, lock: bool = False) -> CloudPlanRow | None:
    """Give the plan that was seen last."""
    query = select(CloudPlanRow).order_by(CloudPlanRow.id.desc()).limit(1)
    return session.scalar(query.with_for_update() if lock else query)


def plan_view(row: CloudPlanRow, settings: Settings, now: datetime) -> PlanView:
    """Show a plan as it is seen from the site now."""
    place, zone = settings.observatory, settings.site_zone
    known = place.latitude is not None and place.longitude is not None
    verdicts = judge_plan(
        row.items,
        row.night,
        zone=zone,
        site=Site(place.latitude or 0.0, place.longitude or 0.0) if known else None,
        now=now,
        min_altitude_deg=settings.cloud.min_altitude,
    )
    return PlanView(
        plan_id=row.plan_id,
        version=row.version,
        night=row.night,
        generated_at=row.generated_at,
        received_at=row.received_at,
        withdrawn_at=row.withdrawn_at,
        timezone=None if zone is None else zone.key,
        items=tuple(_item_view(verdict, settings) for verdict in verdicts),
        run_state=row.run_state,
        run_reason=row.run_reason,
        run_asked_at=row.run_asked_at,
        run_at=row.run_at,
        can_replace=row.can_replace,
        telescope=row.telescope or None,
    )


def ask_for_run(session: Session, request: PlanRunRequest, now: datetime) -> CloudPlanRow:
    """Write down that the plan is to be run; the cloud agent sees to it.

    Raises
    ------
    Problem
        If there is no such plan, or it is over or has been withdrawn.
    """
    row = present_plan(session, lock=True)
    if row is None or row.plan_id != request.plan_id:
        raise Problem(404, "That is not the present plan.", "GET /api/v1/plan shows the present one.")
    if row.withdrawn_at is not None:
        raise Problem(409, "The network has withdrawn this plan.", "Wait for another one.")
    if is_over(row.night, now):
        raise Problem(409, f"The night of this plan ({row.night}) is over.", "Wait for another one.")
    _ask(row, now, replace_running=request.replace_running)
    audit(session, now=now, actor=actor(), subject=("plan", row.id), event="run asked for")
    return row


def ask_for_interrupt(
    session: Session, interrupt_id: int, request: InterruptRunRequest, now: datetime
) -> CloudInterrupt:
    """Write down that an interrupt is to be observed; the cloud agent sees to it.

    Raises
    ------
    Problem
        If there is no such interrupt, or it has expired.
    """
    row = session.get(CloudInterrupt, interrupt_id, with_for_update=True)
    if row is None:
        raise Problem(
            404, f"There is no interrupt {interrupt_id}.", "GET /api/v1/interrupts lists what there is."
        )
    if row.expires_at is not None and row.expires_at <= now:
        raise Problem(409, "This interrupt has expired.", "There is nothing to do.")
    _ask(row, now, replace_running=request.replace_running)
    audit(session, now=now, actor=actor(), subject=("interrupt", row.id), event="run asked for")
    return row


def _ask(row: CloudPlanRow | CloudInterrupt, now: datetime, *, replace_running: bool) -> None:
    row.run_asked_at, row.run_state, row.run_reason = now, HandOverState.WAITING, ""
    row.replace_running, row.can_replace = replace_running, False


def list_interrupts(session: Session, page: PageRequest, now: datetime) -> Page[InterruptView]:
    """List the interrupts, the latest first."""
    query = select(CloudInterrupt).order_by(CloudInterrupt.id.desc()).limit(page.limit + 1)
    if page.after_id is not None:
        query = query.where(CloudInterrupt.id < page.after_id)
    rows, cursor = cut(session.scalars(query).all(), page.limit, lambda row: str(row.id))
    return Page(items=tuple(interrupt_view(row, now) for row in rows), next_cursor=cursor)


def list_measurements(
    session: Session, page: PageRequest, state: DeliveryState | None
) -> Page[MeasurementView]:
    """List the measurements, the latest first."""
    query = _measurements().order_by(Measurement.id.desc()).limit(page.limit + 1)
    if page.after_id is not None:
        query = query.where(Measurement.id < page.after_id)
    if state is not None:
        query = query.where(Delivery.state == state)
    rows, cursor = cut(session.execute(query).all(), page.limit, lambda row: str(row.Measurement.id))
    views = tuple(_measurement_view(row.Measurement, row.Delivery) for row in rows)
    return Page(items=views, next_cursor=cursor)


def submit(
    session: Session, payload: str, key: MeasurementKey, now: datetime
) -> tuple[MeasurementView, bool]:
    """Put a measurement into the outbox, once; tell whether it is new."""
    known = _known(session, key)
    if known is not None:
        return known, False
    enqueue_measurement(session, payload, now=now, actor=actor(), first_try=None)
    session.flush()
    added = _known(session, key)
    if added is None:
        raise RuntimeError("the measurement is not in the outbox")
    return added, True


def payload_of(request: MeasurementRequest) -> tuple[str, MeasurementKey]:
    """Write the JSON text that is sent, without fields that have no value.

    Raises
    ------
    Problem
        If there is something in it that the network could not read.
    """
    document = {
        "measurement": request.measurement.model_dump(exclude_none=True, exclude_unset=True),
        "conditions": request.conditions,
    }
    payload = json.dumps(document)
    try:
        return payload, read_measurement(payload)
    except MeasurementInvalid as error:
        raise Problem(422, f"The network could not take it: {error}.", "Correct it; see /docs.") from error


def _measurements() -> Any:
    return (
        select(Measurement, Delivery)
        .join(Delivery, Delivery.measurement_id == Measurement.id)
        .where(Delivery.kind == DeliveryKind.MEASUREMENT)
    )


def _known(session: Session, key: MeasurementKey) -> MeasurementView | None:
    query = _measurements().where(
        Measurement.target == key.target, Measurement.filter == key.filter, Measurement.bjd == key.bjd
    )
    alive = query.where(Delivery.state != DeliveryState.DEAD)  # one that was given up may be put right
    row = session.execute(alive.order_by(Measurement.id).limit(1)).one_or_none()
    return None if row is None else _measurement_view(row.Measurement, row.Delivery)


def _measurement_view(measurement: Measurement, delivery: Delivery) -> MeasurementView:
    return MeasurementView(
        id=measurement.id,
        target=measurement.target,
        filter=measurement.filter,
        bjd=measurement.bjd,
        created_at=measurement.created_at,
        state=DeliveryState(delivery.state),
        reason=delivery.reason,
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_attempt_at,
        confirmed_at=delivery.confirmed_at,
        server_id=delivery.server_id,
        needs_you=delivery.needs_you,
    )


def _item_view(verdict: Verdict, settings: Settings) -> PlanItemView:
    item, sky = verdict.item, verdict.sky
    local = None if item is None else item.start.astimezone(settings.site_zone)
    return PlanItemView(
        target=verdict.target,
        ra_hours=item.ra_hours if item else None,
        dec_deg=item.dec_deg if item else None,
        exposure_s=item.exposure_s if item else None,
        count=item.count if item else None,
        filter=item.filter if item else "",
        notes=item.notes if item else "",
        start_at=item.start if item else None,
        start_local=None if local is None else local.strftime("%Y-%m-%d %H:%M"),
        end_at=item.end if item else None,
        altitude_start_deg=_rounded(sky.altitude_start_deg if sky else None),
        altitude_end_deg=_rounded(sky.altitude_end_deg if sky else None),
        rise_at=_to_minute(sky.rise if sky else None),
        set_at=_to_minute(sky.set if sky else None),
        reason=verdict.reason,
    )


def interrupt_view(row: CloudInterrupt, now: datetime) -> InterruptView:
    """Show an interrupt as it stands now."""
    return InterruptView(
        id=row.id,
        number=row.number,
        name=row.name,
        reason=_text(row.payload, "reason"),
        ra_deg=_number(row.payload, "ra_deg"),
        dec_deg=_number(row.payload, "dec_deg"),
        mag=_number(row.payload, "mag"),
        received_at=row.received_at,
        expires_at=row.expires_at,
        state=_interrupt_state(row, now),
        attempts=row.attempts,
        problem=row.problem,
        handled_at=row.handled_at,
        acked_at=row.acked_at,
        run_state=row.run_state,
        run_reason=row.run_reason,
        run_asked_at=row.run_asked_at,
        run_at=row.run_at,
        can_replace=row.can_replace,
        telescope=row.telescope or None,
    )


def _interrupt_state(
    row: CloudInterrupt, now: datetime
) -> Literal["new", "failing", "handled", "acknowledged", "expired"]:
    if row.acked_at is not None:
        return "acknowledged"
    if row.handled_at is not None:
        return "handled"
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    return "failing" if row.problem else "new"


def is_over(night: str, now: datetime) -> bool:
    """Tell whether a night is over everywhere on Earth."""
    try:
        return (now.date() - date.fromisoformat(night)).days > 2
    except ValueError:
        return False


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _to_minute(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(second=0, microsecond=0)


def _number(payload: dict[str, Any], name: str) -> float | None:
    value = payload.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    return value[:500] if isinstance(value, str) else ""
