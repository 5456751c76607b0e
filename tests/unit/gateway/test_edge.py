"""Laws of the edge that need no connection: origins, codings, admission by a virtual clock, what the contract says, what proxies say."""

import asyncio
import gzip
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from gateway.browser.sessions import Browsers
from gateway.edge import admission as admission_module
from gateway.edge.admission import Admission, Ticket, client_key
from gateway.edge.compression import choose
from gateway.edge.cors import Cors, cors_of, parse_origins
from gateway.edge.front import Front
from gateway.edge.stall import StallGuard
from gateway.edge.static import StaticAnswer
from gateway.edge.traits import Traits, traits_of
from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders
from gateway.proxies import Proxies, parse_networks
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import guest_set, shelf_set

PRODUCT = Path(__file__).parents[3] / "generated" / "vivesphere.binpb"


def headers(**values: str) -> RequestHeaders:
    """Headers by name with underscores for dashes."""
    return RequestHeaders(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]
    )


# origins


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()), (" , ", ()), ("*", ("*",)), ("https://a.example", ("https://a.example",)), ("HTTPS://A.example:443", ("https://a.example",)),
        ("http://localhost:5173, http://[::1]:80", ("http://localhost:5173", "http://[::1]")),
    ],
)  # fmt: skip
def test_origins_are_kept_as_browsers_write_them(given: str, origins: tuple[str, ...]) -> None:
    """They are compared as text."""
    assert parse_origins(given) == origins
    assert (cors_of(origins) is None) is (origins == ())


@pytest.mark.parametrize(
    "given", ["null", "a.example", "https://a.example/", "https://*.example/x", "ftp://a.example", "*, https://a.example", "https://\u00e4.example", "https://u:p@a.example"]
)  # fmt: skip
def test_what_no_browser_sends_refuses_the_start(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin with a path would match nothing, and its operator would look for the reason for hours."""
    monkeypatch.setenv("VIVESPHERE_GATEWAY_CORS_ORIGINS", given)
    with pytest.raises(ValidationError, match="cors_origins"):
        Limits()


def test_credentials_are_never_allowed() -> None:
    """Whatever is configured: the header that would let a page use cookies does not exist here."""
    for cors in (Cors(("*",)), Cors(("https://a.example",))):
        sent = [*cors.headers("https://a.example"), *cors.headers(None), *cors.preflight("GET")]
        assert not [name for name, _ in sent if b"credentials" in name]


# codings


@pytest.mark.parametrize(
    ("given", "coding"),
    [
        ("", ""), ("gzip", "gzip"), ("GZIP", "gzip"), ("x-gzip", "gzip"), ("zstd;q=0.001", "zstd"), ("gzip;q=0", ""), ("*", "zstd"), ("*;q=0", ""),
        ("zstd;q=0, *", "gzip"), ("gzip ; q=0.8 , zstd ; Q=0.2", "gzip"), ("identity, gzip;q=0.5", ""), ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=2", ""), ("gzip;q=a, zstd", "zstd"), ("gzip;x=1", ""), ("\u00e4, gzip", "gzip"), ("br, deflate", ""), ("gzip;q=0.0000", ""),
        ("a," * 300 + "gzip", ""),
    ],
)  # fmt: skip
def test_the_coding_is_the_one_that_is_liked_best(given: str, coding: str) -> None:
    """RFC 9110 section 12.5.3; whatever cannot be read asks for nothing, and plain is never wrong."""
    assert choose(given) == coding


async def answer(page: StaticAnswer, **given: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a page."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("a page reads no body")

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {
        "method": "GET",
        "raw_path": b"/",
        "query_string": b"",
        "http_version": "1.1",
        "client": ("::1", 1),
    }
    await page(Exchange(scope, receive, send, headers(**given)))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_each_coding_of_a_page_has_an_etag_of_its_own() -> None:
    """RFC 9110 section 8.8.3: a strong tag names bytes; one of another coding is no 304."""
    body = b"<p>" + b"word " * 1000
    page = StaticAnswer(b"text/html; charset=utf-8", body, [(b"cache-control", b"no-cache")])
    tags = set()
    for accept in ("gzip", "zstd", "identity"):
        status, sent, got = await answer(page, accept_encoding=accept)
        assert (status, sent[b"vary"], sent[b"cache-control"]) == (200, b"accept-encoding", b"no-cache")
        assert len(got) == int(sent[b"content-length"])
        tag = sent[b"etag"].decode()
        tags.add(tag)
        assert (await answer(page, accept_encoding=accept, if_none_match=tag))[0] == 304
        if accept == "gzip":
            assert gzip.decompress(got) == body
        else:
            assert (await answer(page, accept_encoding="gzip", if_none_match=tag))[0] == 200
    assert len(tags) == 3


# admission


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(made: Admission, address: str) -> GatewayError | None:
    """Let a call in and out again; the refusal, if it is refused."""
    try:
        made.enter(address).leave()
    except GatewayError as error:
        return error
    return None


def test_a_bucket_fills_with_time_and_never_over() -> None:
    """In the long run a client has its rate, and after a pause its burst."""
    clock = Clock()
    made = Admission(Limits(requests_per_second=2, requests_burst=4), clock)

    def taken() -> int:
        return sum(refusal(made, "192.0.2.1") is None for _ in range(10))

    assert taken() == 4
    error = refusal(made, "192.0.2.1")
    assert error is not None
    assert (error.reason, error.retry_after_seconds) == ("RATE_LIMITED", 0.5)
    clock.now += error.retry_after_seconds
    assert taken() == 1
    clock.now += 1.5
    assert taken() == 3
    clock.now += 1e6
    assert taken() == 4


def test_a_rate_of_zero_is_no_bound() -> None:
    """Who has a limiter in front needs none here."""
    made = Admission(Limits(requests_per_second=0, requests_burst=1))
    assert [refusal(made, "192.0.2.1") for _ in range(100)] == [None] * 100


def test_what_is_known_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses must not fill the memory; who has calls under way is not forgotten."""
    monkeypatch.setattr(admission_module, "MAX_CLIENTS", 10)
    made = Admission(Limits(requests_per_second=0.01, requests_burst=1), Clock())
    busy = made.enter("192.0.2.1")
    for number in range(50):
        refusal(made, f"198.51.100.{number}")
    assert made.known == 10
    busy.leave()
    assert cast(GatewayError, refusal(made, "192.0.2.1")).reason == "RATE_LIMITED"
    assert refusal(made, "198.51.100.0") is None  # forgotten: a full bucket
    assert made.known == 10


def test_a_call_that_may_not_become_a_stream_still_counts_as_a_call() -> None:
    """Places are given back once, whichever way a call ends."""
    made = Admission(Limits(max_streams=1, max_in_flight=2))
    tickets = [made.enter("192.0.2.1") for _ in range(2)]
    tickets[0].becomes_stream()
    tickets[0].becomes_stream()
    with pytest.raises(GatewayError, match="streams"):
        tickets[1].becomes_stream()
    others: list[Ticket] = [made.enter("192.0.2.2")]
    assert cast(GatewayError, refusal(made, "192.0.2.3")).http_status == 503
    for ticket in (*tickets, *others):
        ticket.leave()
    made.enter("192.0.2.1").becomes_stream()


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("127.0.0.1", ""), ("127.9.9.9", ""), ("::1", ""), ("::ffff:127.0.0.1", ""), ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64"), ("2001:db8:0:1::", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"), ("", "unknown"),
    ],
)  # fmt: skip
def test_a_client_is_an_address_or_a_network(address: str, key: str) -> None:
    """The two ways to write an IPv4 address are one; what is no address is somebody, and not loopback."""
    assert client_key(address) == key


