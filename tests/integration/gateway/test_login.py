"""Claiming, logging in and out, as browsers do it; and what they are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from skyrelay.access.owner import make_setup_code, set_password
from skyrelay.access.passwords import Hasher
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, LoginSession
from support.gateway import GatewayClient, quick_hasher, running_gateway
from support.owner import NO_REDIS, PASSWORD, START, Browser, Clock, give_owner


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(store: Store, clock: Clock) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS, clock=clock) as client:
        yield client


@pytest.fixture
def browser(gateway: GatewayClient) -> Browser:
    return Browser(gateway.address)


@pytest.fixture
def owned(store: Store, browser: Browser) -> Browser:
    """Give a browser at a gateway that has an owner."""
    give_owner(store)
    return browser


def code_of(store: Store) -> str:
    return make_setup_code(store, quick_hasher(), now=START) or ""


def events(store: Store) -> list[str]:
    with store.read() as session:
        return list(session.scalars(select(AuditEntry.event).order_by(AuditEntry.id)))


def claim(browser: Browser, code: str, password: str = PASSWORD, repeated: str | None = None) -> int:
    repeated = password if repeated is None else repeated
    return browser.submit("/welcome", code=code, password=password, repeated=repeated).status_code


def test_who_comes_to_a_new_one_is_led_to_the_welcome(browser: Browser) -> None:
    for path in ("/", "/docs", "/flower", "/login"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/welcome")


def test_the_code_makes_its_holder_the_owner_and_logs_in(browser: Browser, store: Store) -> None:
    code = code_of(store)
    answer = browser.submit("/welcome", code=f" {code.lower()} ", password=PASSWORD, repeated=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/").status_code == 200
    assert events(store) == ["claimed", "claimed and logged in"]


def test_the_code_is_good_once(browser: Browser, store: Store) -> None:
    code = code_of(store)
    assert claim(browser, code) == 303
    another = Browser(browser.address)
    assert claim(another, code, "another password") == 303
    assert not another.is_logged_in()
    assert another.log_in("another password").status_code == 403
    assert code_of(store) == "", "there is no new one either"


def test_each_start_makes_a_new_code(browser: Browser, store: Store) -> None:
    first, second = code_of(store), code_of(store)
    assert re.fullmatch(r"[A-Z2-9]{4}-[A-Z2-9]{4}", second)
    assert claim(browser, first) == 403
    assert claim(browser, second) == 303


@pytest.mark.parametrize(
    ("password", "repeated", "words"),
    [
        ("too short", "too short", "at least 10 characters"),
        ("ababababababab", "ababababababab", "the same few characters"),
        (PASSWORD, PASSWORD + "!", "not the same"),
        ("x" * 257, "x" * 257, "at most 256"),
        ("", "", "at least 10 characters"),
    ],
)
def test_a_password_that_protects_nothing_leaves_the_code_good(
    browser: Browser, store: Store, password: str, repeated: str, words: str
) -> None:
    code = code_of(store)
    answer = browser.submit("/welcome", code=code, password=password, repeated=repeated)
    assert answer.status_code == 422
    assert words in answer.text
    assert not browser.is_logged_in()
    assert claim(browser, code) == 303


def test_codes_cannot_be_tried_one_after_the_other(browser: Browser, store: Store, clock: Clock) -> None:
    code = code_of(store)
    answers = [claim(browser, f"AAAA-AAA{letter}") for letter in "BCDEFGH"]
    assert answers == [403] * 5 + [429] * 2, "the fifth wrong one costs a second, in which nothing is tried"
    assert claim(browser, code) == 429, "not even the right one"
    clock.advance(minutes=15)
    assert claim(browser, code) == 303


def test_the_right_password_opens_and_leads_to_where_one_wanted_to_go(owned: Browser) -> None:
    led = owned.get("/docs?what=now").headers["location"]
    assert led == "/login?next=%2Fdocs%3Fwhat%3Dnow"
    wanted = re.search(r'name="next" value="([^"]*)"', owned.get(led).text)
    assert wanted is not None
    answer = owned.log_in(next=wanted[1])
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs?what=now")
    assert owned.get("/docs").status_code == 200
    assert owned.get("/login?next=/docs").headers["location"] == "/docs"


@pytest.mark.parametrize("wrong", ["", "A DARK SKY", PASSWORD + " ", PASSWORD[:-1], "x" * 5000])
def test_a_wrong_password_is_refused_and_not_repeated(owned: Browser, store: Store, wrong: str) -> None:
    answer = owned.log_in(wrong)
    assert answer.status_code == 403
    assert "That is not the password" in answer.text
    assert wrong == "" or wrong not in answer.text
    assert "set-cookie" not in answer.headers
    assert events(store)[-1] == "login refused"


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example", "\\\\elsewhere.example",
        "/\t/elsewhere.example", "/\n/elsewhere.example", "javascript:alert(1)", "elsewhere.example", "",
        "/%0d%0aSet-Cookie:%20x=1/../\r\nX: y", "http:elsewhere.example", "///elsewhere.example", "/ö",
    ],
)  # fmt: skip
def test_a_login_leads_to_no_other_site(owned: Browser, target: str) -> None:
    assert owned.log_in(next=target).headers["location"] == "/"
    for path in ("/login", "/logout"):
        answer = owned.session.get(
            owned.address + path, params={"next": target}, timeout=20, allow_redirects=False
        )
        assert answer.headers.get("location", "/") == "/"


def test_the_cookie_is_for_us_alone_and_for_no_script(owned: Browser) -> None:
    cookies = owned.log_in().raw.headers.getlist("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/;" in cookie
        assert "Domain" not in cookie
        assert "Secure" not in cookie, "over plain HTTP the browser would keep none"


def test_a_login_is_never_one_that_was_brought_along(owned: Browser, store: Store) -> None:
    owned.session.cookies.set("skyrelay_session", "planted-by-somebody-else-0123456789abcdef")
    owned.log_in()
    first = owned.session.cookies.get_dict(path="/")["skyrelay_session"]
    assert first != "planted-by-somebody-else-0123456789abcdef"
    again = {"csrf_token": owned.token_in("/logout"), "password": PASSWORD}
    assert owned.post("/login", again).status_code == 303
    second = owned.session.cookies.get_dict(path="/")["skyrelay_session"]
    assert first != second
    with store.read() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1, "the one before has ended"


def test_the_database_holds_neither_password_nor_cookie(owned: Browser, store: Store) -> None:
    owned.log_in()
    with store.read() as session:
        dump = "\n".join(session.connection().connection.iterdump())  # type: ignore[attr-defined] # SQLite's own
    assert "$argon2id$" in dump
    assert PASSWORD not in dump
    for value in owned.session.cookies.get_dict().values():
        assert value not in dump


def test_logging_out_ends_the_login_for_whoever_has_its_cookie(owned: Browser) -> None:
    owned.log_in()
    thief = Browser(owned.address)
    thief.session.cookies.update(owned.session.cookies)
    assert thief.is_logged_in()
    assert "Log out?" in owned.get("/logout").text
    assert owned.is_logged_in(), "a link alone logs nobody out"
    assert owned.submit("/logout").headers["location"] == "/login"
    assert "skyrelay_session" not in owned.session.cookies
    assert not thief.is_logged_in()


def test_logging_out_everywhere_ends_all_logins(owned: Browser, gateway: GatewayClient) -> None:
    other = Browser(owned.address)
    for each in (owned, other):
        each.session.headers["User-Agent"] = "a browser\x7f"
        each.log_in()
    listed = owned.call("GET", "/api/v1/sessions").json()
    assert [(each["address"], each["browser"]) for each in listed] == [("127.0.0.1", "a browser?")] * 2
    assert sorted(each["is_this"] for each in listed) == [False, True]
    (others_id,) = (each["id"] for each in listed if not each["is_this"])
    assert owned.call("DELETE", f"/api/v1/sessions/{others_id}").json() == {"ended": 1}
    assert (owned.is_logged_in(), other.is_logged_in()) == (True, False)
    other.log_in()
    assert owned.call("DELETE", "/api/v1/sessions").json() == {"ended": 2}
    assert (owned.is_logged_in(), other.is_logged_in()) == (False, False)


def test_a_new_password_ends_all_logins_but_the_one_that_set_it(owned: Browser, store: Store) -> None:
    thief = Browser(owned.address)
    for each in (owned, thief):
        each.log_in()
    body = {"current": PASSWORD, "new": "another dark sky"}
    assert owned.call("POST", "/api/v1/password", {**body, "current": "wrong one"}).status_code == 403
    assert owned.call("POST", "/api/v1/password", {**body, "new": "short"}).status_code == 422
    assert thief.is_logged_in()
    assert owned.call("POST", "/api/v1/password", body).status_code == 200
    assert (owned.is_logged_in(), thief.is_logged_in()) == (True, False)
    assert thief.log_in().status_code == 403
    assert thief.log_in("another dark sky").status_code == 303
    assert "password set" in events(store)


class PasswordChangesMeanwhile(Hasher):
    """Verifies, and before anybody hears of it the owner's password is another one."""

    def __init__(self, store: Store) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self._store = store

    def verify(self, kept: str | None, secret: str) -> bool:
        is_right = super().verify(kept, secret)
        set_password(self._store, quick_hasher(), "another dark sky", now=START, actor="owner")
        return is_right


