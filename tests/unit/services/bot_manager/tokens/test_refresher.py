"""Refreshing: an account is lost only where nothing could have saved it, and X is asked once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from loguru import logger

from mesh.context import background_call
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    InvalidArgument,
    MeshError,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
)
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.tokens.refresher import MAX_FLIGHTS, PATIENCE, TokenRefresher
from tests.fakes.clock import ManualClock, settle
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.unit.services.bot_manager.tokens.keeper import TTL, MemoryPairKeeper

BOT = "0190c6a1-0000-7000-8000-000000000001"
AWAY = Unavailable("VAULT_SEALED", "the secret store is sealed")
NOT_SENT = Unavailable("X_UNAVAILABLE", "no connection")
LOST = OutcomeUnknown("X_OUTCOME_UNKNOWN", "no answer")
SECOND = timedelta(seconds=1)


@dataclass
class Refreshing:
    """A refresher and what it stands on; `again` makes another one, as a process has it that starts anew."""

    tasks: TaskSet
    clock: ManualClock = field(default_factory=ManualClock)
    endpoint: FakeTokenEndpoint = field(default_factory=FakeTokenEndpoint)
    exchange_timeout: timedelta = 10 * SECOND

    def __post_init__(self) -> None:
        self.keeper = MemoryPairKeeper(self.clock, self.endpoint.connect())
        self.token = self.keeper.shown()["refresh_token"]
        self.refresher = self.again()

    def again(self) -> TokenRefresher:
        """Another replica, or the process after a restart."""
        return TokenRefresher(
            self.keeper,
            self.endpoint,
            self.tasks,
            self.clock,
            exchange_timeout=self.exchange_timeout,
        )

    def begin(self, stale: int = 1) -> "asyncio.Task[int]":
        """A refresh under way."""
        return asyncio.create_task(self.refresher.refresh(BOT, stale))

    async def refused(self, stale: int = 1) -> MeshError:
        """How a refresh that fails ends."""
        with pytest.raises(MeshError) as caught:
            await self.refresher.refresh(BOT, stale)
        return caught.value


@pytest.fixture
async def refreshing() -> AsyncIterator[Refreshing]:
    async with TaskSet() as tasks:
        yield Refreshing(tasks)


async def test_a_refresh_stores_the_new_pair_and_answers_its_version(refreshing: Refreshing) -> None:
    """The plain case; client keys stay, the new times and scope are kept with the pair."""
    assert await refreshing.refresher.refresh(BOT, 1) == 2
    shown = refreshing.keeper.shown()
    assert refreshing.endpoint.is_newest(shown)
    assert shown["client_id"] == refreshing.keeper.shown(1)["client_id"]
    assert (shown["expires_at"], shown["scope"]) == ("2030-01-01T00:00:00Z", "tweet.write")
    assert refreshing.keeper.settled


async def test_many_callers_share_one_flight(refreshing: Refreshing) -> None:
    """A bot's posts find the token stale all at once."""
    answers = await asyncio.gather(*(refreshing.refresher.refresh(BOT, 1) for _ in range(32)))
    assert (set(answers), refreshing.keeper.calls["claim"]) == ({2}, 1)
    assert refreshing.endpoint.asked == {refreshing.token: 1}


async def test_while_another_replica_refreshes_this_one_waits_and_takes_what_it_stored(
    refreshing: Refreshing,
) -> None:
    """A second exchange would be refused, or end the session of both."""
    refreshing.endpoint.hold()
    first = refreshing.begin()
    await settle()
    second = asyncio.create_task(refreshing.again().refresh(BOT, 1))
    await refreshing.clock.advance(10 * SECOND)
    assert not second.done()
    refreshing.endpoint.go_on()
    assert await first == 2
    await refreshing.clock.advance(10 * SECOND)
    assert await second == 2
    assert refreshing.endpoint.asked == {refreshing.token: 1}


async def test_waiting_for_another_has_an_end(refreshing: Refreshing) -> None:
    """A claim that is renewed for ever must not hold a caller for ever."""
    waiting = refreshing.begin()
    refreshing.keeper.fail_next("claim", Aborted("ROTATION_CLAIMED", "claimed", retry_after=TTL), 1000)
    await refreshing.clock.advance(PATIENCE + 10 * SECOND)
    with pytest.raises(Aborted):
        await waiting
    assert not refreshing.endpoint.asked


async def test_a_refused_token_is_certain_and_not_tried_again(refreshing: Refreshing) -> None:
    """The account has to be connected anew; nothing here loops."""
    await refreshing.endpoint.exchange(refreshing.keeper.versions[0])
    refused = await refreshing.refused()
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "X_CREDENTIALS_REJECTED")
    assert refreshing.endpoint.asked == {refreshing.token: 2}
    assert refreshing.keeper.settled


