"""OAuth 1.0a: only the right signature over the right request, once and in time."""

import pytest

from tests.unit.sandbox.clients import X


async def test_a_signed_request_is_its_accounts(x: X) -> None:
    """The signature alone tells who calls."""
    alice, bob = await x.account("alice"), await x.account("bob")
    assert (await alice.send("GET", "/2/users/me")).json["data"]["username"] == "alice"
    assert (await bob.send("GET", "/2/users/me")).json["data"]["username"] == "bob"


@pytest.mark.parametrize(
    "wrong",
    [
        {"consumer_secret": "wrong"},
        {"access_token_secret": "wrong"},
        {"consumer_key": "wrong"},
        {"access_token": "1-wrong"},
        {"timestamp": "1"},
        {"timestamp": "soon"},
        {"signature_method": "HMAC-SHA256"},
        {"signature_method": "PLAINTEXT"},
    ],
)
async def test_a_wrong_signature_is_refused_and_nothing_is_posted(x: X, wrong: dict[str, str]) -> None:
    """A client that signs wrongly must find out here, not at X."""
    alice = await x.account()
    answer = await alice.send("POST", "/2/tweets", body={"text": "hello"}, **wrong)
    assert answer.status == 401
    assert answer.json == {
        "type": "about:blank",
        "title": "Unauthorized",
        "detail": "Unauthorized",
        "status": 401,
    }
    assert await x.posts() == []


@pytest.mark.parametrize(
    "header", [None, "Bearer abc", "OAuth", "OAuth oauth_token", "Basic eDp5", 'OAuth a="b"']
)
async def test_anything_but_an_oauth_header_is_refused(x: X, header: str | None) -> None:
    """Malformed credentials are a 401, never a crash."""
    headers = {} if header is None else {"Authorization": header}
    answer = await x.send("POST", "/2/tweets", body={"text": "hello"}, headers=headers)
    assert answer.status == 401
    assert "x-sandbox-reason" in answer.headers


async def test_a_nonce_works_once(x: X) -> None:
    """A replayed request must not post twice."""
    alice = await x.account()
    first = await alice.send("POST", "/2/tweets", body={"text": "one"}, nonce="n1")
    again = await alice.send("POST", "/2/tweets", body={"text": "two"}, nonce="n1")
    assert (first.status, again.status) == (201, 401)
    assert again.headers["x-sandbox-reason"] == "oauth_nonce was used before"
    assert len(await x.posts()) == 1


async def test_a_wrong_signature_burns_no_nonce(x: X) -> None:
    """Else a stranger could lock an account out."""
    alice = await x.account()
    await alice.send("GET", "/2/users/me", nonce="n1", access_token_secret="wrong")
    assert (await alice.send("GET", "/2/users/me", nonce="n1")).status == 200


@pytest.mark.parametrize(("skew", "status"), [(-299, 200), (299, 200), (-302, 401), (302, 401)])
async def test_a_clock_may_be_five_minutes_off(x: X, skew: int, status: int) -> None:
    """The tolerance is X's."""
    alice = await x.account()
    timestamp = str(int(x.clock()) + skew)
    assert (await alice.send("GET", "/2/users/me", timestamp=timestamp)).status == status


async def test_the_query_is_part_of_the_signature(x: X) -> None:
    """A header signed for one query is no good for another."""
    alice = await x.account()
    signed = alice.authorization("GET", f"{x.url}/2/tweets?ids=1")
    other = await x.send("GET", "/2/tweets?ids=2", headers={"Authorization": signed})
    same = await x.send("GET", "/2/tweets?ids=1", headers={"Authorization": signed})
    assert (other.status, same.status) == (401, 200)


async def test_the_host_is_part_of_the_signature(x: X) -> None:
    """A client that signs for X's host but calls another would fail at X as well."""
    alice = await x.account()
    signed = alice.authorization("GET", "https://api.x.com/2/users/me")
    assert (await x.send("GET", "/2/users/me", headers={"Authorization": signed})).status == 401
