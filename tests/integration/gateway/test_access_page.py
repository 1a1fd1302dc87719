"""The page for tokens, logins and the password; each refusal of it is a page that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from skyrelay.access.tokens import Scope, create_token, list_tokens
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.gateway import GatewayClient, make_token, running_gateway
from support.owner import NO_REDIS, PASSWORD, START, Browser, Clock, give_owner
from support.pages import assert_self_contained

ANOTHER = "a darker sky over the roof"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'skyrelay.db'}")
    migrate(store)
    give_owner(store)
    yield store
    store.close()


@pytest.fixture
def gateway(store: Store) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS, clock=Clock()) as client:
        yield client


@pytest.fixture
def owner(gateway: GatewayClient) -> Browser:
    return logged_in(gateway)


def logged_in(gateway: GatewayClient, password: str = PASSWORD) -> Browser:
    browser = Browser(gateway.address)
    assert browser.log_in(password).status_code == 303
    return browser


def see(browser: Browser) -> str:
    answer = browser.get("/access")
    assert answer.status_code == 200
    return unescape(answer.text)


def send(browser: Browser, what: str, **fields: str) -> tuple[int, str]:
    """Send a form of the page; give the status, and the text that a person sees then."""
    answer = browser.post(f"/access/{what}", {"csrf_token": browser.token_in("/access"), **fields})
    if answer.status_code != 303:
        assert answer.headers["content-type"].startswith("text/html")
        return answer.status_code, unescape(answer.text)
    assert answer.headers["location"].startswith("../access?done=")
    return 303, unescape(browser.get(answer.headers["location"].removeprefix("..")).text)


def token_id(store: Store, name: str) -> str:
    with store.read() as session:
        return next(str(row.id) for row in list_tokens(session) if row.name == name)


def test_a_token_is_made_shown_once_used_and_revoked(
    owner: Browser, gateway: GatewayClient, store: Store
) -> None:
    status, page = send(owner, "make-token", name="Home Assistant", scope="control")
    assert status == 201
    token = page.partition('<code id="token">')[2].partition("<")[0]
    assert token not in see(owner)
    program = GatewayClient(gateway.address, token)
    assert program.read("/api/v1/access")["scope"] == "control"
    assert "Home Assistant" in see(owner)
    assert "may read and control" in see(owner)
    status, page = send(owner, "revoke-token", id=token_id(store, "Home Assistant"))
    assert (status, "The token is revoked" in page) == (303, True)
    assert "Home Assistant" not in page
    assert program.get("/api/v1/access").status_code == 401


@pytest.mark.parametrize(
    ("name", "scope", "words"),
    [
        ("phone", "read", "There is a token 'phone' already"),
        ("a\nb", "read", "up to 64 letters"),
        ("", "read", "up to 64 letters"),
        ("tablet", "everything", "is one of: read, control, admin"),
    ],
)
def test_a_token_that_cannot_be_made_is_refused_beside_its_field(
    owner: Browser, store: Store, name: str, scope: str, words: str
) -> None:
    with store.write() as session:
        create_token(session, "phone", Scope.READ, now=START, actor="test")
        before = len(list_tokens(session))
    status, page = send(owner, "make-token", name=name, scope=scope)
    assert (status, words in page) == (422, True)
    with store.read() as session:
        assert len(list_tokens(session)) == before


@pytest.mark.parametrize("number", ["", "99", "x", "9" * 40, "-1"])
def test_what_is_gone_already_is_said(owner: Browser, number: str) -> None:
    status, page = send(owner, "revoke-token", id=number)
    assert (status, "There is no such token any more" in page) == (404, True)
    status, page = send(owner, "end-session", id=number)
    assert (status, "This browser is logged out already" in page) == (404, True)


def test_one_browser_is_logged_out_or_all_others(owner: Browser, gateway: GatewayClient) -> None:
    others = [logged_in(gateway) for _ in range(3)]
    assert see(owner).count("this one") == 1
    (newest, *_) = gateway.read("/api/v1/sessions")
    status, _page = send(owner, "end-session", id=str(newest["id"]))
    assert (status, [each.is_logged_in() for each in others]) == (303, [True, True, False])
    status, page = send(owner, "end-others")
    assert (status, "Logged out." in page) == (303, True)
    assert [each.is_logged_in() for each in (owner, *others)] == [True, False, False, False]


def test_the_password_is_changed_and_everybody_else_logged_out(
    owner: Browser, gateway: GatewayClient
) -> None:
    other = logged_in(gateway)
    status, page = send(owner, "password", current=PASSWORD, new=ANOTHER, repeated=ANOTHER)
    assert (status, "The password is changed" in page) == (303, True)
    assert (owner.is_logged_in(), other.is_logged_in()) == (True, False)
    assert Browser(gateway.address).log_in(PASSWORD).status_code == 403
    assert logged_in(gateway, ANOTHER).is_logged_in()


@pytest.mark.parametrize(
    ("current", "new", "repeated", "status", "words"),
    [
        ("wrong", ANOTHER, ANOTHER, 403, "That is not the password as it is now"),
        (PASSWORD, ANOTHER, "other", 422, "are not the same"),
        (PASSWORD, "shrt", "shrt", 422, "characters"),
        (PASSWORD, "x" * 300, "x" * 300, 422, "characters"),
    ],
)
def test_a_password_that_is_not_changed_stays_and_says_why(
    owner: Browser, current: str, new: str, repeated: str, status: int, words: str
) -> None:
    answered, page = send(owner, "password", current=current, new=new, repeated=repeated)
    assert (answered, words in page) == (status, True), page
    assert new not in page
    assert owner.is_logged_in()


def test_guessing_the_password_there_is_slowed_down_too(owner: Browser) -> None:
    answers = [send(owner, "password", current="x", new=ANOTHER, repeated=ANOTHER) for _ in range(6)]
    assert [status for status, _ in answers] == [403] * 5 + [429]
    assert "Too many wrong ones" in answers[-1][1]


def test_a_password_that_the_configuration_names_is_changed_there(store: Store) -> None:
    settings = Settings(setup="done", gateway=GatewaySettings(password=ANOTHER))
    with running_gateway(store, NO_REDIS, settings, clock=Clock()) as gateway:
        owner = logged_in(gateway, ANOTHER)
        status, page = send(owner, "password", current=ANOTHER, new=PASSWORD, repeated=PASSWORD)
        assert status == 409
        assert "change <code>gateway.password</code> there" in page
        assert 'name="new"' not in see(owner)


def test_no_form_of_it_is_taken_from_elsewhere_or_without_its_token(owner: Browser, store: Store) -> None:
    with store.read() as session:
        before = len(list_tokens(session))
    fields = {
        "name": "x",
        "scope": "admin",
        "id": "1",
        "current": PASSWORD,
        "new": ANOTHER,
        "repeated": ANOTHER,
    }
    token = owner.token_in("/access")
    for what in ("make-token", "revoke-token", "end-session", "end-others", "password"):
        assert owner.post(f"/access/{what}", fields).status_code == 403
        assert owner.post(f"/access/{what}", {**fields, "csrf_token": "0" * 64}).status_code == 403
        elsewhere = owner.post(
            f"/access/{what}", {**fields, "csrf_token": token}, Origin="https://elsewhere.example"
        )
        assert elsewhere.status_code == 403
    with store.read() as session:
        assert len(list_tokens(session)) == before
    assert owner.is_logged_in()


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CONTROL])
def test_who_is_not_the_owner_does_not_see_it(gateway: GatewayClient, store: Store, scope: Scope) -> None:
    weak = GatewayClient(gateway.address, make_token(store, scope))
    answer = weak.get("/access")
    assert (answer.status_code, "may only" in answer.text) == (403, True)
    assert weak.send("POST", "/access/make-token", data={"name": "up", "scope": "admin"}).status_code == 403
    assert "access" not in weak.get("/settings").text.partition("<main")[2].partition("</header>")[0]


def test_it_is_reached_from_the_settings_and_loads_nothing_from_elsewhere(
    owner: Browser, gateway: GatewayClient
) -> None:
    assert 'href="access"' in owner.get("/settings").text
    assert_self_contained(gateway, "/access", gateway.get("/access").text)
    assert Browser(gateway.address).get("/access").headers["location"].startswith("/login?next=")
