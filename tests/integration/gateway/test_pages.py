"""Each page over HTTP: finished when empty, complete when full, quiet about secrets, right in a sub-path."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import select, update

from skyrelay.settings import ArchiveSettings, CrowdSkySettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Stack, Telescope
from support.dashboard_scene import NOW, Scene
from support.gateway import GatewayClient, running_gateway
from support.pages import assert_self_contained
from support.redis_server import RedisServer

PAGES = (
    "/",
    "/nights",
    "/nights/2025-03-26",
    "/gallery",
    "/sky",
    "/archive",
    "/deliveries",
    "/telescopes",
    "/plan",
    "/settings",
    "/more",
)
TORONTO = ObservatorySettings(timezone="America/Toronto", latitude=43.651893, longitude=-79.381713)


@pytest.fixture
def empty(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway with an empty database."""
    with running_gateway(store, redis_server.url, Settings(setup="done"), clock=lambda: NOW) as client:
        yield client


@pytest.fixture
def full(night: Store, scene: Scene, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway in the middle of a night."""
    login = CrowdSkySettings(username="alice", password=SecretStr("open sesame"))
    archive = ArchiveSettings(path=scene.archive)
    settings = Settings(setup="done", archive=archive, observatory=TORONTO, crowdsky=login)
    with running_gateway(night, redis_server.url, settings, clock=lambda: NOW) as client:
        yield client


def page(gateway: GatewayClient, path: str, status: int = 200) -> str:
    answer = gateway.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def stack_id(store: Store, *conditions: object) -> int:
    with store.read() as session:
        found = session.scalar(select(Stack.id).where(*conditions).order_by(Stack.id.desc()).limit(1))
    assert found is not None
    return found


def test_each_empty_page_is_finished(empty: GatewayClient) -> None:
    for path in PAGES:
        html = page(empty, path)
        assert_self_contained(empty, path, html)
        assert html.count("<h1") == 1
        assert 'aria-current="page"' in html
        if path not in {"/settings", "/more"}:
            assert re.search(r'class="panel empty"', html), f"{path} says what will be there"


def test_each_full_page_leads_only_to_pages_that_are_there(full: GatewayClient, night: Store) -> None:
    for path in (*PAGES, f"/gallery/{stack_id(night)}"):
        assert_self_contained(full, path, page(full, path))


def test_every_part_of_the_gallery_is_reached_by_show_more(full: GatewayClient, night: Store) -> None:
    seen: list[str] = []
    path: str | None = "/gallery"
    while path is not None:
        html = page(full, path)
        seen += re.findall(r'href="gallery/(\d+)"', html)
        more = re.search(r'<a class="button plain" href="([^"]+)" hx-get', html)
        path = urljoin("/", more[1].replace("&amp;", "&")) if more else None
    with night.read() as session:
        assert [int(each) for each in seen] == list(
            session.scalars(select(Stack.id).order_by(Stack.id.desc()))
        )


def test_the_gallery_shows_one_target_alone(full: GatewayClient) -> None:
    html = page(full, "/gallery?target=M+42&telescope=")
    assert "<strong>M 42</strong>" in html
    assert "<strong>M 81</strong>" not in html
    assert "There is no target &#39;M 43&#39;." in page(full, "/gallery?target=M+43", 404)


def test_a_stack_tells_its_story(full: GatewayClient, night: Store) -> None:
    with night.read() as session:
        dead = session.scalars(select(Delivery).where(Delivery.state == "dead")).one()
    html = page(full, f"/gallery/{dead.stack_id}")
    for fact in (
        "30 of 30 aligned",
        "09h 55.6m +69° 04′",
        "the server refused it",
        "collecting → ready",
        "BITPIX",
    ):
        assert fact in html
    assert "SITELAT" not in html, "where the telescope stands is nobody's business"


def test_a_stack_without_a_picture_is_drawn_as_it_is_asked_for(full: GatewayClient, night: Store) -> None:
    number = stack_id(night, Stack.thumbnail_path.is_(None))
    assert f'src="pictures/{number}.jpg"' in page(full, f"/gallery?cursor={number + 1}")
    answer = full.get(f"/pictures/{number}.jpg")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("JPEG", (180, 320))
    assert (
        full.send(
            "GET", f"/pictures/{number}.jpg", headers={"If-None-Match": answer.headers["etag"]}
        ).status_code
        == 304
    )
    other = full.get(f"/pictures/{number}.jpg", curve="linear", black=20)
    assert other.headers["etag"] != answer.headers["etag"]
    assert brightness(other.content) < brightness(answer.content)


def brightness(jpeg: bytes) -> float:
    with Image.open(io.BytesIO(jpeg)) as image:
        return float(image.convert("L").resize((1, 1)).getpixel((0, 0)))


def test_a_file_that_is_no_image_is_said_to_be_none(full: GatewayClient, night: Store, scene: Scene) -> None:
    (scene.archive / "page.fit").write_bytes(b"SIMPLE  = nothing of the kind")
    number = stack_id(night)
    with night.write() as session:
        session.get_one(Stack, number).archive_path = "page.fit"
    answer = full.get(f"/pictures/{number}.jpg")
    assert answer.status_code == 404
    assert f"Stack {number} cannot be shown" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["black=-1", "black=nan", "white=101", "curve=magic", "size=huge"])
def test_no_stretch_but_a_sensible_one_is_drawn(empty: GatewayClient, query: str) -> None:
    assert empty.get(f"/pictures/1.jpg?{query}").status_code == 422


def test_the_sky_has_each_field_once_with_what_was_delivered(full: GatewayClient) -> None:
    html = page(full, "/sky")
    assert len(re.findall(r'<g class="cell-of-sky">', html)) == 5
    assert re.search(r">M 31</a></td>\s*<td class=\"right\">00h 42.7m \+41° 16′</td>", html)
    assert "M 51" in html, "what was only collected is listed, though its place is not known"


def test_deliveries_are_shown_by_their_state(full: GatewayClient) -> None:
    html = page(full, "/deliveries?state=dead")
    assert html.count('<li id="delivery-') == 1
    assert "the server refused it: no RA in the header" in html
    assert page(full, "/deliveries?state=confirmed").count('<li id="delivery-') > 30


def test_the_calendar_says_how_each_night_went(full: GatewayClient) -> None:
    html = page(full, "/nights?month=2025-03")
    assert re.search(r'aria-label="26 March: something failed; [0-9]+ frames, 13 of 20 blocks stacked', html)
    assert re.search(r'aria-label="24 March: all delivered; 40 frames, 4 of 4 blocks stacked', html)
    assert "There is no such page." in page(full, "/nights?month=2025-13", 422)


def test_times_are_the_observatorys_with_utc_beside_them(full: GatewayClient, night: Store) -> None:
    number = stack_id(night)
    html = page(full, f"/gallery/{number}")
    with night.read() as session:
        first = session.get_one(Stack, number).first_start_at
    assert f'title="{first:%Y-%m-%d %H:%M:%S} UTC"' in html
    assert re.search(rf'datetime="{re.escape(first.isoformat())}"[^>]*>22:45<', html), "Toronto is at UTC−4"


def test_the_settings_tell_no_secret_and_no_home(full: GatewayClient) -> None:
    html = page(full, "/settings")
    assert "<code>stacking.block_minutes</code>" in html
    assert "set, not shown" in html
    for secret in ("open sesame", "alice", "43.65", "79.38"):
        assert secret not in html


def test_what_is_not_there_is_said_on_a_page(full: GatewayClient) -> None:
    html = page(full, "/gallery/99999", 404)
    assert "There is no stack 99999." in html
    assert 'href="../static/skyrelay.css' in html


def test_a_theme_that_was_chosen_comes_with_the_page(full: GatewayClient) -> None:
    answer = full.send("GET", "/", headers={"Cookie": "skyrelay-theme=red"})
    assert '<html lang="en" data-theme="red">' in answer.text
    assert '<html lang="en">' in full.send("GET", "/", headers={"Cookie": 'skyrelay-theme="><script>'}).text


def test_the_headline_leads_to_what_needs_a_person_from_wherever_it_stands(full: GatewayClient) -> None:
    assert 'href="../#needs"' in page(full, "/parts/headline?root=../")
    assert full.get("/parts/headline?root=//elsewhere/").status_code == 422


def test_no_name_from_outside_becomes_markup(full: GatewayClient, night: Store) -> None:
    with night.write() as session:
        session.execute(update(Telescope).values(state_reason="<script>alert(1)</script>"))
        session.execute(update(Delivery).values(reason='"><img src=x onerror=alert(1)>'))
    for path in (*PAGES, f"/gallery/{stack_id(night)}"):
        assert not re.search(r"<script>|<img src=x", page(full, path))