# stalls


class Loop:
    """The two methods of an event loop that a guard uses, with time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Any) -> "Loop":
        self.due.append((self.now + seconds, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def pass_seconds(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due and self.due[0][0] <= end:
            self.now, callback = self.due.pop(0)
            callback()
        self.now = end


def guard() -> tuple[Loop, StallGuard, list[float]]:
    """A guard of ten seconds, and when it found a stall."""
    loop, stalled = Loop(), []
    made = StallGuard(10, lambda: stalled.append(loop.now), cast(asyncio.AbstractEventLoop, loop))
    return loop, made, stalled


def test_a_slow_reader_is_not_a_stalled_one() -> None:
    """Pieces that each take long, and pauses of the service between them, may last for hours."""
    loop, made, stalled = guard()
    for _ in range(100):
        made.begin()
        loop.pass_seconds(9.9)
        made.end()
        loop.pass_seconds(25)
    assert stalled == []


@pytest.mark.parametrize("before", [0, 3, 9.99, 10, 17])
def test_a_piece_that_nobody_takes_is_found_in_time(before: float) -> None:
    """However long the answer has been going well."""
    loop, made, stalled = guard()
    loop.pass_seconds(before)
    made.begin()
    loop.pass_seconds(100)
    assert stalled == [pytest.approx(100 + before + 10)]
    made.stop()


def test_a_guard_that_is_stopped_finds_nothing() -> None:
    """The answer is over."""
    loop, made, stalled = guard()
    made.begin()
    made.stop()
    loop.pass_seconds(100)
    assert stalled == []


# the contract


def traits(raw: bytes) -> dict[str, Traits]:
    """Traits of the first route of each method."""
    schema = Schema(raw)
    found: dict[str, Traits] = {}
    for endpoint, one in traits_of(schema, Transcoder(schema).endpoints).items():
        found.setdefault(endpoint.method.name, one)
    return found


def test_what_can_hold_a_secret_is_found_however_deep() -> None:
    """In a map here; in a message in a list in the product."""
    shelf, guest = traits(shelf_set()), traits(guest_set())
    assert {name for name, one in shelf.items() if not one.compressible} == {
        "GetKey",
        "Pages",
        "Print",
        "Scan",
    }
    assert {name for name, one in guest.items() if not one.compressible} == {"Enter", "Renew", "Watch"}


def test_the_products_secrets_are_never_compressed() -> None:
    """Every answer that gives a token or password, by the options of the contract."""
    product = traits(PRODUCT.read_bytes())
    for name in ("Login", "RefreshToken", "CreateApiKey"):
        assert not product[name].compressible
    for name in ("ListPosts", "ListBots", "ListRoles", "QueryLogs", "GetPost"):
        assert product[name].compressible


def test_etags_are_found_where_the_resource_is() -> None:
    """The resource is the answer, or what response_body names; in requests beside the id, or in the body's resource."""
    product = traits(PRODUCT.read_bytes())

    def names(one: Any) -> list[str]:
        return [field.name for field in one]

    assert names(product["GetBot"].answer_etag)[-1] == "etag"
    assert names(product["UpdateBot"].request_etag) == ["bot", "etag"]
    assert names(product["DeleteBot"].request_etag) == ["etag"]
    assert names(product["UpdateSetting"].request_etag) == ["etag"]
    assert product["ListBots"].answer_etag == product["ListBots"].request_etag == ()


