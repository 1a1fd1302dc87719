"""What of the sky was observed and delivered, cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState
from skyrelay.store.receipts import ARRIVED_DELIVERIES
from skyrelay.store.tables import AuditEntry, Block, Delivery, Frame, Stack
from skyrelay_gateway.healpix_cells import Cell, cell_of, corners_of
from skyrelay_gateway.mollweide import outline

NSIDE = 16  # cells of 3.7°: the smallest that can be seen on a telephone; chunks' own pixels are of 0.46°
SHADES = 5
_EACH_SHADE = 3.0  # times the exposure of the one below
_MOST_TARGETS = 200
_NOT_STACKED = frozenset(BlockState) - {BlockState.STACKED}


@dataclass(slots=True)
class _Exposures:
    observed_s: float = 0.0
    delivered_s: float = 0.0
    targets: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, target: str, observed_s: float, delivered_s: float) -> None:
        self.observed_s += observed_s
        self.delivered_s += delivered_s
        self.targets[target] += observed_s


@dataclass(frozen=True, slots=True)
class SkyCell:
    """One cell: outlines as SVG points, shade from 1 (the least exposure), exposures in seconds."""

    outlines: tuple[str, ...]
    shade: int
    observed_s: float
    delivered_s: float
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetOnSky:
    """A target with its exposures in seconds; the position, in degrees, is not known of all."""

    target: str
    ra_deg: float | None
    dec_deg: float | None
    observed_s: float
    delivered_s: float


@dataclass(frozen=True, slots=True)
class SkyMap:
    """The map, and the same as a list."""

    cells: tuple[SkyCell, ...]
    targets: tuple[TargetOnSky, ...]
    left_off: int


@dataclass(frozen=True, slots=True)
class _Field:
    """What was exposed at one position."""

    target: str
    ra_deg: float | None
    dec_deg: float | None
    observed_s: float
    delivered_s: float


class SkyMemory:
    """The map as it was last built: it changes only with a step that the audit log tells of."""

    def __init__(self) -> None:
        self._latest: tuple[int, SkyMap] | None = None

    def map_of(self, session: Session) -> SkyMap:
        """Give the map as it is in the database."""
        step = session.scalar(select(func.max(AuditEntry.id))) or 0
        if self._latest is None or self._latest[0] != step:
            self._latest = (step, build_sky_map(session))
        return self._latest[1]


def build_sky_map(session: Session) -> SkyMap:
    """Sum up what was observed, and of it what was delivered."""
    fields = [*_stacked(session), *_not_stacked(session)]
    cells = _cells(fields)
    most_s = max((cell.observed_s for cell in cells.values()), default=0.0)
    targets = sorted(_targets(fields), key=lambda target: -target.observed_s)
    return SkyMap(
        cells=tuple(_drawn(cell, sums, most_s) for cell, sums in cells.items()),
        targets=tuple(targets[:_MOST_TARGETS]),
        left_off=max(0, len(targets) - _MOST_TARGETS),
    )


def _stacked(session: Session) -> Iterator[_Field]:
    """Give the stacks, those of a target within a degree together."""
    arrived = select(Delivery.stack_id).where(Delivery.state.in_(ARRIVED_DELIVERIES)).scalar_subquery()
    delivered = case((Stack.id.in_(arrived), Stack.exposure_total_s), else_=0.0)
    near = (func.round(Stack.ra_deg), func.round(Stack.dec_deg))
    query = (
        select(
            Stack.folder,
            func.min(Stack.ra_deg).label("ra_deg"),
            func.min(Stack.dec_deg).label("dec_deg"),
            func.sum(Stack.exposure_total_s).label("observed_s"),
            func.sum(delivered).label("delivered_s"),
        )
        .group_by(Stack.folder, *near)
        .order_by(Stack.folder)
    )
    for row in session.execute(query):
        yield _Field(row.folder, row.ra_deg, row.dec_deg, row.observed_s, row.delivered_s)


def _not_stacked(session: Session) -> Iterator[_Field]:
    """Give what waits, was skipped or failed, where its target is known to be."""
    exposed = func.sum(Block.frame_count * Block.exposure_s).label("observed_s")
    query = select(Block.target, exposed).where(Block.state.in_(_NOT_STACKED)).group_by(Block.target)
    for target, observed_s in session.execute(query):
        ra_deg, dec_deg = _position_of(session, target)
        yield _Field(target, ra_deg, dec_deg, observed_s, 0.0)


def _position_of(session: Session, target: str) -> tuple[float | None, float | None]:
    block_ids = select(Block.id).where(Block.target == target).order_by(Block.id.desc()).limit(5)
    query = select(Frame.ra_deg, Frame.dec_deg).where(
        Frame.block_id.in_(block_ids.scalar_subquery()), Frame.ra_deg.is_not(None)
    )
    row = session.execute(query.limit(1)).first()
    return (None, None) if row is None else (row.ra_deg, row.dec_deg)


def _cells(fields: Iterable[_Field]) -> Mapping[Cell, _Exposures]:
    cells: dict[Cell, _Exposures] = defaultdict(_Exposures)
    for each in fields:
        if each.ra_deg is not None and each.dec_deg is not None:
            cell = cell_of(each.ra_deg, each.dec_deg, NSIDE)
            cells[cell].add(each.target, each.observed_s, each.delivered_s)
    return cells


def _drawn(cell: Cell, sums: _Exposures, most_s: float) -> SkyCell:
    return SkyCell(
        outlines=tuple(outline(corners_of(cell, NSIDE, steps=2))),
        shade=shade_of(sums.observed_s, most_s),
        observed_s=sums.observed_s,
        delivered_s=sums.delivered_s,
        targets=tuple(sorted(sums.targets, key=lambda target: -sums.targets[target])),
    )


def shade_of(exposure_s: float, most_s: float) -> int:
    """Give the shade of an exposure: the brightest for the longest, one less for each third of it."""
    below = log(max(most_s, 1e-9) / max(exposure_s, 1e-9)) / log(_EACH_SHADE)
    return max(1, SHADES - int(below + 1e-9))


def _targets(fields: Iterable[_Field]) -> Iterator[TargetOnSky]:
    of_target: dict[str, list[_Field]] = defaultdict(list)
    for each in fields:
        of_target[each.target].append(each)
    for target, some in of_target.items():
        placed = next((each for each in some if each.ra_deg is not None), some[0])
        yield TargetOnSky(
            target=target,
            ra_deg=placed.ra_deg,
            dec_deg=placed.dec_deg,
            observed_s=sum(each.observed_s for each in some),
            delivered_s=sum(each.delivered_s for each in some),
        )


def sexagesimal(ra_deg: float, dec_deg: float) -> str:
    """Write a position as astronomers do: ``09h 55.6m +69° 04′``."""
    minutes = round(ra_deg % 360.0 * 4, 1) % 1440
    arcminutes = round(abs(dec_deg) * 60)
    sign = "−" if dec_deg < 0 else "+"
    hours, rest = divmod(minutes, 60)
    return f"{hours:02.0f}h {rest:04.1f}m {sign}{arcminutes // 60:02d}° {arcminutes % 60:02d}′"