async def test_a_token_refused_because_another_was_faster_is_no_refusal(refreshing: Refreshing) -> None:
    """A claimant that was slow stores although its claim has passed; whoever came after it finds a good pair."""
    fields = refreshing.keeper.versions[0]
    refreshing.endpoint.hold()
    waiting = refreshing.begin()
    await settle()
    refreshing.endpoint.go_on()
    given = (await refreshing.endpoint.exchange(fields)).over(fields)
    refreshing.keeper.put({name: value.reveal() for name, value in given.items()})
    assert await waiting == 2


async def test_what_was_not_sent_leaves_everything_as_it_was(refreshing: Refreshing) -> None:
    """A network that is away for a moment must not cost an account."""
    refreshing.endpoint.fail_next(NOT_SENT)
    assert (await refreshing.refused()).reason == "X_UNAVAILABLE"
    assert refreshing.keeper.settled
    assert await refreshing.refresher.refresh(BOT, 1) == 2


@pytest.mark.parametrize("error", [LOST, RuntimeError("a defect"), TimeoutError()])
async def test_a_lost_answer_leaves_the_doubt_and_the_stored_token_is_tried_once(
    refreshing: Refreshing, error: Exception
) -> None:
    """Whatever is not surely unsent may have been sent; the next claim knows it, asks X once, and hears the truth."""
    refreshing.endpoint.fail_next(error, done=True)
    assert (await refreshing.refused()).reason == "X_OUTCOME_UNKNOWN"
    assert refreshing.keeper.settled is False
    assert (await refreshing.refused()).reason == "X_CREDENTIALS_REJECTED"
    assert refreshing.endpoint.asked == {refreshing.token: 2}


async def test_a_lost_answer_of_a_request_that_never_arrived_is_made_good(refreshing: Refreshing) -> None:
    """That is why the stored token is tried at all."""
    refreshing.endpoint.fail_next(LOST)
    await refreshing.refused()
    assert await refreshing.refresher.refresh(BOT, 1) == 2
    assert refreshing.endpoint.is_newest(refreshing.keeper.shown())


async def test_an_answer_that_takes_too_long_is_a_lost_one(refreshing: Refreshing) -> None:
    """The claim ends before another may ask; by then this process must have stopped to wait."""
    refreshing.exchange_timeout = timedelta(milliseconds=20)
    refreshing.endpoint.hold()
    refreshing.refresher = refreshing.again()
    assert (await refreshing.refused()).reason == "X_OUTCOME_UNKNOWN"
    assert refreshing.keeper.settled is False


async def test_a_claim_in_doubt_stays_in_doubt_until_x_was_asked(refreshing: Refreshing) -> None:
    """A network failure of the second try says nothing about the first."""
    refreshing.endpoint.fail_next(LOST)
    await refreshing.refused()
    refreshing.endpoint.fail_next(NOT_SENT)
    await refreshing.refused()
    assert refreshing.keeper.settled is False


async def test_nobody_asks_x_with_too_little_of_the_claim_left(refreshing: Refreshing) -> None:
    """Another replica may ask the moment it ends."""
    refreshing.exchange_timeout = TTL
    refreshing.refresher = refreshing.again()
    assert isinstance(await refreshing.refused(), DeadlineExceeded)
    assert (refreshing.endpoint.asked, refreshing.keeper.settled) == ({}, True)


async def test_a_secret_that_cannot_be_leased_gives_the_claim_back(refreshing: Refreshing) -> None:
    """The vault may be sealed between the two; nothing has happened."""
    refreshing.keeper.fail_next("pair", AWAY)
    assert (await refreshing.refused()).reason == "VAULT_SEALED"
    assert (refreshing.endpoint.asked, refreshing.keeper.settled) == ({}, True)


async def test_a_pair_is_stored_before_anybody_uses_it_however_long_the_vault_is_away(
    refreshing: Refreshing,
) -> None:
    """From the exchange on it exists in memory only: giving up would lose the account."""
    refreshing.keeper.fail_next("store", AWAY, 200)
    waiting = refreshing.begin()
    await refreshing.clock.advance(timedelta(minutes=10))
    assert (waiting.done(), refreshing.keeper.version) == (False, 1)
    await refreshing.clock.advance(timedelta(minutes=10))
    assert await waiting == 2
    assert refreshing.endpoint.is_newest(refreshing.keeper.shown())
    assert refreshing.endpoint.asked == {refreshing.token: 1}


