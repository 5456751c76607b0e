"""What the throttle promises, attempt by attempt, as whoever guesses and whoever owns the account see it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import ResourceExhausted, Unauthenticated
from mesh.secret import Secret
from services.authentication.domain.proving import Prover
from services.authentication.domain.session import Client
from services.authentication.domain.throttle import Rules, ThrottleRule, stranger_lanes, wait
from services.authentication.domain.user import Credentials, User, UserState
from tests.fakes.attempts import MemoryStore
from tests.fakes.clock import START, ManualClock

DAY = timedelta(days=1)
AT_ONCE = timedelta()
RIGHT, WRONG = Secret("correct horse battery"), Secret("wrong horse battery")
HOME, AWAY = "198.51.100.1", "203.0.113.9"
DEVICE = b"a known device.."


def most(rule: ThrottleRule, time: timedelta) -> int:
    """The most attempts that one lane lets in within `time`, a day at most: the free ones and one more at once, then one a pause."""
    attempts, left = rule.free_attempts + 1, time
    while rule.pause(attempts) <= left:
        left -= rule.pause(attempts)
        attempts += 1
    return attempts


def most_at_one_account(rules: Rules, time: timedelta) -> int:
    """What the account's lane lets in, and what those addresses do besides that have stopped to count there: each has counted
    `share` times before, so there are few."""
    few = rules.account.free_attempts // rules.share
    return most(rules.account, time) + few * (most(rules.pair, time) - rules.share)


class Hasher:
    """Stands in for a place to hash: knows the password by its hash, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def verify(self, password: Secret, phc: str | None) -> bool:
        self.asked += 1
        return phc is not None and password.reveal() == phc


