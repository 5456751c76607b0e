"""Laws of compressed bodies, in both directions, over real HTTP."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
import zstandard

from tests.integration.gateway.shelf import Shelf, shelf
from tests.integration.gateway.test_rest import reason_of

LIMIT = 200_000


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Shelf]:
    """A gateway with a small limit."""
    async with shelf(max_body_bytes=LIMIT) as made:
        yield made


async def raw(shelf: Shelf, path: str, accept: str, method: str = "GET") -> tuple[httpx.Response, bytes]:
    """The answer and its body as it came over the wire."""
    async with shelf.client.stream(method, path, headers={"accept-encoding": accept}) as answer:
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


def plain(answer: httpx.Response, body: bytes) -> bytes:
    """The body without its coding."""
    coding = answer.headers.get("content-encoding", "")
    if not coding:
        return body
    return gzip.decompress(body) if coding == "gzip" else zstandard.decompress(body)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("gzip;q=1.0, zstd;q=0.5", "gzip"), ("br", ""), ("identity", ""), ("", "")],
)  # fmt: skip
async def test_a_list_comes_in_the_coding_that_is_asked_for(served: Shelf, accept: str, coding: str) -> None:
    """Whatever the coding, a cache knows that there are others and the content is the same."""
    answer, body = await raw(served, "/api/v1/books", accept)
    assert answer.headers.get("content-encoding", "") == coding
    assert answer.headers["vary"] == "accept-encoding"
    assert int(answer.headers["content-length"]) == len(body)
    assert len(json.loads(plain(answer, body))["books"]) == 100
    assert (len(body) < 1500) is bool(coding)


async def test_head_says_what_get_would(served: Shelf) -> None:
    """RFC 9110 section 9.3.2: the same headers, the length among them."""
    got, _ = await raw(served, "/api/v1/books", "gzip")
    asked, nothing = await raw(served, "/api/v1/books", "gzip", "HEAD")
    assert nothing == b""
    for name in ("content-encoding", "content-length", "vary", "content-type"):
        assert asked.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/keys/1", "/api/v1/pages?count=3&bytes=2000", "/api/v1/print?bytes=4000", "/api/v1/long?bytes=900"],
)  # fmt: skip
async def test_what_must_not_be_compressed_is_not(served: Shelf, path: str) -> None:
    """Secrets (a field marked debug_redact, however deep), streams, bodies of a service's own; and what is too small to gain."""
    answer, body = await raw(served, path, "gzip, zstd")
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers
    assert len(body) > 900


async def test_a_page_larger_than_a_thread_is_worth_arrives_whole(served: Shelf) -> None:
    """Compressed beside the loop, or sent in pieces: no byte is lost at the seams."""
    for accept in ("zstd", "gzip", "identity"):
        answer, body = await raw(served, f"/api/v1/long?bytes={LIMIT * 3}", accept)
        assert json.loads(plain(answer, body)) == {"text": "x" * LIMIT * 3}


def scrapes(text: bytes) -> bool:
    return b"gateway_http_in_flight" in text


async def test_metrics_are_compressed_for_who_asks(served: Shelf) -> None:
    """Prometheus does at every scrape."""
    answer, body = await raw(served, "/metrics", "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert scrapes(gzip.decompress(body))


def zstd(body: bytes) -> bytes:
    """One frame."""
    return zstandard.ZstdCompressor().compress(body)


BODY = json.dumps({"id": "b" * 2000}).encode()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)), ("GZIP", gzip.compress(BODY)), ("x-gzip", gzip.compress(BODY)), ("zstd", zstd(BODY)), ("identity", BODY),
        ("gzip", gzip.compress(BODY[:5]) + gzip.compress(BODY[5:])), ("zstd", zstd(BODY[:5]) + zstd(BODY[5:])),
    ],
)  # fmt: skip
async def test_a_body_may_come_in_a_coding(served: Shelf, coding: str, body: bytes) -> None:
    """Of one member or frame, or of several, which both formats allow."""
    headers = {"content-encoding": coding, "content-type": "application/json"}
    answer = await served.client.post("/api/v1/books", content=body, headers=headers)
    assert answer.json() == {"text": "b" * 2000}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("plain_bytes", [LIMIT + 1, 8_000_000])
async def test_a_bomb_is_refused_at_the_limit(served: Shelf, coding: str, plain_bytes: int) -> None:
    """Some thousand bytes can stand for gigabytes."""
    spaces = b" " * plain_bytes
    bomb = gzip.compress(spaces) if coding == "gzip" else zstd(spaces)
    assert len(bomb) < LIMIT
    answer = await served.client.post("/api/v1/books", content=bomb, headers={"content-encoding": coding})
    assert (answer.status_code, reason_of(answer)) == (413, "MESSAGE_TOO_LARGE")


WIDE = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=24))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", BODY), ("zstd", BODY), ("gzip", gzip.compress(BODY)[:-1]), ("zstd", zstd(BODY)[:-1]), ("gzip", gzip.compress(BODY) + b"more"),
        ("zstd", zstd(BODY) + b"more"), ("gzip", zlib.compress(BODY)), ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8), ("zstd", WIDE.compress(b" " * 17_000_000)),
    ],
)  # fmt: skip
async def test_a_body_that_is_not_what_it_says_is_refused(served: Shelf, coding: str, body: bytes) -> None:
    """Half of a request is not a request; nor is one whose window would take the memory of many."""
    answer = await served.client.post("/api/v1/books", content=body, headers={"content-encoding": coding})
    assert (answer.status_code, reason_of(answer)) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate", "gzip;q=1", "*"])
async def test_an_unknown_coding_is_refused_with_those_that_would_do(served: Shelf, coding: str) -> None:
    """RFC 9110 section 15.5.16."""
    answer = await served.client.post("/api/v1/books", content=BODY, headers={"content-encoding": coding})
    assert (answer.status_code, reason_of(answer)) == (415, "MALFORMED_REQUEST")
    assert answer.headers["accept-encoding"] == "gzip, zstd"


async def test_a_file_is_passed_on_as_it_comes_and_therefore_plain(served: Shelf) -> None:
    """The service would store the compressed bytes as the file."""
    answer = await served.client.post(
        "/api/v1/scans", content=gzip.compress(BODY), headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert (await served.client.post("/api/v1/scans", content=BODY)).json() == {"text": "scanned"}
