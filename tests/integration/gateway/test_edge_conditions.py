"""Laws of ETag, If-Match and If-None-Match, over real HTTP and a service that compares etags."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.gateway.shelf import Shelf, shelf
from tests.integration.gateway.test_rest import fields_of, reason_of


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Shelf]:
    """One gateway for all tests here; every test leaves the book at etag 7."""
    async with shelf() as made:
        yield made


@pytest.mark.parametrize("path", ["/api/v1/books/1", "/api/v1/books/1:read"])
async def test_a_resources_etag_is_a_header(served: Shelf, path: str) -> None:
    """Whether the answer is the resource or holds it; and nobody stores it, etag or not."""
    answer = await served.client.get(path)
    assert answer.headers["etag"] == '"7"'
    assert answer.json()["etag"] == "7"
    assert answer.headers["cache-control"] == "no-store"
    assert "vary" not in answer.headers


@pytest.mark.parametrize("path", ["/api/v1/books/none", "/api/v1/books", "/api/v1/long"])
async def test_what_has_no_etag_gets_none(served: Shelf, path: str) -> None:
    """An absent resource, a list, a message without the field."""
    answer = await served.client.get(path, headers={"if-none-match": "*"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ('"7"', 304), ('W/"7"', 304), ('"6", "7"', 304), ('"6" , W/"7"', 304), ("*", 304), ('"6"', 200), ('"6","8"', 200),
        ("7", 200), ('"7', 200), ('"7" "8"', 200), ("", 200), (',"6",, "7"', 304), ('"6";"7"', 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_none_match_saves_the_body(served: Shelf, given: str, status: int, method: str) -> None:
    """RFC 9110 section 13.1.2: weakly compared; what cannot be read matches nothing, and the whole answer is never wrong."""
    answer = await served.client.request(method, "/api/v1/books/1", headers={"if-none-match": given})
    assert answer.status_code == status
    assert answer.headers["etag"] == '"7"'
    assert answer.headers["cache-control"] == "no-store"
    assert bool(answer.content) is (status == 200 and method == "GET")


async def test_lines_of_if_none_match_are_one_list(served: Shelf) -> None:
    """RFC 9110 section 5.3."""
    headers = [("if-none-match", '"7"'), ("if-none-match", '"8"')]
    assert (await served.client.get("/api/v1/books/1", headers=headers)).status_code == 304


async def test_a_service_may_send_an_etag_of_its_own(served: Shelf) -> None:
    """It knows better; the field then says nothing."""
    answer = await served.client.get("/api/v1/books/tagged")
    assert answer.headers.get_list("etag") == ['W/"own"']
    again = await served.client.get("/api/v1/books/tagged", headers={"if-none-match": '"own"'})
    assert again.status_code == 304


async def change(served: Shelf, method: str, condition: str, body: str = "") -> httpx.Response:
    """PATCH, DELETE or POST with an If-Match; `body` is the etag in the request itself."""
    headers = {"if-match": condition}
    if method == "PATCH":
        content = {"title": "t"} | ({"etag": body} if body else {})
        return await served.client.patch("/api/v1/books/1", json=content, headers=headers)
    if method == "DELETE":
        query = {"etag": body} if body else None
        return await served.client.delete("/api/v1/books/1", params=query, headers=headers)
    content = {"etag": body} if body else {}
    return await served.client.post("/api/v1/books/1:lend", json=content, headers=headers)


def etag_of(served: Shelf) -> str:
    """The etag that the service was asked to compare."""
    request = served.request
    found: str = request.book.etag if hasattr(request, "book") else request.etag
    return found


METHODS = pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])


@METHODS
async def test_if_match_is_the_requests_etag(served: Shelf, method: str) -> None:
    """The service compares it where it writes; a mask names only what the client changes."""
    answer = await change(served, method, '"7"')
    assert answer.status_code == 200
    assert etag_of(served) == "7"
    if method == "PATCH":
        assert list(served.request.update_mask.paths) == ["title"]


@METHODS
async def test_a_stale_if_match_is_412(served: Shelf, method: str) -> None:
    """RFC 9110 section 13.1.1: somebody was faster. Given in the body the same is 409, as it always was."""
    answer = await change(served, method, '"6"')
    assert (answer.status_code, reason_of(answer)) == (412, "ETAG_MISMATCH")
    assert answer.json()["code"] == 10


async def test_a_stale_etag_in_the_body_stays_409(served: Shelf) -> None:
    """Clients that know nothing of If-Match see no change."""
    answer = await served.client.patch("/api/v1/books/1", json={"title": "t", "etag": "6"})
    assert (answer.status_code, reason_of(answer)) == (409, "ETAG_MISMATCH")


async def test_another_conflict_is_no_failed_condition(served: Shelf) -> None:
    """412 says that the etag was stale and nothing else."""
    answer = await served.client.post("/api/v1/books/claimed:lend", json={}, headers={"if-match": '"7"'})
    assert (answer.status_code, reason_of(answer)) == (409, "ROTATION_CLAIMED")


@METHODS
async def test_a_body_that_agrees_passes_and_one_that_does_not_is_refused(served: Shelf, method: str) -> None:
    """Nobody can say which of the two the client meant."""
    assert (await change(served, method, '"7"', "7")).status_code == 200
    seen = len(served.backend.seen)
    answer = await change(served, method, '"7"', "8")
    assert (answer.status_code, reason_of(answer)) == (400, "CONFLICTING_FIELD")
    assert fields_of(answer) == ["book.etag" if method == "PATCH" else "etag"]
    assert len(served.backend.seen) == seen


@METHODS
async def test_a_star_asks_for_any_state(served: Shelf, method: str) -> None:
    """The service finds out by itself whether there is one."""
    assert (await change(served, method, "*")).status_code == 200
    assert etag_of(served) == ""
    assert (await change(served, method, "*", "6")).status_code == 412


@pytest.mark.parametrize("condition", ['W/"7"', '""'])
async def test_what_can_match_nothing_is_412_without_a_call(served: Shelf, condition: str) -> None:
    """If-Match compares strongly; and an empty etag, passed on, would be no condition at all."""
    seen = len(served.backend.seen)
    assert (await change(served, "PATCH", condition)).status_code == 412
    assert len(served.backend.seen) == seen


@pytest.mark.parametrize("condition", ["7", '"7', "'7'", '"6", "7"', '"7",', "", '"\u00e4"', '"a b"'])
async def test_a_condition_that_cannot_be_read_is_refused(served: Shelf, condition: str) -> None:
    """To ignore it would overwrite what it was to protect; a list is more than a service takes."""
    seen = len(served.backend.seen)
    answer = await served.client.patch(
        "/api/v1/books/1", json={"title": "t"}, headers=[(b"if-match", condition.encode("latin-1"))]
    )
    assert (answer.status_code, fields_of(answer)) == (400, ["if-match"])
    assert len(served.backend.seen) == seen


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [("POST", "/api/v1/books", "if-match"), ("PATCH", "/api/v1/books/1", "if-none-match"), ("POST", "/api/v1/scans", "if-match")],
)  # fmt: skip
async def test_a_condition_without_an_etag_to_hold_it_against_is_refused(
    served: Shelf, method: str, path: str, header: str
) -> None:
    """The client believes itself protected."""
    answer = await served.client.request(method, path, content=b"{}", headers={header: "*"})
    assert (answer.status_code, fields_of(answer)) == (400, [header])


async def test_if_match_given_twice_is_refused(served: Shelf) -> None:
    """Only one can be the one."""
    headers = [("if-match", '"7"'), ("if-match", '"8"')]
    answer = await served.client.patch("/api/v1/books/1", json={"title": "t"}, headers=headers)
    assert (answer.status_code, fields_of(answer)) == (400, ["if-match"])


@pytest.mark.parametrize(
    ("given", "status"), [('"7"', 200), ('"6", "7"', 200), ("*", 200), ('"6"', 412), ('W/"7"', 412)]
)
async def test_if_match_holds_for_reading_too(served: Shelf, given: str, status: int) -> None:
    """A client that reads a resource in parts must not mix two states of it."""
    answer = await served.client.get("/api/v1/books/1", headers={"if-match": given})
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/landing.css"])
async def test_pages_are_validated_by_their_content(served: Shelf, path: str) -> None:
    """A browser that has the page need not load it again."""
    first = await served.client.get(path)
    again = await served.client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    for name in ("etag", "cache-control", "x-content-type-options"):
        assert again.headers[name] == first.headers[name]
