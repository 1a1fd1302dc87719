"""Who may send, and when a pause ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from skyrelay.settings import CrowdSkySettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Destination
from skyrelay_uploader import account
from skyrelay_uploader.account import Admission
from skyrelay_uploader.outcomes import GiveUp, Outcome, Pause, TryAgain

NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALICE = CrowdSkySettings(username="alice", password=SecretStr("s3cret-päss"))


class Account:
    """The account in a database, asked and told at one hour of the night after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, hours: float = 0.0) -> Admission:
        with self._store.write() as session:
            return account.admit(session, NOW + hours * HOUR)

    def admit_listing(self, hours: float = 0.0) -> Admission:
        with self._store.write() as session:
            return account.admit_listing(session, NOW + hours * HOUR)

    def succeed(self, hours: float = 0.0) -> None:
        with self._store.write() as session:
            account.note_success(session, NOW + hours * HOUR)

    def list(self, hours: float = 0.0) -> None:
        with self._store.write() as session:
            account.note_listing(session, NOW + hours * HOUR)

    def fail(self, outcome: Outcome, hours: float = 0.0) -> None:
        with self._store.write() as session:
            account.note_outcome(session, ALICE, outcome, "the server's words", NOW + hours * HOUR)

    def resume(self, settings: CrowdSkySettings, hours: float = 0.0) -> None:
        with self._store.write() as session:
            account.resume_if_changed(session, settings, NOW + hours * HOUR)

    def row(self) -> Destination:
        with self._store.read() as session:
            return session.get_one(Destination, "crowdsky")


def test_a_new_account_lets_one_try_and_opens_when_that_worked(store: Store) -> None:
    crowdsky = Account(store)
    assert [crowdsky.admit(), crowdsky.admit()] == [Admission.PROBE, Admission.CLOSED]
    crowdsky.succeed()
    assert [crowdsky.admit(), crowdsky.admit()] == [Admission.OPEN, Admission.OPEN]
    assert crowdsky.row().last_ok_at == NOW


def test_a_probe_that_never_comes_back_gives_its_place_to_another(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.admit()
    assert crowdsky.admit(0.1) is Admission.PROBE


def test_trouble_with_everything_holds_all_back_and_then_lets_one_try(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.succeed()
    crowdsky.fail(TryAgain(HOUR, holds_account=True))
    assert [crowdsky.admit(0.9), crowdsky.admit(1.0), crowdsky.admit(1.0)] == [
        Admission.CLOSED,
        Admission.PROBE,
        Admission.CLOSED,
    ]


def test_trouble_with_one_item_holds_nobody_back(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.succeed()
    for outcome in (TryAgain(HOUR), TryAgain(HOUR, ask_first=True), GiveUp(True), GiveUp(False)):
        crowdsky.fail(outcome)
        assert crowdsky.admit() is Admission.OPEN


def test_a_probe_that_says_nothing_about_the_account_lets_the_next_one_try(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.admit()
    crowdsky.fail(GiveUp(server_said_so=False))
    assert crowdsky.admit() is Admission.PROBE


def test_a_pause_lasts_until_the_credentials_change(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.fail(Pause(None))
    crowdsky.resume(ALICE, 1000)
    assert [crowdsky.admit(1000), crowdsky.admit_listing(1000)] == [Admission.CLOSED] * 2

    crowdsky.resume(ALICE.model_copy(update={"password": SecretStr("another")}), 1000)

    assert crowdsky.row().paused_reason is None
    assert [crowdsky.admit(1000), crowdsky.admit(1000)] == [Admission.PROBE, Admission.CLOSED]


def test_an_answer_to_something_older_does_not_end_a_pause(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.fail(Pause(None))
    crowdsky.succeed(1)
    assert crowdsky.admit(1) is Admission.CLOSED


def test_a_full_account_still_gives_its_list_and_is_probed_later(store: Store) -> None:
    crowdsky = Account(store)
    crowdsky.fail(Pause(6 * HOUR))
    assert [crowdsky.admit(1), crowdsky.admit_listing(1)] == [Admission.CLOSED, Admission.OPEN]
    crowdsky.list(1)
    assert crowdsky.admit(2) is Admission.CLOSED, "a list is no proof that there is room"
    assert [crowdsky.admit(6), crowdsky.admit(6)] == [Admission.PROBE, Admission.CLOSED]
    crowdsky.succeed(6)
    assert (crowdsky.admit(6), crowdsky.row().paused_reason) == (Admission.OPEN, None)


def test_the_digest_is_salted_and_knows_each_part_of_the_account() -> None:
    digest = account.credentials_digest(ALICE)
    assert digest != account.credentials_digest(ALICE)
    assert account.is_of(digest, ALICE)
    for change in (
        {"username": "bob"},
        {"password": SecretStr("another")},
        {"base_url": "https://elsewhere.example"},
    ):
        assert not account.is_of(digest, ALICE.model_copy(update=change))
    assert not any(secret in digest for secret in ("alice", "s3cret"))


def test_a_digest_that_is_none_is_nobodys() -> None:
    assert not any(account.is_of(digest, ALICE) for digest in (None, "", "$", "no hex$00", "00$00"))
