"""Every fault, seen through a real client: what it receives, and whether the post is there."""

import errno
import time
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from tests.unit.sandbox.clients import Account, X


async def _attempt(account: Account, text: str = "hello", seconds: float = 0.3) -> int | str:
    """Status, or the name of what went wrong on the connection."""
    url = f"{account.x.url}/2/tweets"
    headers = {"Authorization": account.authorization("POST", url)}
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with account.x.session.post(
            url, json={"text": text}, headers=headers, timeout=timeout
        ) as response:
            await response.read()
            return response.status
    except TimeoutError:
        return "timeout"
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        return "reset"


@pytest.mark.parametrize(
    ("kind", "outcome", "stored"),
    [
        ("timeout_before", "timeout", 0),
        ("timeout_after", "timeout", 1),
        ("reset_before", "reset", 0),
        ("reset_after", "reset", 1),
        ("error_500_before", 500, 0),
        ("error_500_after", 500, 1),
        ("html_502", 502, 0),
        ("no_id", 201, 1),
        ("rate_limited", 429, 0),
        ("credits_depleted", 402, 0),
        ("duplicate", 403, 0),
        ("usage_capped", 429, 0),
        ("unauthorized", 401, 0),
        ("suspended", 403, 0),
        ("not_permitted", 403, 0),
        ("cold_reply", 403, 0),
        ("slow", "timeout", 1),
        ("hidden_for_seconds", 201, 1),
    ],
)
async def test_a_fault_hits_once_and_the_post_is_stored_or_not_as_named(
    x: X, kind: str, outcome: int | str, stored: int
) -> None:
    """Exactly-once publishing is proven against these; a fault that lies would prove nothing."""
    alice = await x.account()
    assert (await x.fault(kind, count=1)).status == 201
    assert await _attempt(alice) == outcome
    assert len(await x.posts()) == stored
    assert await _attempt(alice, "after the fault", seconds=5) == 201


async def test_a_reset_is_a_real_one(x: X) -> None:
    """The client's kernel must see RST: an orderly close is another error."""
    alice = await x.account()
    await x.fault("reset_after")
    with pytest.raises(aiohttp.ClientOSError) as broken:
        await alice.post("hello")
    assert broken.value.errno == errno.ECONNRESET


async def test_the_bodies_of_faults_are_what_clients_stumble_over(x: X) -> None:
    """HTML where JSON is expected, success without an id, problems with their types."""
    alice = await x.account()
    await x.fault("html_502")
    html = await alice.post("one")
    assert html.headers["content-type"].startswith("text/html")
    await x.fault("no_id")
    assert (await alice.post("two")).json == {"data": {"text": "two"}}
    await x.fault("credits_depleted")
    assert (await alice.post("three")).json["type"].endswith("/credits-depleted")
    await x.fault("duplicate")
    assert "duplicate content" in (await alice.post("four")).json["detail"]
    await x.fault("rate_limited", seconds=3)
    limited = await alice.post("five")
    assert limited.headers["x-rate-limit-remaining"] == "0"
    assert 3 <= int(limited.headers["x-rate-limit-reset"]) - x.clock() <= 4.1


async def test_a_slow_answer_is_right_in_the_end(x: X) -> None:
    """Slow is not failed."""
    alice = await x.account()
    await x.fault("slow", seconds=0.2)
    started = time.monotonic()
    assert (await alice.post("hello")).json["data"]["id"] == (await x.posts())[0]["id"]
    assert time.monotonic() - started >= 0.2


async def test_faults_come_in_order_and_count_down(x: X) -> None:
    """A test describes a story of failures."""
    alice = await x.account()
    await x.fault("error_500_before", count=2)
    await x.fault("html_502")
    assert [await _attempt(alice, f"post {n}") for n in range(4)] == [500, 500, 502, 201]
    assert (await x.send("GET", "/sandbox/faults")).json == {"faults": []}


async def test_a_fault_can_be_for_one_user(x: X) -> None:
    """One bot fails while the others go on."""
    alice, bob = await x.account("alice"), await x.account("bob")
    await x.fault("error_500_before", user_id=alice.user_id)
    assert (await bob.post("hello")).status == 201
    assert (await alice.post("hello")).status == 500


async def test_a_probability_hits_some_until_cleared(x: X) -> None:
    """Chaos runs for as long as asked."""
    alice = await x.account()
    await x.fault("error_500_before", probability=0.5)
    outcomes = [(await alice.post(f"post {n}")).status for n in range(40)]
    assert 5 < outcomes.count(500) < 35
    assert (await x.send("DELETE", "/sandbox/faults")).json == {"cleared": 1}
    assert {(await alice.post(f"more {n}")).status for n in range(10)} == {201}