# what stands in front

YEAR = "max-age=31536000"
STS = b"strict-transport-security"


def look(
    given: RequestHeaders, peer: str, scheme: str, trusted: str = "10.0.0.0/8", hsts: str = YEAR
) -> bool:
    """Whether HSTS is sent."""
    return (
        dict(Front(Proxies(parse_networks(trusted)), None, hsts).look(given, peer, scheme)).get(STS)
        == YEAR.encode()
    )


@pytest.mark.parametrize(
    ("peer", "scheme", "proto", "host", "sent"),
    [
        ("192.0.2.1", "https", None, "bots.example", True), ("192.0.2.1", "http", None, "bots.example", False), ("192.0.2.1", "http", "https", "bots.example", False),
        ("10.0.0.1", "http", "https", "bots.example", True), ("10.0.0.1", "http", "HTTPS", "bots.example", True), ("10.0.0.1", "http", "https, http", "bots.example", False),
        ("10.0.0.1", "http", "http, https", "bots.example", True), ("10.0.0.1", "https", "http", "bots.example", False), ("127.0.0.1", "https", None, "localhost:8443", False),
        ("10.0.0.1", "http", "https", "[::1]", False),
    ],
)  # fmt: skip
def test_tls_is_what_the_connection_or_a_trusted_proxy_says(
    peer: str, scheme: str, proto: str | None, host: str, sent: bool
) -> None:
    """Anybody can send the header; HSTS over plain HTTP means nothing and on loopback too much."""
    given = headers(host=host) if proto is None else headers(host=host, x_forwarded_proto=proto)
    assert look(given, peer, scheme) is sent
    assert not look(given, peer, scheme, hsts="")


def test_the_host_is_the_one_that_the_browser_asked_for() -> None:
    """A proxy that writes its own Host says the browser's in X-Forwarded-Host; it decides about cookies and origins."""
    given = headers(host="127.0.0.1:8080", x_forwarded_host="bots.example", x_forwarded_proto="https")
    look(given, "192.0.2.1", "http")
    assert (given.get(b"host"), given.secure) == ("127.0.0.1:8080", False)
    look(given, "10.0.0.1", "http")
    assert (given.get(b"host"), given.secure) == ("bots.example", True)


def test_a_forwarded_host_that_is_none_is_refused() -> None:
    """It came through a proxy that the operator trusts and is nobody's host."""
    with pytest.raises(GatewayError, match="x-forwarded-host"):
        look(headers(host="h", x_forwarded_host="a/b"), "10.0.0.1", "http")


@pytest.mark.parametrize("value", ["max-age=1", "max-age=63072000; includeSubDomains; preload", ""])
def test_hsts_is_the_operators_to_say(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subdomains are not ours to bind."""
    monkeypatch.setenv("VIVESPHERE_GATEWAY_HSTS", value)
    assert Limits().hsts == value


@pytest.mark.parametrize("value", ["1", "max-age=x", "max-age=1\r\nset-cookie: a=b"])
def test_an_hsts_header_that_is_none_refuses_the_start(value: str) -> None:
    """Browsers would ignore it without a word."""
    with pytest.raises(ValidationError, match="hsts"):
        Limits(hsts=value)


def test_over_tls_cookies_are_secure_even_on_loopback() -> None:
    """Behind a proxy on the same machine the gateway sees loopback and the browser does not."""
    schema = Schema(guest_set())
    transcoder = Transcoder(schema)
    browsers = Browsers(schema, transcoder.endpoints)
    leave, _ = transcoder.route("POST", "/api/v1/leave")
    given = headers(host="127.0.0.1:8080", sec_fetch_site="same-origin")
    for secure in (False, True):
        given.secure = secure
        call = browsers.enter(given, "POST", leave)
        assert call is not None
        _, cookies = call.keep(b"")
        assert cookies[0][1].startswith(b"__Host-") is secure
        assert (b"; Secure" in cookies[0][1]) is secure