class Door:
    """Signing in, without sessions. `ann` and `eve` have accounts."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.clock, self.store, self.hasher = ManualClock(), MemoryStore(), Hasher()
        self.prover = Prover(self.store, None, lambda: self.rules, self.clock)  # type: ignore[arg-type]  # parts of both
        self.store.accounts = {name: self._account(name) for name in ("ann", "eve")}

    @staticmethod
    def _account(name: str) -> Credentials:
        user = User(name, name, "", "", (), UserState.ACTIVE, False, 1, START, START)
        return Credentials(user, RIGHT.reveal(), 1)

    async def knock(
        self, name: str, password: Secret, address: str, device: bytes | None = None
    ) -> str | timedelta:
        """ "in", "failed", or how long to wait."""
        place: Any = self.hasher
        try:
            attempt = await self.prover.prove(place, name, password, Client(address), lambda _: device)
        except ResourceExhausted as refused:
            return refused.retry_after or refused.reason
        except Unauthenticated:
            return "failed"
        async with self.store.transaction() as unit:
            await attempt.succeeded(unit)
        return "in"

    def delay(self, name: str, address: str) -> timedelta:
        """How long an unknown device would have to wait now."""
        keys = stranger_lanes(name, address).keys
        counts = {key: self.store.attempts.counts[key] for key in keys if key in self.store.attempts.counts}
        return wait(counts, self.clock.now())


def addresses() -> Iterator[str]:
    """10,000 different ones."""
    for number in range(10_000):
        yield f"10.1.{number >> 8}.{number & 255}"


@pytest.mark.parametrize("seconds", [0, 1, 30, 301, 901, 3_700, 20_000, 86_399, 90_000])
async def test_one_address_cannot_delay_the_owner_elsewhere_whatever_its_pacing(seconds: int) -> None:
    """1,000 wrong passwords, and the owner signs in at once on a machine that was never seen, at any moment in between."""
    door = Door()
    for _ in range(1_000):
        await door.knock("ann", WRONG, AWAY)
        assert door.delay("ann", HOME) == AT_ONCE
        await door.clock.advance(timedelta(seconds=seconds))
    assert await door.knock("ann", RIGHT, HOME) == "in"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=50, max_size=50))
async def test_nor_by_an_irregular_one(pauses: list[int]) -> None:
    """The same for pacings that nobody thought of."""
    door = Door()
    for seconds in pauses:
        for _ in range(4):
            await door.knock("ann", WRONG, AWAY)
            assert door.delay("ann", HOME) == AT_ONCE
        await door.clock.advance(timedelta(seconds=seconds))


async def test_many_addresses_delay_an_unknown_device_for_a_while_and_a_known_one_never() -> None:
    """However long they go on: who has signed in on a machine before gets in there at once."""
    door = Door()
    longest = timedelta()
    for address in list(addresses())[:600]:
        await door.knock("ann", WRONG, address)
        assert await door.knock("ann", RIGHT, AWAY, DEVICE) == "in"
        longest = max(longest, door.delay("ann", HOME))
        await door.clock.advance(timedelta(seconds=17))
    assert longest == door.rules.account.longest_pause
    await door.clock.advance(door.delay("ann", HOME))
    assert await door.knock("ann", RIGHT, HOME) == "in"


async def test_ten_thousand_names_from_one_address_are_few_guesses() -> None:
    """Trying one common password with every name."""
    door, began = Door(), START
    for number in range(10_000):
        await door.knock(f"name{number}", WRONG, AWAY)
        await door.clock.advance(timedelta(seconds=1))
    assert door.hasher.asked <= most(door.rules.address, door.clock.now() - began)


async def test_ten_thousand_addresses_at_one_name_are_few_guesses() -> None:
    """A botnet has addresses enough, so they must not be what bounds it."""
    door, began = Door(), START
    for address in addresses():
        await door.knock("ann", WRONG, address)
        await door.clock.advance(timedelta(seconds=1))
    assert door.hasher.asked <= most(door.rules.account, door.clock.now() - began)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 60])
async def test_whoever_comes_at_every_moment_that_is_open_stays_within_a_day_s_bound(count: int) -> None:
    """The greediest way for any number of addresses: each knocks as soon as it may."""
    door = Door()
    sources = list(addresses())[:count]
    while door.clock.now() - START < DAY:
        for address in sources:
            while await door.knock("ann", WRONG, address) == "failed":
                pass
        await door.clock.advance(min(door.delay("ann", address) for address in sources))
    assert door.hasher.asked <= most_at_one_account(door.rules, DAY)
    if count == 1:
        assert door.hasher.asked == most(door.rules.pair, DAY)


async def test_addresses_won_over_weeks_do_not_add_up() -> None:
    """Two new addresses a day, each of which goes on at its own pace: the account forgets none of them while any goes on."""
    door = Door()
    sources = list(addresses())
    for day in range(1, 22):
        before = door.hasher.asked
        for _ in range(97):
            for address in sources[: 2 * day]:
                while await door.knock("ann", WRONG, address) == "failed":
                    pass
            await door.clock.advance(timedelta(minutes=15))
        assert (
            door.hasher.asked - before <= most_at_one_account(door.rules, DAY) + 3
        )  # a quarter more than a day


def test_the_documented_bounds_are_the_arithmetic_s() -> None:
    """What `Rules` and the settings say of a day."""
    rules = Rules()
    assert [most(rule, DAY) for rule in (rules.pair, rules.address, rules.account)] == [110, 396, 306]
    assert (rules.share, most_at_one_account(rules, DAY)) == (5, 516)


async def guesses_of_a_day(door: Door, *, sign_in_between: bool) -> int:
    """Guesses at other names from an address whose owner has an account of their own."""
    guesses = 0
    while door.clock.now() - START < DAY and guesses < 1_000:
        if sign_in_between:
            await door.knock("eve", RIGHT, AWAY)
        guesses += await door.knock(f"name{guesses}", WRONG, AWAY) == "failed"
        await door.clock.advance(door.delay(f"name{guesses}", AWAY))
    return guesses


async def test_an_account_of_one_s_own_buys_no_guesses_at_others() -> None:
    """A right password takes back its own count only, on whichever device."""
    honest = await guesses_of_a_day(Door(), sign_in_between=False)
    assert honest == most(Rules().address, DAY)
    assert await guesses_of_a_day(Door(), sign_in_between=True) <= honest


async def test_a_right_password_leaves_the_address_as_it_was() -> None:
    """Colleagues who share an address do not pay for one another's sign-ins, however many."""
    door = Door()
    for number in range(101):
        await door.knock(f"name{number}", WRONG, AWAY)
    await door.clock.advance(door.delay("ann", AWAY))
    for _ in range(100):
        assert await door.knock("ann", RIGHT, AWAY) == "in"


