"""Rate limits: counted per user and endpoint, told in every answer, refused when used up."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from sandbox.app import running
from sandbox.limits import ENDPOINTS, Limits
from sandbox.settings import Settings
from tests.unit.sandbox.clients import FakeClock, X


async def test_every_answer_tells_the_window(x: X) -> None:
    """Also errors do: the manager plans by these headers."""
    alice = await x.account()
    good, bad = await alice.post("hello"), await alice.post("")
    assert good.headers["x-rate-limit-limit"] == "100"
    assert good.headers["x-rate-limit-remaining"] == "99"
    assert bad.headers["x-rate-limit-remaining"] == "98"
    assert int(good.headers["x-rate-limit-reset"]) - x.clock() == pytest.approx(900, abs=1)
    assert good.headers["x-app-limit-24hour-limit"] == "10000"
    assert good.headers["x-user-limit-24hour-remaining"] == "2399"


async def test_the_hundred_and_first_post_waits_for_the_next_window(x: X) -> None:
    """The limit of POST /2/tweets, and that it ends."""
    alice, bob = await x.account("alice"), await x.account("bob")
    statuses = [(await alice.post(f"post {n}")).status for n in range(101)]
    assert statuses == [201] * 100 + [429]
    refused = await alice.post("one more")
    assert refused.headers["x-rate-limit-remaining"] == "0"
    assert refused.json["status"] == 429
    assert (await bob.post("hello")).status == 201
    assert (await alice.send("GET", "/2/users/me")).status == 200
    x.clock.now = int(refused.headers["x-rate-limit-reset"])
    assert (await alice.post("after the reset")).status == 201


def test_the_app_window_counts_all_users() -> None:
    """Many bots under one app share its daily limit."""
    limits = Limits(FakeClock())
    users = [str(n) for n in range(101)]
    for user in users[:100]:
        assert all(limits.take("create_post", user).allowed for _ in range(100))
    refused = limits.take("create_post", users[100])
    assert not refused.allowed
    assert refused.headers["x-app-limit-24hour-remaining"] == "0"


def test_a_silent_window_reports_itself_when_it_refuses() -> None:
    """A refused client must learn when to come back."""
    limits = Limits(FakeClock())
    silent = ENDPOINTS["get_posts"][1]
    for _ in range(silent.limit):
        limits.take("get_posts", "1")
    refused = limits.take("get_posts", "2")
    assert not refused.allowed
    assert refused.headers["x-rate-limit-remaining"] == "0"


@pytest.fixture
async def unlimited(clock: FakeClock, session: aiohttp.ClientSession) -> AsyncIterator[X]:
    async with running(Settings(port=0, rate_limits=False), clock) as url:
        yield X(url, clock, session)


async def test_limits_can_be_switched_off(unlimited: X) -> None:
    """Load tests need it; the headers stay full, so clients do not slow down by themselves."""
    alice = await unlimited.account()
    answers = [await alice.post(f"post {n}") for n in range(102)]
    assert {answer.status for answer in answers} == {201}
    assert answers[-1].headers["x-rate-limit-remaining"] == "100"
