"""Who may send, and when a pause ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.outcomes import FIRST_DELAY, LONGEST_DELAY, Blame, GiveUp, Outcome, Pause, TryAgain
from skyrelay.store.engine import Store
from skyrelay.store.tables import Destination

NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAME = "crowdsky"
ALICE = Account("crowdsky", "https://crowdsky.example", "alice", SecretStr("s3cret-päss"), "uploader")


class Books:
    """The account in a database, asked and told at one hour of the night after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, hours: float = 0.0) -> Admission:
        with self._store.write() as session:
            return accounts.admit(session, NAME, NOW + hours * HOUR)

    def admit_listing(self, hours: float = 0.0) -> Admission:
        with self._store.write() as session:
            return accounts.admit_listing(session, NAME, NOW + hours * HOUR)

    def succeed(self, hours: float = 0.0) -> None:
        with self._store.write() as session:
            accounts.note_success(session, NAME, NOW + hours * HOUR, "uploader")

    def list(self, hours: float = 0.0) -> None:
        with self._store.write() as session:
            accounts.note_listing(session, NAME, NOW + hours * HOUR)

    def fail(self, outcome: Outcome, hours: float = 0.0) -> None:
        with self._store.write() as session:
            accounts.note_outcome(session, ALICE, outcome, "the server's words", NOW + hours * HOUR)

    def fail_to_list(self, hours: float = 0.0) -> None:
        with self._store.write() as session:
            outcome, now = TryAgain(FIRST_DELAY, blame=Blame.LINE), NOW + hours * HOUR
            accounts.note_outcome(session, ALICE, outcome, "no list", now, listing=True)

    def resume(self, account: Account, hours: float = 0.0) -> None:
        with self._store.write() as session:
            accounts.resume_if_changed(session, account, NOW + hours * HOUR)

    def row(self) -> Destination:
        with self._store.read() as session:
            return session.get_one(Destination, "crowdsky")


def test_a_new_account_lets_one_try_and_opens_when_that_worked(store: Store) -> None:
    crowdsky = Books(store)
    assert [crowdsky.admit(), crowdsky.admit()] == [Admission.PROBE, Admission.CLOSED]
    crowdsky.succeed()
    assert [crowdsky.admit(), crowdsky.admit()] == [Admission.OPEN, Admission.OPEN]
    assert crowdsky.row().last_ok_at == NOW