async def test_a_right_password_on_an_unknown_device_clears_the_account_and_on_a_known_one_its_own_count() -> (
    None
):
    """The owner who is in again types the next wrong password as freely as ever."""
    door = Door()
    for address in list(addresses())[:8]:
        await door.knock("ann", WRONG, address)
    for _ in range(5):
        await door.knock("ann", WRONG, AWAY, DEVICE)
    assert await door.knock("ann", RIGHT, AWAY, DEVICE) == "in"
    account = stranger_lanes("ann", HOME).account
    assert door.store.attempts.counts[account].failures == 8
    for _ in range(5):
        assert await door.knock("ann", WRONG, AWAY, DEVICE) == "failed"
    assert await door.knock("ann", RIGHT, HOME) == "in"
    assert not any(key.startswith(account) for key in door.store.attempts.counts)
    assert isinstance(await door.knock("ann", RIGHT, AWAY, DEVICE), str)


async def test_a_known_device_is_no_way_to_guess_without_waiting() -> None:
    """A stolen laptop knows its owner's name and token."""
    door = Door()
    while door.clock.now() - START < DAY:
        answer = await door.knock("ann", WRONG, AWAY, DEVICE)
        await door.clock.advance(answer if isinstance(answer, timedelta) else AT_ONCE)
    assert door.hasher.asked == most(door.rules.pair, DAY)


STEPS = st.lists(
    st.tuples(st.sampled_from([HOME, AWAY, "2001:db8::1", ""]), st.integers(0, 2_000)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
async def test_a_name_that_nobody_has_behaves_like_any_other(steps: list[tuple[str, int]]) -> None:
    """The same answers, the same number of hashes, and the same questions to the database: nothing to measure but noise."""
    seen = []
    for name in ("ann", "nobody"):
        door = Door()
        answers = []
        for address, seconds in steps:
            answers.append(await door.knock(name, WRONG, address))
            await door.clock.advance(timedelta(seconds=seconds))
        seen.append((answers, door.hasher.asked, door.store.attempts.asked))
    assert seen[0] == seen[1]


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(2, 20), st.integers(1, 3_600))
async def test_nobody_waits_longer_than_the_longest_pause_and_then_gets_in(
    steps: list[tuple[str, int]], free: int, longest: int
) -> None:
    """Never a lock, whatever was tried before and whatever the settings."""
    rule = ThrottleRule(free, timedelta(seconds=longest))
    door = Door(Rules(account=rule, address=rule, pair=rule))
    for address, seconds in steps:
        for _ in range(4):
            await door.knock("ann", WRONG, address)
        await door.clock.advance(timedelta(seconds=seconds))
    for address in {address for address, _ in steps}:
        told = door.delay("ann", address)
        assert told <= rule.longest_pause
        await door.clock.advance(told)
        assert await door.knock("ann", RIGHT, address) == "in"


async def test_a_day_after_the_last_failure_nothing_is_left_of_it() -> None:
    """Counts are not a record of people's mistakes."""
    door = Door()
    for address in list(addresses())[:40]:
        await door.knock("ann", WRONG, address)
        await door.clock.advance(door.delay("ann", address))
    await door.clock.advance(DAY + timedelta(seconds=1))
    for _ in range(door.rules.pair.free_attempts + 1):
        assert await door.knock("ann", WRONG, HOME) == "failed"


async def test_an_attempt_that_has_to_wait_counts_nowhere() -> None:
    """Otherwise knocking would keep a door closed."""
    door = Door()
    while await door.knock("ann", WRONG, AWAY) == "failed":
        pass
    before = dict(door.store.attempts.counts)
    for _ in range(50):
        await door.knock("ann", WRONG, AWAY)
    assert door.store.attempts.counts == before
