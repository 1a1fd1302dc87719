"""The modules of the API's further routes, those that read first: `skyrelay_gateway.app` takes them in."""

from __future__ import annotations

from skyrelay_gateway.routes import archive, audit, events, frames, requests, stacks, telescopes

READING = (stacks, events, frames, audit, telescopes, archive)
CONTROLLING = (requests,)