async def test_a_fault_after_storing_waits_for_a_post_that_is_stored(x: X) -> None:
    """A refused post must not use the fault up."""
    alice = await x.account()
    await x.fault("error_500_after")
    assert (await alice.post("")).status == 400
    assert (await alice.post("hello")).status == 500


@pytest.mark.parametrize("how_long", [{"seconds": 5}, {"count": 5}])
async def test_a_hidden_post_appears_in_the_timeline_later(x: X, how_long: dict[str, int]) -> None:
    """The reconciler must not take a lagging timeline for a missing post."""
    alice = await x.account()
    await x.fault("hidden_for_seconds", **how_long)
    await x.fault("error_500_after")
    assert (await alice.post("hello")).status == 500
    assert "data" not in (await alice.timeline()).json
    assert len(await x.posts()) == 1
    x.clock.advance(4.9)
    assert "data" not in (await alice.timeline()).json
    x.clock.advance(0.2)
    assert len((await alice.timeline()).json["data"]) == 1


async def test_clearing_faults_shows_hidden_posts(x: X) -> None:
    """After DELETE, X is healthy."""
    alice = await x.account()
    await x.fault("hidden_for_seconds", seconds=500)
    await alice.post_id("hello")
    await x.send("DELETE", "/sandbox/faults")
    assert len((await alice.timeline()).json["data"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "meteor"}, "kind"),
        ({"kind": "slow", "count": 0}, "count"),
        ({"kind": "slow", "count": 1.5}, "count"),
        ({"kind": "slow", "probability": 0}, "probability"),
        ({"kind": "slow", "probability": 1.1}, "probability"),
        ({"kind": "slow", "seconds": -1}, "seconds"),
        ({"kind": "html_502", "seconds": 1}, "seconds"),
        ({"kind": "hidden_for_seconds"}, "seconds"),
        ({"kind": "slow", "user_id": 5}, "user_id"),
        ({"kind": "slow", "when": "now"}, "when"),
        ([], "$"),
    ],
)
async def test_a_wrong_fault_names_its_field(x: X, body: object, field: str) -> None:
    """A misspelt fault that never happens would make a test pass for nothing."""
    answer = await x.send("POST", "/sandbox/faults", body=body)
    assert answer.status == 400
    assert answer.json["error"]["field"] == field


async def test_the_number_of_waiting_faults_is_bounded(x: X) -> None:
    """Everything that waits has a bound."""
    for _ in range(100):
        await x.fault("slow")
    assert (await x.fault("slow")).status == 400


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("usage_capped", "usage-capped"),
        ("suspended", "user-suspended"),
        ("not_permitted", "oauth1-permissions"),
    ],
)
async def test_a_refusal_names_its_problem_type(x: X, kind: str, problem: str) -> None:
    """What follows depends on the type, not on the status."""
    alice = await x.account()
    await x.fault(kind)
    assert (await alice.post("hello")).json["type"].rpartition("/")[2] == problem


async def test_a_skewed_clock_is_wrong_everywhere_until_faults_are_cleared(x: X) -> None:
    """A client must not mix X's clock with its own."""
    alice = await x.account()
    assert (await x.fault("clock_skew", seconds=240)).status == 201
    skewed = await alice.post("ahead")
    assert parsedate_to_datetime(skewed.headers["date"]).timestamp() == int(x.clock()) + 240
    assert int(skewed.headers["x-rate-limit-reset"]) - x.clock() == pytest.approx(900 + 240, abs=1)
    [post] = await x.posts()
    assert datetime.fromisoformat(post["created_at"]).timestamp() == pytest.approx(x.clock() + 240, abs=0.01)
    assert (await x.send("DELETE", "/sandbox/faults")).status == 200
    right = await alice.send("GET", "/2/users/me")
    assert parsedate_to_datetime(right.headers["date"]).timestamp() == int(x.clock())


async def test_a_signature_is_too_old_for_a_clock_that_is_far_ahead(x: X) -> None:
    """As at X, beyond five minutes."""
    alice = await x.account()
    await x.fault("clock_skew", seconds=-400)
    assert (await alice.post("hello")).status == 401


@pytest.mark.parametrize("wrong", [{}, {"seconds": 90_000}, {"seconds": "1"}])
async def test_a_skew_needs_seconds(x: X, wrong: dict[str, object]) -> None:
    """A skew of nothing would prove nothing."""
    assert (await x.fault("clock_skew", **wrong)).status == 400
    assert (await x.fault("slow", seconds=-1)).status == 400
