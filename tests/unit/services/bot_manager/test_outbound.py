"""Addresses that people give do not lead into the network that the service stands in."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.errors import InvalidArgument
from services.bot_manager.outbound import check_url, is_public, open_session


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - told apart, not bound to
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::1",
        "2001:db8::1",
        "192.0.2.1",
        "fc00::1",
        "localhost",
        "",
        "not an address",
    ],
)
def test_addresses_that_are_not_public_are_told_apart(address: str) -> None:
    """Loopback, private and link-local ones (a cloud's metadata), in every spelling that a gateway understands."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address: str) -> None:
    """The guard is no wall."""
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https:///path",
        "https://user:secret@example.org/",
        "https://example.org/#part",
        "https://example.org:99999/",
        "https://exam ple.org/",
        "https://[::1/",
        f"https://example.org/{'x' * 2048}",
        "",
    ],
)
def test_urls_that_cannot_be_called_are_refused(url: str) -> None:
    """The one who types it hears of it, not the log of deliveries a day later."""
    with pytest.raises(InvalidArgument) as refused:
        check_url(url, "webhook.url", allow_http=False)
    assert refused.value.violations[0].field == "webhook.url"


def test_plain_http_is_for_those_who_allow_it() -> None:
    """Signed is not encrypted: what is in an event is for the receiver alone."""
    check_url("http://example.org:8080/hook?x=1", "url", allow_http=True)
    check_url("https://example.org/hook", "url", allow_http=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_refused_when_the_socket_is_made(host: str) -> None:
    """A name that resolves to a private address is refused as a literal is; with the setting both are let through."""
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", answer)
    allowed = False
    async with TestServer(app, host="127.0.0.1") as server, open_session(lambda: allowed) as session:
        url = f"http://{host}:{server.port}/"
        with pytest.raises(aiohttp.ClientConnectorError, match="not a public one"):
            await session.get(url)
        assert calls == []
        allowed = True
        async with session.get(url) as response:
            assert await response.text() == "hello"