async def test_a_store_whose_confirmation_was_lost_is_found(refreshing: Refreshing) -> None:
    """Repeating it meets its own version, which must not be mistaken for somebody else's."""
    lost = OutcomeUnknown("VAULT_UNAVAILABLE", "not confirmed")
    refreshing.keeper.fail_next("store", lost, done=True)
    waiting = refreshing.begin()
    await refreshing.clock.advance(SECOND)
    assert (await waiting, refreshing.keeper.version) == (2, 2)


async def test_a_version_that_was_encrypted_anew_meanwhile_is_replaced_just_the_same(
    refreshing: Refreshing,
) -> None:
    """Its token is the one that is used up, and ours the only successor."""
    refreshing.endpoint.hold()
    waiting = refreshing.begin()
    await settle()
    refreshing.keeper.put(refreshing.keeper.shown(1))
    refreshing.endpoint.go_on()
    assert await waiting == 3
    assert refreshing.endpoint.is_newest(refreshing.keeper.shown())


async def test_credentials_that_a_person_stored_meanwhile_stay(refreshing: Refreshing) -> None:
    """Whoever connects the account anew ends the old session; our pair is of that one."""
    refreshing.endpoint.hold()
    waiting = refreshing.begin()
    await settle()
    connected = refreshing.endpoint.connect()
    refreshing.keeper.put(connected)
    refreshing.endpoint.go_on()
    assert (await waiting, refreshing.keeper.shown()) == (2, connected)


async def test_a_store_that_no_waiting_helps_is_told(refreshing: Refreshing) -> None:
    """It would hold a place for ever; the claim ends in doubt."""
    refreshing.keeper.fail_next("store", InvalidArgument("INVALID_FIELD", "too long"))
    assert (await refreshing.refused()).reason == "INVALID_FIELD"
    assert refreshing.keeper.settled is None


async def test_a_caller_that_goes_away_stops_nothing(refreshing: Refreshing) -> None:
    """Its deadline is not the pair's."""
    refreshing.endpoint.hold()
    caller = refreshing.begin()
    await settle()
    caller.cancel()
    refreshing.endpoint.go_on()
    assert await refreshing.refresher.refresh(BOT, 1) == 2
    assert refreshing.endpoint.asked == {refreshing.token: 1}


async def test_a_flight_has_neither_the_deadline_nor_the_credential_of_its_first_caller(
    refreshing: Refreshing,
) -> None:
    """A store that is tried for minutes would be refused for want of time, and be made in the name of whoever came first."""
    with background_call("bot_manager/of a person") as call:
        call.deadline, call.authorization = 1.0, "Bearer of a person"
        await refreshing.refresher.refresh(BOT, 1)
    assert refreshing.keeper.served
    assert all(
        served is not None and served.deadline is None and not served.authorization
        for served in refreshing.keeper.served
    )


async def test_a_process_that_stops_tries_once_more_to_store(refreshing: Refreshing) -> None:
    """A roll-out must not cost an account."""
    refreshing.keeper.fail_next("store", AWAY)
    waiting = refreshing.begin()
    await settle()
    assert refreshing.keeper.version == 1
    await refreshing.tasks.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert refreshing.endpoint.is_newest(refreshing.keeper.shown())


async def test_pairs_in_memory_are_bounded(refreshing: Refreshing) -> None:
    """A vault that is away for a day must not fill memory with the tokens of a whole fleet."""
    refreshing.endpoint.hold()
    refreshing.keeper.fail_next("claim", AWAY, MAX_FLIGHTS)
    flights = [asyncio.create_task(refreshing.refresher.refresh(new_id(), 1)) for _ in range(MAX_FLIGHTS)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as refused:
        await refreshing.refresher.refresh(BOT, 1)
    assert refused.value.reason == "OVERLOADED"
    await asyncio.gather(*flights, return_exceptions=True)
    refreshing.endpoint.go_on()
    assert await refreshing.refresher.refresh(BOT, 1) == 2


async def test_no_line_of_the_log_shows_a_token(refreshing: Refreshing) -> None:
    """Not even where everything goes wrong."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message} {message.record['extra']}"), level="TRACE")
    try:
        token = refreshing.token
        refreshing.endpoint.fail_next(RuntimeError(token))
        told = [repr(await refreshing.refused())]
        refreshing.keeper.fail_next("store", AWAY)
        refreshing.keeper.fail_next("release", AWAY)
        waiting = refreshing.begin()
        await refreshing.clock.advance(SECOND)
        await waiting
        told.append(repr(await refreshing.keeper.pair(BOT)))
    finally:
        logger.remove(sink)
    assert lines
    values = {value for version in (1, 2) for value in refreshing.keeper.shown(version).values()}
    assert not [text for text in (*lines, *told) for value in values if value in text]
