"""What the worker, its children and the scheduler load once they begin.

Whoever imports this before they are forked holds it once for all of them (docs/decisions/0028-footprint.md).
"""

from __future__ import annotations

import kombu.transport.redis  # noqa: F401 - all of these are imported in order to be there
from sqlalchemy.orm import configure_mappers

configure_mappers()
