"""HEALPix cells without a library: which one a position lies in, and where its corners are.

A cell is (face, x, y): one of twelve faces, and its place on that face's grid of NSIDE × NSIDE. Source:
Górski et al. 2005, ApJ 622, 759, sections 4 and 5. The map draws cells of one NSIDE; the keys of chunks, of
another one, are CrowdSky's business (`skyrelay.domain.chunk`).
"""

from __future__ import annotations

from math import asin, degrees, pi, radians, sin, sqrt

Cell = tuple[int, int, int]
_CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))
_RING_OF_FACE = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4)
_PHI_OF_FACE = (1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)


def cell_of(ra_deg: float, dec_deg: float, nside: int) -> Cell:
    """Give the cell of an ICRS position in degrees."""
    z, turn = sin(radians(dec_deg)), (radians(ra_deg) % (2 * pi)) / (pi / 2)
    face, x, y = _on_belt(z, turn) if abs(z) <= 2 / 3 else _on_cap(z, turn)
    last = nside - 1
    return face, min(int(x * nside), last), min(int(y * nside), last)


def corners_of(cell: Cell, nside: int, steps: int = 3) -> list[tuple[float, float]]:
    """Give the outline of a cell as (RA, DEC) in degrees, RA without jumps, each side in ``steps``."""
    face, x, y = cell
    outline = []
    for (x0, y0), (x1, y1) in zip(_CORNERS, _CORNERS[1:] + _CORNERS[:1], strict=True):
        for step in range(steps):
            part = step / steps
            u, v = (x + x0 + (x1 - x0) * part) / nside, (y + y0 + (y1 - y0) * part) / nside
            outline.append(_place(face, u, v))
    return _joined(outline)


def _on_belt(z: float, turn: float) -> tuple[int, float, float]:
    up, down = 0.5 + turn - 0.75 * z, 0.5 + turn + 0.75 * z
    ascending, descending = int(up), int(down)
    if ascending == descending:
        face = ascending % 4 + 4
    elif ascending < descending:
        face = ascending % 4
    else:
        face = descending % 4 + 8
    return face, down - descending, 1 - (up - ascending)


def _on_cap(z: float, turn: float) -> tuple[int, float, float]:
    quarter = min(int(turn), 3)
    part, size = turn - quarter, sqrt(3 * (1 - abs(z)))
    near, far = part * size, (1 - part) * size
    if z > 0:
        return quarter, 1 - far, 1 - near
    return quarter + 8, near, far


def _place(face: int, x: float, y: float) -> tuple[float, float]:
    """Give RA and DEC of a point of a face, each coordinate from 0 to 1."""
    ring = _RING_OF_FACE[face] - x - y
    if ring < 1:
        size, z = ring, 1 - ring * ring / 3
    elif ring > 3:
        size, z = 4 - ring, (4 - ring) ** 2 / 3 - 1
    else:
        size, z = 1.0, (2 - ring) * 2 / 3
    turn = _PHI_OF_FACE[face] if size < 1e-12 else _PHI_OF_FACE[face] + (x - y) / size
    return (turn * 45.0) % 360.0, degrees(asin(max(-1.0, min(1.0, z))))


def _joined(outline: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Let no step of an outline be longer than half the sky."""
    first = outline[0][0]
    return [(first + (ra - first + 180.0) % 360.0 - 180.0, dec) for ra, dec in outline]
