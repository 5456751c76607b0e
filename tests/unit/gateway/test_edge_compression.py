"""Laws of codings: which one is chosen, and what names a page's bytes."""

import gzip
from typing import Any

import pytest

from gateway.edge.compression import choose
from gateway.edge.static import StaticAnswer
from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders


def headers(**values: str) -> RequestHeaders:
    """Headers by name with underscores for dashes."""
    return RequestHeaders(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]
    )


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
