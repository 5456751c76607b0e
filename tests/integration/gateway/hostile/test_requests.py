"""Laws of requests that are not what they say: smuggling, floods of headers, broken framing, depth. Every one of them as raw bytes."""

import re

import pytest

from tests.integration.gateway.hostile.support import HOST, Gateway

BODY = b'{"displayName":"a"}'
POST = b"POST /api/v1/things HTTP/1.1\r\n" + HOST
GET = b"GET /api/v1/things/1 HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /api/v1/things/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def sized(body: bytes, header: bytes = b"") -> bytes:
    """A POST with an honest length."""
    return POST + header + b"Content-Length: %d\r\n\r\n" % len(body) + body


CUT = "a body that ends before its length"

REFUSED = {
    # Two ends that disagree on where a request ends (RFC 9112 sections 6 and 7, and 11.2 on smuggling).
    "two different lengths": (POST + b"Content-Length: 2\r\nContent-Length: 19\r\n\r\n" + BODY, 400),
    "a list of lengths": (POST + b"Content-Length: 19, 19\r\n\r\n" + BODY, 400),
    "a length with a sign": (POST + b"Content-Length: +19\r\n\r\n" + BODY, 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
    "a length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY, 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x13\r\n\r\n" + BODY, 400),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "a coding without chunks": (POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    "a coding before chunks": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks that are not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "two lines of codings": (
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a coding behind a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (
        b"POST /api/v1/things HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a chunk size that is none": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk size beyond 64 bits": (CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk size with 0x": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "chunks between bare line feeds": (CHUNKED + b"2\n{}\n0\n\n", 400),
    "a chunk longer than its size": (CHUNKED + b"2\r\n{}XX0\r\n\r\n", 400),
    "a line feed in a chunk extension": (CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n", 400),
    "an endless chunk extension": (CHUNKED + b"2;" + b"a" * 300_000 + b"\r\n{}\r\n0\r\n\r\n", 400),
    "endless trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n", 400),
    CUT: (POST + b"Content-Length: 19\r\n\r\n{", 400),
    # The head of a request (sections 2 to 5).
    "a folded header line": (GET + b"X-A: a\r\n b\r\n\r\n", 400),
    "a carriage return in a value": (GET + b"X-A: a\rb\r\n\r\n", 400),
    "a space before the colon": (b"GET /api/v1/things/1 HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "a NUL in a value": (GET + b"X-A: a\x00b\r\n\r\n", 400),
    "a NUL in the path": (b"GET /api/v1/things/\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a high byte in the path": (b"GET /api/v1/things/\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no version": (b"GET /api/v1/things/1\r\n\r\n", 400),
    "HTTP/2.0 in a request line": (b"GET /api/v1/things/1 HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "no host": (b"GET /api/v1/things/1 HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /api/v1/things/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a method that is no token": (b"G(T /api/v1/things/1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method nobody knows": (b"BREW /api/v1/things/1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "a tunnel": (b"CONNECT elsewhere.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "a TLS greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500, 400),
    "every byte there is": (bytes(range(256)) * 4, 400),
    # Too much of it.
    "a method of 70 kB": (b"A" * 70_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "101 header lines": (GET + b"".join(b"X-%d: a\r\n" % i for i in range(101)) + b"\r\n", 431),
    "a header of 200 kB": (GET + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n", 431),
    "a path of 9 kB": (b"GET /api/v1/things/" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a path of 70 kB": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "a body where none belongs": (GET + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, 400),
    "200,000 open brackets": (sized(b"[" * 200_000), 400),
    "objects 10,000 deep": (sized(b'{"extra":' * 10_000 + b"{}" + b"}" * 10_000), 400),
    "a number of 100,000 digits": (sized(b'{"big":' + b"9" * 100_000 + b"}"), 400),
    "a number beyond all doubles": (sized(b'{"ratio":1e999999999}'), 400),
    "bytes that are not UTF-8": (sized(b'{"id":"\xff\xfe"}'), 400),
}  # fmt: skip


def statuses(answer: bytes) -> list[int]:
    """The status of each answer."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_malformed_or_too_much_is_refused_by_name(attacked: Gateway, name: str) -> None:
    """A 5xx would say that the gateway broke; two answers, that somebody else's request was made of one."""
    raw, status = REFUSED[name]
    answer = await attacked.send(raw, half=name == CUT)
    assert statuses(answer) == [status]
    assert b"smuggled" not in answer


async def test_chunks_beside_a_length_end_the_connection(attacked: Gateway) -> None:
    """RFC 9112 section 6.3: what follows may be somebody's smuggled request, so nothing that follows is read."""
    both = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    answer = await attacked.send(both)
    assert statuses(answer) == [200]
    assert b"connection: close" in answer.lower()


async def test_requests_behind_each_other_are_answered_in_order_up_to_the_first_that_is_none(
    attacked: Gateway,
) -> None:
    """A pipeline is legal (RFC 9112 section 9.3.2); garbage in it ends it."""
    answer = await attacked.send(GET + b"\r\n" + GET.replace(b"/1 ", b"/2 ") + b"\r\nGARBAGE\x00\x01\r\n\r\n")
    assert statuses(answer) == [200, 200, 400]
    assert answer.index(b'{"id":"1"}') < answer.index(b'{"id":"2"}')


async def test_hundreds_of_refusals_leave_nothing_behind(attacked: Gateway) -> None:
    """What is refused is cheap: no descriptor, no task and no request under way stay."""
    await attacked.probe()
    before = await attacked.metrics()
    kinds = [raw for name, (raw, _) in REFUSED.items() if len(raw) < 2_000 and name != CUT]
    for number in range(0, 400, len(kinds)):
        for raw in kinds[: 400 - number]:
            await attacked.send(raw, patience=0.0)
    await attacked.probe()
    await attacked.until("process_open_fds", before["process_open_fds"] + 2)
    await attacked.until_nothing_is_open()
    await attacked.until("gateway_tasks", before["gateway_tasks"] + 2)