def test_a_probe_that_never_comes_back_gives_its_place_to_another(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.admit()
    assert crowdsky.admit(0.1) is Admission.PROBE


def test_trouble_with_everything_holds_all_back_and_then_lets_one_try(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.succeed()
    crowdsky.fail(TryAgain(HOUR, blame=Blame.LINE, asked=HOUR))
    assert [crowdsky.admit(0.9), crowdsky.admit(1.0), crowdsky.admit(1.0)] == [
        Admission.CLOSED,
        Admission.PROBE,
        Admission.CLOSED,
    ]


def test_trouble_with_one_item_holds_nobody_back(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.succeed()
    for outcome in (TryAgain(HOUR), TryAgain(HOUR, ask_first=True), GiveUp(True), GiveUp(False)):
        crowdsky.fail(outcome)
        assert crowdsky.admit() is Admission.OPEN


def hold(crowdsky: Books, hours: float) -> timedelta:
    """Give how long nothing may be sent."""
    return (crowdsky.row().next_probe_at or NOW) - (NOW + hours * HOUR)


def test_a_dead_server_is_probed_ever_more_rarely_whichever_item_tries(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.succeed()
    waits, hours = [], 0.0
    for _ in range(10):
        crowdsky.fail(TryAgain(FIRST_DELAY, blame=Blame.LINE), hours)  # each time another item's first try
        waits.append(hold(crowdsky, hours))
        hours += waits[-1] / HOUR
        assert [crowdsky.admit(hours), crowdsky.admit(hours)] == [Admission.PROBE, Admission.CLOSED]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_DELAY, LONGEST_DELAY)
    assert (crowdsky.row().failures, crowdsky.row().trouble) == (10, "the server's words")

    crowdsky.succeed(hours)

    assert (crowdsky.row().failures, crowdsky.row().trouble) == (0, None)
    assert crowdsky.admit(hours) is Admission.OPEN


def test_a_server_that_falls_over_every_item_is_dead_after_three_of_them(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.succeed()
    for _ in range(2):
        crowdsky.fail(TryAgain(FIRST_DELAY, blame=Blame.UNSURE))
        assert crowdsky.admit() is Admission.OPEN
    crowdsky.fail(TryAgain(FIRST_DELAY, blame=Blame.UNSURE))
    assert crowdsky.admit() is Admission.CLOSED
    crowdsky.list(1)
    assert [crowdsky.admit(1), crowdsky.admit(1)] == [Admission.PROBE, Admission.CLOSED], (
        "that it lists is no proof that it takes anything"
    )


def test_lists_that_fail_now_and_then_do_not_add_up(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.succeed()
    for hours in range(10):
        crowdsky.fail_to_list(hours)
        assert hold(crowdsky, hours) == FIRST_DELAY
        crowdsky.list(hours + 0.5)
        assert crowdsky.admit(hours + 0.5) is Admission.OPEN
    assert crowdsky.row().failures == 0


def test_lists_that_fail_one_after_the_other_are_asked_for_ever_more_rarely(store: Store) -> None:
    crowdsky = Books(store)
    waits = []
    for _ in range(5):
        crowdsky.fail_to_list()
        waits.append(hold(crowdsky, 0))
    assert waits == [FIRST_DELAY * 2**number for number in range(5)]


def test_one_item_that_breaks_the_server_holds_nobody_back_while_others_pass(store: Store) -> None:
    crowdsky = Books(store)
    for _ in range(10):
        crowdsky.succeed()
        crowdsky.fail(TryAgain(FIRST_DELAY, blame=Blame.UNSURE))
        assert crowdsky.admit() is Admission.OPEN


def test_a_probe_that_says_nothing_about_the_account_lets_the_next_one_try(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.admit()
    crowdsky.fail(GiveUp(server_said_so=False))
    assert crowdsky.admit() is Admission.PROBE


def test_a_pause_lasts_until_the_credentials_change(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.fail(Pause(None))
    crowdsky.resume(ALICE, 1000)
    assert [crowdsky.admit(1000), crowdsky.admit_listing(1000)] == [Admission.CLOSED] * 2

    crowdsky.resume(replace(ALICE, secret=SecretStr("another")), 1000)

    assert crowdsky.row().paused_reason is None
    assert [crowdsky.admit(1000), crowdsky.admit(1000)] == [Admission.PROBE, Admission.CLOSED]


def test_an_answer_to_something_older_does_not_end_a_pause(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.fail(Pause(None))
    crowdsky.succeed(1)
    assert crowdsky.admit(1) is Admission.CLOSED


def test_a_full_account_still_gives_its_list_and_is_probed_later(store: Store) -> None:
    crowdsky = Books(store)
    crowdsky.fail(Pause(6 * HOUR))
    assert [crowdsky.admit(1), crowdsky.admit_listing(1)] == [Admission.CLOSED, Admission.OPEN]
    crowdsky.list(1)
    assert crowdsky.admit(2) is Admission.CLOSED, "a list is no proof that there is room"
    assert [crowdsky.admit(6), crowdsky.admit(6)] == [Admission.PROBE, Admission.CLOSED]
    crowdsky.succeed(6)
    assert (crowdsky.admit(6), crowdsky.row().paused_reason) == (Admission.OPEN, None)


def test_the_digest_is_salted_and_knows_each_part_of_the_account() -> None:
    digest = accounts.credentials_digest(ALICE)
    assert digest != accounts.credentials_digest(ALICE)
    assert accounts.is_of(digest, ALICE)
    for change in (
        {"user": "bob"},
        {"secret": SecretStr("another")},
        {"address": "https://elsewhere.example"},
    ):
        assert not accounts.is_of(digest, replace(ALICE, **change))
    assert not any(secret in digest for secret in ("alice", "s3cret"))


def test_a_digest_that_is_none_is_nobodys() -> None:
    assert not any(accounts.is_of(digest, ALICE) for digest in (None, "", "$", "no hex$00", "00$00"))
