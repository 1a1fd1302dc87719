"""CrowdSky, the citizen-science server: its names, its client, and what scripts do with both.

The functions that people script against are re-exported here. They are found when they are asked for:
a service that only needs the client loads neither the telescope nor the database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyrelay.crowdsky.chunks import (
        CROWDSKY_RE,
        CROWDSKY_RE_LEGACY,
        LIGHT_RE,
        compute_chunk_key,
        filter_covered_blocks,
        find_unstacked_blocks,
        group_frames_into_blocks,
        list_targets,
        local_dt_to_chunk_str,
        parse_coverage_from_filenames,
        parse_light_filename,
        purge_crowdsky_stacks,
        stack_all,
        stack_blocks,
    )
    from skyrelay.crowdsky.server import (
        download_stack,
        list_stacks,
        set_base_url,
        set_credentials,
        upload_all_stacks,
        upload_stack,
    )

__all__ = [
    "CROWDSKY_RE",
    "CROWDSKY_RE_LEGACY",
    "LIGHT_RE",
    "compute_chunk_key",
    "download_stack",
    "filter_covered_blocks",
    "find_unstacked_blocks",
    "group_frames_into_blocks",
    "list_stacks",
    "list_targets",
    "local_dt_to_chunk_str",
    "parse_coverage_from_filenames",
    "parse_light_filename",
    "purge_crowdsky_stacks",
    "set_base_url",
    "set_credentials",
    "stack_all",
    "stack_blocks",
    "upload_all_stacks",
    "upload_stack",
]
_OF_THE_SERVER = frozenset(
    {"download_stack", "list_stacks", "set_base_url", "set_credentials", "upload_all_stacks", "upload_stack"}
)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "server" if name in _OF_THE_SERVER else "chunks"
    return getattr(import_module(f"{__name__}.{module}"), name)