def test_a_password_that_is_changed_while_it_is_looked_at_begins_no_login(store: Store) -> None:
    give_owner(store)
    with running_gateway(store, NO_REDIS, clock=Clock(), hasher=PasswordChangesMeanwhile(store)) as gateway:
        browser = Browser(gateway.address)
        assert browser.log_in().status_code == 403
        assert not browser.is_logged_in()
    assert "login refused" in events(store)


def test_a_program_that_changes_the_password_leaves_no_login_behind(
    owned: Browser, gateway: GatewayClient
) -> None:
    owned.log_in()
    answer = gateway.post("/api/v1/password", {"current": PASSWORD, "new": "another dark sky"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert gateway.read("/api/v1/sessions") == []
    assert not owned.is_logged_in()


def test_a_login_that_is_not_used_ends_and_one_that_is_used_goes_on(owned: Browser, clock: Clock) -> None:
    owned.log_in()
    for _ in range(3):
        clock.advance(days=29)
        assert owned.is_logged_in()
    clock.advance(days=31)
    assert not owned.is_logged_in()
    owned.log_in()
    for _ in range(8):
        clock.advance(days=20)
        assert owned.is_logged_in()
    clock.advance(days=21)
    assert not owned.is_logged_in(), "half a year is the most"


# Another site, and who guesses


def test_another_site_sends_no_form_of_ours(owned: Browser) -> None:
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1"):
        for path in ("/login", "/welcome", "/logout"):
            answer = owned.post(path, {"password": PASSWORD}, Origin=origin)
            assert answer.status_code == 403
    answer = owned.session.post(owned.address + "/login", data={"password": PASSWORD}, timeout=20)
    assert answer.status_code == 403, "a browser says where a form comes from"
    assert not owned.is_logged_in()


def test_a_form_without_its_token_is_refused(owned: Browser) -> None:
    owned.log_in()
    token = owned.token_in("/logout")
    assert re.fullmatch("[0-9a-f]{64}", token)
    for shown in ("", token[:-1], "0" * 64, "ö"):
        assert owned.post("/logout", {"csrf_token": shown}).status_code == 403
    assert owned.is_logged_in()
    assert owned.post("/logout", {"csrf_token": token}).status_code == 303


def test_the_token_of_another_login_is_refused(owned: Browser) -> None:
    other = Browser(owned.address)
    for each in (owned, other):
        each.log_in()
    assert owned.post("/logout", {"csrf_token": other.token_in("/logout")}).status_code == 403


def test_a_cookie_alone_changes_nothing(owned: Browser) -> None:
    owned.log_in()
    send = owned.session.request
    for headers in ({}, {"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "same-site"}):
        answer = send("DELETE", owned.address + "/api/v1/sessions", headers=headers, timeout=20)
        assert answer.status_code == 403, headers
    assert owned.is_logged_in()
    token = owned.token_in("/logout")
    for headers in ({"X-CSRF-Token": token}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": owned.origin}):
        answer = send("DELETE", owned.address + "/api/v1/sessions/999", headers=headers, timeout=20)
        assert answer.status_code == 404, headers


def guess(browser: Browser, clock: Clock, times: int) -> list[int]:
    """Try wrong passwords, each as soon as it may be tried."""
    waits = []
    for number in range(times):
        answer = browser.log_in(f"wrong {number}")
        while answer.status_code == 429:
            waits.append(int(answer.headers["retry-after"]))
            clock.advance(seconds=waits[-1])
            answer = browser.log_in(f"wrong {number}")
        assert answer.status_code == 403
    return waits


def test_each_further_wrong_password_costs_twice_the_wait(owned: Browser, clock: Clock) -> None:
    assert guess(owned, clock, 10) == [1, 2, 4, 8, 16]
    assert owned.log_in().status_code == 429
    assert owned.log_in().headers["retry-after"] == "32"
    clock.advance(seconds=32)
    assert owned.log_in().status_code == 303


def test_the_wait_has_an_end(owned: Browser, clock: Clock) -> None:
    assert max(guess(owned, clock, 17)) == 15 * 60


def test_a_restart_forgives_nothing(owned: Browser, store: Store, clock: Clock) -> None:
    guess(owned, clock, 6)
    with running_gateway(store, NO_REDIS, clock=clock) as restarted:
        assert Browser(restarted.address).log_in().status_code == 429


def test_many_guesses_at_once_are_not_all_the_first(owned: Browser) -> None:
    with ThreadPoolExecutor(10) as pool:
        guesses = [pool.submit(Browser(owned.address).log_in, "wrong") for _ in range(10)]
        statuses = sorted(guess.result().status_code for guess in guesses)
    assert statuses == [403] * 5 + [429] * 5


def test_nobody_locks_the_owner_out(owned: Browser, clock: Clock) -> None:
    owned.log_in()
    owned.submit("/logout")
    attacker = Browser(owned.address)  # from the same address, as all are behind a proxy that is not trusted
    guess(attacker, clock, 40)
    assert attacker.log_in().status_code == 429
    assert owned.log_in().status_code == 303, "its browser has logged in before"


def test_a_known_browser_may_not_guess_for_ever_either(owned: Browser, clock: Clock) -> None:
    owned.log_in()
    owned.submit("/logout")
    assert guess(owned, clock, 7) == [1, 2]


def test_the_configured_password_needs_no_code(store: Store, clock: Clock) -> None:
    settings = Settings(setup="done", gateway=GatewaySettings(password=PASSWORD))
    with running_gateway(store, NO_REDIS, settings, clock=clock) as gateway:
        browser = Browser(gateway.address)
        assert browser.log_in().status_code == 303
        changed = {"current": PASSWORD, "new": "another dark sky"}
        assert browser.call("POST", "/api/v1/password", changed).status_code == 409
