"""Pictures that are drawn when they are asked for, of stacks without one, or with another stretch."""

from __future__ import annotations

import hashlib
import threading
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from skyrelay.access.tokens import Scope
from skyrelay.fits_picture import NATURAL, Curve, Stretch
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.drawing import NoPicture, TooSlow, draw
from skyrelay_gateway.etags import is_known
from skyrelay_gateway.gallery import file_of
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.stack_files import open_fits
from skyrelay_gateway.visits import requires

router = APIRouter(include_in_schema=False, dependencies=[requires(Scope.READ)])

LONGEST_SIDE = {"small": 480, "large": 1600}  # pixels
_AT_ONCE = threading.BoundedSemaphore(2)  # each takes a core and some 150 MB while it draws
_WAIT_S = 30.0

Black = Annotated[float, Query(ge=0.0, le=60.0, allow_inf_nan=False)]
White = Annotated[float, Query(ge=80.0, le=100.0, allow_inf_nan=False)]


@router.get("/pictures/{stack_id}.jpg")
def picture(
    gateway: GatewayDep,
    stack_id: Annotated[int, Path(ge=1, le=2**53)],
    black: Black = NATURAL.black,
    white: White = NATURAL.white,
    curve: Curve = NATURAL.curve,
    size: Annotated[str, Query(pattern="^(small|large)$")] = "small",
    if_none_match: Annotated[str | None, Header(max_length=4096)] = None,
) -> Response:
    """Draw a stack: ``black`` and ``white`` are percentiles of its pixels."""
    with gateway.store.read() as session:
        stack = file_of(session, stack_id)
    stretch, longest = Stretch(black, white, curve), LONGEST_SIDE[size]
    kept = open_fits(gateway.settings.archive_path, stack)
    with kept.file as file:
        tag = f'"{hashlib.sha256(f"{kept.tag}{stretch}{longest}".encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if is_known(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        if not _AT_ONCE.acquire(timeout=_WAIT_S):
            raise Problem(503, "Other pictures are being drawn.", "Look again in a moment.")
        try:
            drawn = draw(file, stretch, longest)
        except NoPicture as error:
            raise Problem(404, f"Stack {stack_id} cannot be shown: {error}.", "Look at its file.") from error
        except TooSlow as error:
            raise Problem(503, f"Stack {stack_id}: {error}.", "Look again in a moment.") from error
        finally:
            _AT_ONCE.release()
    return Response(drawn, headers=headers, media_type="image/jpeg")
