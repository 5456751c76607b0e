"""Files over REST: the body passes through as a client stream, raw or as a form, and is never held whole."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from gateway.uploads import PIECE_BYTES
from tests.integration.gateway.conftest import Running

FILES = "/api/v1/files/holiday"
BOUNDARY = "x-=boundary'"
FORM = {"content-type": f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"'}


@pytest.fixture
def eager(running: Running) -> Iterator[None]:
    """A service that ends uploads before it has read them."""
    running.backend.impatient.add("Store")
    yield
    running.backend.impatient.clear()


def form(*parts: tuple[str, bytes], end: bytes = b"--") -> bytes:
    """A form by hand; the part `file` has a type."""
    body = b"preamble"
    for name, content in parts:
        kind = "\r\nContent-Type: image/png" if name == "file" else ""
        head = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'
        body += head.encode() + content
    return body + f"\r\n--{BOUNDARY}".encode() + end + b"\r\nepilogue"


async def dribble(body: bytes, size: int) -> AsyncIterator[bytes]:
    """The body in small pieces."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def arrived(running: Running) -> tuple[Any, bytes, list[int]]:
    """First message, whole file and sizes of pieces that the service saw."""
    requests = running.backend.seen[-1].requests
    return requests[0], b"".join(one.file.data for one in requests), [len(one.file.data) for one in requests]


async def test_a_raw_body_arrives_in_pieces_with_its_fields(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Path, query, type and key go with the first piece; a file larger than any message is no trouble."""
    body = bytes(range(256)) * 8192
    answer = await client.post(
        FILES,
        params={"note": "by the sea", "sizeBytes": str(len(body))},
        content=dribble(body, 100_000),
        headers={"content-type": "image/png", "idempotency-key": "6f9b7a52-6b52-4a0e-9d4e-3f0f7f6f0a11"},
    )
    assert answer.status_code == 200
    first, data, sizes = arrived(running)
    assert (first.folder, first.note, first.size_bytes) == ("holiday", "by the sea", len(body))
    assert (first.file.content_type, first.request_id[:8]) == ("image/png", "6f9b7a52")
    assert data == body
    assert max(sizes) <= PIECE_BYTES
    assert len(sizes) == 4


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_form_gives_its_fields_and_its_file(
    client: httpx.AsyncClient, running: Running, size: int
) -> None:
    """However the network cuts it, and though the file has things in it that look like a boundary."""
    content = f"\r\n--{BOUNDARY[:-1]}\r\n\r\n--\r\n".encode() + bytes(range(256)) + b"\r\n"
    body = form(("note", "Grüße".encode()), ("size_bytes", b"7"), ("file", content))
    answer = await client.post(FILES, content=dribble(body, size), headers=FORM)
    assert answer.status_code == 200, answer.text
    first, data, _ = arrived(running)
    assert (first.note, first.size_bytes, first.file.content_type) == ("Grüße", 7, "image/png")
    assert data == content


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (form(("note", b"x")), FORM, "MALFORMED_REQUEST"),
        (form(("file", b"x"), ("note", b"x")), FORM, "MALFORMED_REQUEST"),
        (form(("note", b"x"), ("note", b"x"), ("file", b"x")), FORM, "MALFORMED_REQUEST"),
        (form(("note", b"\xff"), ("file", b"x")), FORM, "MALFORMED_REQUEST"),
        (form(("note", b"x" * 20_000), ("file", b"x")), FORM, "MALFORMED_REQUEST"),
        (form(("nothing", b"x"), ("file", b"x")), FORM, "UNKNOWN_FIELD"),
        (form(("size_bytes", b"x"), ("file", b"x")), FORM, "INVALID_FIELD"),
        (form(("file", b"x"))[:-20], FORM, "MALFORMED_REQUEST"),
        (b"", FORM, "MALFORMED_REQUEST"),
        (b"x", {"content-type": "multipart/form-data"}, "MALFORMED_REQUEST"),
        (b"x" * 30_000, FORM, "MALFORMED_REQUEST"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, running: Running, body: bytes, headers: dict[str, str], reason: str
) -> None:
    """Never half of it: a call whose form breaks is cancelled, not completed."""
    answer = await client.post(FILES, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["reason"] == reason


@pytest.mark.parametrize("size", [1, 4096])
async def test_a_field_behind_the_file_is_refused_however_it_comes(
    client: httpx.AsyncClient, size: int
) -> None:
    """Its value would have belonged to the first message, which is gone by then."""
    answer = await client.post(
        FILES, content=dribble(form(("file", b"x"), ("note", b"x")), size), headers=FORM
    )
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "MALFORMED_REQUEST")


async def test_a_service_that_has_enough_answers_at_once(client: httpx.AsyncClient, eager: None) -> None:
    """A refusal must reach a client that is still sending."""
    answer = await client.post(
        FILES, content=dribble(bytes(3_000_000), 50_000), headers={"content-type": "a/b"}
    )
    assert (answer.status_code, answer.json()["message"]) == (400, "enough")


async def test_an_empty_file_is_the_services_to_judge(client: httpx.AsyncClient, running: Running) -> None:
    """The gateway has no opinion of files."""
    assert (await client.post(FILES, content=b"")).status_code == 200
    assert arrived(running)[1] == b""


async def test_a_large_file_passes_in_little_memory(client: httpx.AsyncClient, running: Running) -> None:
    """24 MB through a gateway that takes bodies of 1 MB: what is held is a piece, not the file; the service here keeps it all."""
    piece = bytes(100_000)

    async def much() -> AsyncIterator[bytes]:
        for _ in range(240):
            yield piece

    tracemalloc.start()
    try:
        assert (await client.post(FILES, content=much(), headers={"content-type": "a/b"})).status_code == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(arrived(running)[1]) == 24_000_000
    assert peak < 16_000_000
