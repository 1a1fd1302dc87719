"""What goes for every page."""

from __future__ import annotations

import html
import re
from urllib.parse import urljoin

from support.gateway import GatewayClient


def assert_self_contained(gateway: GatewayClient, path: str, text: str) -> None:
    """Check that a page has nothing inline, and loads and links to nothing but what the gateway has."""
    assert not re.search(r"\sstyle=|<style|<script>|\son\w+=|\shx-on", text), (
        "the policy allows nothing inline"
    )
    loaded = re.findall(r'(?:\ssrc|<link[^>]*\shref)="([^"]+)"', text)
    assert loaded
    for address in [*loaded, *re.findall(r'<a[^>]*\shref="([^"]+)"', text)]:
        assert not re.match(r"/|\w+:", address), "relative, so that it works under a sub-path too"
        if "flower" not in address:
            assert_answers(gateway, urljoin(path, html.unescape(address)))


def assert_answers(gateway: GatewayClient, path: str) -> None:
    """Check that something is there."""
    assert gateway.get(path).status_code == 200, path
