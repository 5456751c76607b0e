"""The way to a feed, with a server that misbehaves in every way."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from mesh.errors import FailedPrecondition
from services.bot_manager.feeds.fetcher import MAX_BYTES, MAX_REDIRECTS, FeedFetcher
from services.bot_manager.feeds.model import FeedBody, Validators

NONE = Validators()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server of its own; its address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def allowed() -> AsyncIterator[FeedFetcher]:
    """May go anywhere."""
    fetcher = FeedFetcher(lambda: timedelta(seconds=5), lambda: True)
    yield fetcher
    await fetcher.close()


@pytest.fixture
async def guarded() -> AsyncIterator[FeedFetcher]:
    """As it is by default."""
    fetcher = FeedFetcher(lambda: timedelta(seconds=5), lambda: False)
    yield fetcher
    await fetcher.close()


async def told(fetcher: FeedFetcher, url: str) -> str:
    with pytest.raises(FailedPrecondition) as raised:
        await fetcher.fetch(url, NONE)
    assert raised.value.reason == "CONTENT_UNAVAILABLE"
    assert "127.0.0.1" not in raised.value.message
    return raised.value.message


def answering(**answer: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(**answer)

    return handle


async def test_a_feed_is_fetched_and_asked_whether_it_has_changed(allowed: FeedFetcher) -> None:
    """Most of the time it has not, and its server is glad not to send it again."""
    asked: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers)
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.Response(
            body=b"feed", headers={"ETag": '"1"', "Last-Modified": "Fri, 01 May 2026 12:00:00 GMT"}
        )

    async with serving(handle) as url:
        body = await allowed.fetch(url, NONE)
        assert isinstance(body, FeedBody)
        assert body.content == b"feed"
        assert await allowed.fetch(url, body.validators) is None
    assert "If-None-Match" not in asked[0]
    assert asked[1]["If-Modified-Since"] == "Fri, 01 May 2026 12:00:00 GMT"
    assert "ViveSphere" in asked[0]["User-Agent"]
    assert not {"Authorization", "Cookie"} & set(asked[1])


async def test_a_packed_feed_is_unpacked(allowed: FeedFetcher) -> None:
    """It saves most of the way."""
    async with serving(answering(body=gzip.compress(b"feed"), headers={"Content-Encoding": "gzip"})) as url:
        body = await allowed.fetch(url, NONE)
    assert body is not None
    assert body.content == b"feed"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 404}, "404"),
        ({"status": 500}, "500"),
        ({"status": 304}, "304"),
        ({"body": b"x" * (MAX_BYTES + 1)}, "larger than 2 MiB"),
        (
            {"body": gzip.compress(b"x" * (MAX_BYTES + 1)), "headers": {"Content-Encoding": "gzip"}},
            "larger than 2 MiB",
        ),
        ({"body": b"not gzip", "headers": {"Content-Encoding": "gzip"}}, "cannot be reached"),
        ({"body": b"x", "headers": {"Content-Encoding": "br"}}, "packed"),
        ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "neither http nor https"),
        ({"status": 302, "headers": {"Location": "ftp://example.com/"}}, "neither http nor https"),
        ({"status": 302, "headers": {"Location": "http://user:word@example.com/"}}, "password"),
        ({"status": 302, "headers": {"Location": "http://[broken"}}, "not HTTP"),
        ({"status": 302, "headers": {"Location": "/again"}}, "redirects more than 5"),
    ],
)
async def test_what_a_feed_must_not_do_is_told(allowed: FeedFetcher, answer: Any, words: str) -> None:
    """The schedule says it to people, so it is a sentence; the address, which may hold a key, is not in it."""
    async with serving(answering(**answer)) as url:
        assert words in await told(allowed, url)


async def test_a_feed_may_move_a_few_times(allowed: FeedFetcher) -> None:
    """Servers do, from http to https and to another path."""

    async def handle(request: web.Request) -> web.StreamResponse:
        number = int(request.path.strip("/") or 0)
        if number < MAX_REDIRECTS:
            return web.Response(status=301, headers={"Location": str(number + 1)})
        return web.Response(body=b"feed")

    async with serving(handle) as url:
        body = await allowed.fetch(f"{url}/0", NONE)
    assert body is not None


async def test_a_feed_that_drips_is_given_up(allowed: FeedFetcher) -> None:
    """The limit is for all of it, not for each piece."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    fetcher = FeedFetcher(lambda: timedelta(seconds=0.2), lambda: True)
    async with serving(handle) as url:
        assert "within 0.2 seconds" in await told(fetcher, url)
    await fetcher.close()


async def test_a_private_address_is_refused_by_default(guarded: FeedFetcher) -> None:
    """Literally, by name, and mapped into IPv6."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(body=b"secret")

    async with serving(handle) as url:
        port = url.rsplit(":", 1)[1]
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"):
            assert (
                await told(guarded, f"http://{host}:{port}/")
                == "the feed's address is inside a private network"
            )
    assert asked == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_odd_spellings_of_an_address_lead_nowhere(guarded: FeedFetcher, host: str) -> None:
    """The C library would take them for 127.0.0.1."""
    async with serving(answering(body=b"secret")) as url:
        await told(guarded, f"http://{host}:{url.rsplit(':', 1)[1]}/")


async def test_a_redirect_into_a_private_network_is_refused() -> None:
    """The first address was public; that says nothing about the second."""
    asked: list[str] = []

    async def inside(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(body=b"secret")

    async with serving(inside) as private:
        refused = iter([True, False])
        fetcher = FeedFetcher(lambda: timedelta(seconds=5), lambda: next(refused))
        async with serving(answering(status=302, headers={"Location": private})) as public:
            assert "private network" in await told(fetcher, public)
        await fetcher.close()
    assert asked == []


async def test_a_name_that_resolves_to_something_else_the_second_time_gains_nothing(
    guarded: FeedFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is the address that is connected to, not one that was looked up before."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(body=b"secret")

    def rebinding(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with serving(handle) as url:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        message = await told(guarded, f"http://feeds.example.com:{url.rsplit(':', 1)[1]}/")
    assert "private network" in message
    assert asked == []


@pytest.mark.parametrize("url", ["http://user:word@example.com/feed", "http://user@example.com/feed"])
async def test_an_address_with_a_password_is_refused(guarded: FeedFetcher, url: str) -> None:
    """It would be kept in the clear."""
    assert "password" in await told(guarded, url)


async def test_a_server_that_is_not_there_is_told(allowed: FeedFetcher) -> None:
    """Nobody listens there any more."""
    async with serving(answering(body=b"")) as url:
        pass
    assert await told(allowed, url) == "the feed cannot be reached"
